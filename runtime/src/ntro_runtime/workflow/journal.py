"""What the entries of a journal say, kept up to date as they arrive. Pure: no input or output."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from .entries import DELIVERIES

Entry = dict[str, Any]

TERMINAL = frozenset(["runCompleted", "runFailed", "runCancelled"])
WITHOUT_EFFECT = frozenset(
    [
        "segmentWanted",
        "jobRecorded",
        "released",
        "timerStarted",
        "timerCancelled",
        "timerFired",
        "gateOpened",
        "gateRevised",
        "gateClosed",
        "gateDecided",
        "signalReceived",
        "stepsChanged",
        "parked",
        "runCompleted",
        "runFailed",
        "runCancelled",
        "userActionRefused",
        "lateCompletion",
        "viewOpened",
        "payloadRead",
    ]
)
"""Entries that change nothing here but what holds for all of their class."""


@dataclass
class ActivityState:
    """One scheduled activity, as the journal knows it."""

    command: int
    name: str
    effect: str
    since: Entry
    """What its time is measured from: that it was scheduled, or that a pod took up a person's retry."""
    attempt: int = 0
    """The newest attempt whose intent is journaled; 0: none."""
    failed_attempt: int = 0
    """The newest attempt that reported a failure; equal to `attempt` while another one is due."""
    failures: int = 0
    """Failures since a person last asked for a retry."""
    last_failure: Entry | None = None


@dataclass(frozen=True)
class Output:
    """A file that an activity wrote; its bytes are the blob `digest`."""

    name: str
    digest: str
    size: int
    media_type: str

    def to_wire(self) -> dict[str, Any]:
        """An item of `activityCompleted.outputs`."""
        return {"name": self.name, "digest": self.digest, "size": self.size, "mediaType": self.media_type}

    @classmethod
    def of_wire(cls, item: dict[str, Any]) -> Output:
        """From an item of `activityCompleted.outputs`."""
        return cls(item["name"], item["digest"], int(item["size"]), item["mediaType"])


@dataclass
class Journal:
    """The entries known to this process, in order, and what follows from them."""

    head: int = -1
    head_hash: str = ""
    created: Entry = field(default_factory=dict)
    commands: dict[int, Entry] = field(default_factory=dict)
    activities: dict[int, ActivityState] = field(default_factory=dict)
    _open: dict[int, ActivityState] = field(default_factory=dict)
    outputs: dict[str, Output] = field(default_factory=dict)
    ignored_signals: set[int] = field(default_factory=set)
    """`seq` of the deliveries of signals that reached no handler."""
    undelivered: deque[Entry] = field(default_factory=deque)
    under_way_at_cancel: frozenset[int] = frozenset()
    """Activities with an attempt under way when the run was cancelled."""
    terminal: Entry | None = None
    blocked: Entry | None = None
    _retried: bool = False
    seen_upto: int = 0
    """The newest delivery that an earlier process is known to have handed over."""

    def extend(self, entries: Iterable[Entry]) -> list[Entry]:
        """Take in entries of a reply; those known already are skipped. Returns the new ones."""
        fresh = []
        for entry in entries:
            seq = int(entry["seq"])
            if seq <= self.head:
                continue
            if seq != self.head + 1:
                raise ValueError(f"entry {seq} follows entry {self.head}")
            self.head, self.head_hash = seq, str(entry["hash"])
            self._apply(entry)
            fresh.append(entry)
        return fresh

    def _apply(self, entry: Entry) -> None:
        kind = entry["type"]
        if "command" in entry:
            self.commands[int(entry["command"])] = entry
        self.seen_upto = max(self.seen_upto, int(entry.get("seenUpto", 0)))
        if kind in DELIVERIES:
            self.undelivered.append(entry)
        if kind in TERMINAL:
            self.terminal = entry
        if kind not in WITHOUT_EFFECT:
            handler = getattr(self, f"_on_{kind}", None)
            if handler is None:
                raise ValueError(f"entry {entry['seq']} is of an unknown type: {kind!r}")
            handler(entry)

    def _on_runCreated(self, entry: Entry) -> None:  # noqa: N802 - the name on the wire
        self.created = entry

    def _on_attached(self, entry: Entry) -> None:
        if self._retried:
            # The time that a run was blocked is not that of its activities: what a person repeats could never begin.
            self._retried = False
            for activity in self._open.values():
                activity.since = entry

    def _on_activityScheduled(self, entry: Entry) -> None:  # noqa: N802
        command = int(entry["command"])
        effect = str(entry.get("effect", "undeclared"))
        self.activities[command] = self._open[command] = ActivityState(command, str(entry["activity"]), effect, entry)

    def _on_activityStarted(self, entry: Entry) -> None:  # noqa: N802
        self.activities[int(entry["target"])].attempt = int(entry["attempt"])

    def _on_activityAttemptFailed(self, entry: Entry) -> None:  # noqa: N802
        activity = self.activities[int(entry["target"])]
        activity.failed_attempt = int(entry["attempt"])
        activity.failures += 1
        activity.last_failure = entry

    def _on_activityCompleted(self, entry: Entry) -> None:  # noqa: N802
        self._open.pop(int(entry["target"]), None)
        for item in entry.get("outputs", []):
            output = Output.of_wire(item)
            self.outputs[output.name] = output

    def _on_activityFailed(self, entry: Entry) -> None:  # noqa: N802
        self._open.pop(int(entry["target"]), None)

    def _on_activityCancelRequested(self, entry: Entry) -> None:  # noqa: N802
        self._open.pop(int(entry["target"]), None)

    def _on_signalIgnored(self, entry: Entry) -> None:  # noqa: N802
        self.ignored_signals.add(int(entry["signal"]))

    def _on_cancelRequested(self, _: Entry) -> None:  # noqa: N802
        self.under_way_at_cancel = frozenset(it.command for it in self._open.values() if it.attempt > it.failed_attempt)

    def _on_blocked(self, entry: Entry) -> None:
        self.blocked = entry

    def _on_retryRequested(self, _: Entry) -> None:  # noqa: N802
        self.blocked = None
        self._retried = True
        for activity in self.activities.values():
            activity.failures = 0

    @property
    def cancel_ahead(self) -> bool:
        """Whether the run is cancelled and workflow code has not been told yet."""
        return any(entry["type"] == "cancelRequested" for entry in self.undelivered)

    def open_activities(self) -> Iterator[ActivityState]:
        """Scheduled, neither completed, failed nor cancelled by the code."""
        return iter(list(self._open.values()))


def time_of(entry: Entry) -> datetime:
    """When the operator wrote the entry (UTC)."""
    return datetime.fromisoformat(str(entry["time"]).replace("Z", "+00:00"))
