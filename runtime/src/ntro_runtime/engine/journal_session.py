"""The journal of a run while this process is its holder: the entries known so far, and the only way to append."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future
from datetime import datetime, timedelta
from typing import Any

from ..shared.errors import ProtocolError
from ..workflow.codec import encode
from ..workflow.journal import Entry, Journal, time_of
from ..workflow.payload import INLINE_MAX, Payload
from .journal_client import JournalClient, Json
from .probe import Probe

_POLL_MS = 20_000


class JournalSession:
    """`replay_until` is the newest delivery that an earlier process handed over; what comes after it is live.

    `on_entry` is called for every entry as it becomes known, whoever wrote it.
    """

    def __init__(self, client: JournalClient, probe: Probe, on_entry: Callable[[Entry], None]) -> None:
        self.client = client
        self.journal = Journal()
        self.settings: Json = {}
        self.replay_until = -1
        self.inline_max = INLINE_MAX
        self._probe = probe
        self._on_entry = on_entry
        self._newest: Entry = {}
        self._heard = 0.0

    def attach(self) -> None:
        """Become the holder and learn the journal so far, all of it."""
        reply = self.client.attach()
        self.settings = reply["settings"]
        self.inline_max = int(self.settings["inlineMax"])
        self.take_reply(reply)
        if self.journal.commands:
            self.replay_until = self.journal.seen_upto

    def append(self, *entries: Json) -> None:
        """Write entries, all or none. Raises `ProtocolError` if they are refused."""
        self._probe("append:before")
        reply = self.client.append(self._known(), list(entries))
        self._probe("append:after")
        self.take_reply(reply)

    def append_unless_unread(self, *entries: Json) -> bool:
        """Write entries, all or none, that are refused while there are deliveries to hand over. False if they were."""
        try:
            self.append(*entries)
        except ProtocolError as error:
            if error.code != "Unread":
                raise
            self.take_reply({"entries": [], **error.extra})
            return False
        return True

    def take_reply(self, reply: Json) -> None:
        """Take in the entries of a reply, and those it says there are more of."""
        self.take(reply["entries"])
        while reply.get("more"):
            reply = self.client.poll(self._known())
            self.take(reply["entries"])

    def take(self, entries: list[Entry]) -> None:
        """Take in the entries of a reply; those known already are skipped."""
        if entries:
            self._newest, self._heard = entries[-1], time.monotonic()
        for entry in self.journal.extend(entries):
            self._on_entry(entry)

    def poll(self) -> Future[Json]:
        """Ask for news; the answer may take a while, but not so long that the lease runs out."""
        wait_ms = max(100, min(_POLL_MS, int(self.settings["leaseMs"]) // 2))
        return self.client.poll_later(self._known(), wait_ms)

    def _known(self) -> Json:
        """The newest entry: a journal that has another one in its place is an older copy."""
        return {"head": self.journal.head, "headHash": self.journal.head_hash}

    def payload(self, value: Any) -> Json:
        """The value as a payload, uploaded if it is large."""
        return self.text(encode(value, "a record"))

    def text(self, text: str) -> Json:
        """A JSON text as a payload, uploaded if it is large."""
        payload = Payload(text)
        self.upload(payload)
        return payload.to_wire(self.inline_max)

    def upload(self, payload: Payload) -> None:
        """Make sure that a payload may be named in an entry."""
        if len(payload.data) > self.inline_max:
            self.client.put_blob(payload.digest, payload.data)

    def now(self) -> datetime:
        """The operator's clock, by the newest entry and the time since it came; the pod's own may differ."""
        return time_of(self._newest) + timedelta(seconds=time.monotonic() - self._heard)

    def seconds(self, setting: str) -> float:
        """One of the times of the settings."""
        return int(self.settings[setting]) / 1000
