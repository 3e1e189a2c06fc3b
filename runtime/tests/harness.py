"""Runs of bundles: the parts of operator, time and people, played by the test."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

import segment_process
from journal_server import RUNTIME, Json, Server
from ntro_runtime.workflow.entries import COMMANDS
from ntro_runtime.workflow.scope import PREPARE

BUNDLES = RUNTIME / "tests" / "bundles"
STAMPED = ("seq", "time", "hash", "gateId", "firesAt", "due")


def slug_of(bundle: Path) -> str:
    """Of a bundle, or of one that a pod will fetch."""
    manifest = bundle / "runbook.md"
    return str(yaml.safe_load(manifest.read_text().split("---\n")[1])["slug"]) if manifest.exists() else "probe"


@dataclass
class Run:
    """One run of a bundle. `answer` is asked what a person says at a gate: fields of `decide`, or None to leave it open."""

    server: Server
    directory: Path
    bundle: Path
    input: Json
    activities: Json
    answer: Callable[[Json], Json | None] = lambda _gate: {"verb": "approve", "actor": "alice"}
    retry: Callable[[Json], Json | None] = lambda _blocked: None
    env: dict[str, str] = field(default_factory=dict)
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    exits: list[int] = field(default_factory=list)
    kill_at: int | None = None
    slow: frozenset[str] = frozenset()
    handles_cancel: bool = False
    meanwhile: Callable[[Run], object] = lambda _run: None
    """Called again and again while a segment runs."""

    def __post_init__(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        self._waited: set[tuple[int, int]] = set()
        self.points = self.directory / "points"
        self.points.touch()
        self.effects = self.directory / "effects"
        self.effects.touch()
        pin = {"runbook": {"name": slug_of(self.bundle)}, "activities": self.activities, "handlesCancel": self.handles_cancel}
        self.server.ask("create", name=f"run-{self.id[:8]}", run=self.id, input=self.input, pin=pin, requestHash="x")

    # -- the journal --

    def state(self) -> Json:
        state: Json = self.server.ask("state", run=self.id)
        return state

    def entries(self, *kinds: str) -> list[Json]:
        entries = self.server.ask("entries", run=self.id)["entries"]
        return [entry for entry in entries if not kinds or entry["type"] in kinds]

    def decide(self, **fields: Any) -> Json:
        outcome: Json = self.server.ask("decide", run=self.id, **fields)
        return outcome

    def signal(self, name: str, *args: Any) -> Json:
        outcome: Json = self.server.ask("signal", run=self.id, name=name, args=list(args))
        return outcome

    def result(self) -> Any:
        completed = self.entries("runCompleted")
        return self.payload(completed[0]["result"]) if completed else None

    def payload(self, wire: Json) -> Any:
        return json.loads(self.text(wire))

    def text(self, wire: Json) -> str:
        """The JSON text of a payload, wherever it is kept."""
        if "inline" in wire:
            return str(wire["inline"])
        digest = wire["blob"].removeprefix("sha256:")
        blob = next(path for path in (self.server.directory / "journal").rglob(digest) if path.is_file())
        return blob.read_text()

    def blocked(self) -> tuple[str, str]:
        """Code and message of the newest block."""
        entry = self.entries("blocked")[-1]
        return entry["code"], self.payload(entry["detail"])["message"] if "detail" in entry else ""

    def effect_counts(self) -> dict[str, int]:
        """How often each effect happened, by the line the activity left."""
        counts: dict[str, int] = {}
        for line in self.effects.read_text().splitlines():
            counts[line] = counts.get(line, 0) + 1
        return counts

    # -- driving --

    def fork(self, gc_threshold: int = 700) -> int:
        """One attempt of the current segment in a fork of a process that has all modules loaded; returns its exit code."""
        env = {**self.env, "STUB_EFFECTS": str(self.effects)}
        job = {"env": env, "kill_at": self.kill_at, "gc_threshold": gc_threshold, "arguments": self._arguments()}
        self.exits.append(segment_process.zygote().run(job, self._meanwhile))
        return self.exits[-1]

    def spawn(self, **env: str) -> int:
        """As `fork`, in a fresh interpreter."""
        command = [sys.executable, segment_process.__file__, *self._arguments()]
        environment = {**segment_process.ENVIRONMENT, "STUB_EFFECTS": str(self.effects), **self.env, **env}
        process = subprocess.Popen(command, env=environment)
        while process.poll() is None:
            self._meanwhile()
            time.sleep(0.01)
        self.exits.append(process.returncode)
        return self.exits[-1]

    def _arguments(self) -> list[str]:
        return [str(self.server.socket), self.id, str(self.bundle), str(self.points)]

    def _meanwhile(self) -> None:
        """Virtual time moves once for each attempt of a slow activity, else only while nobody runs."""
        for it in self.state()["activities"] if self.slow else []:
            attempt = (it["command"], it["attempt"])
            if it["activity"] in self.slow and it["state"] == "Running" and attempt not in self._waited:
                self._waited.add(attempt)
                self.server.ask("advance", ms=10)
        self.meanwhile(self)

    def drive(self, attempt: Callable[[], int] | None = None) -> str:
        """Do what operator, time and people do, until the run has ended, is blocked for good, or waits for a person; returns the phase."""
        attempt = attempt or self.fork
        for _ in range(200):
            state = self.state()
            phase: str = state["phase"]
            if phase in ("Succeeded", "Failed", "Cancelled"):
                return phase
            if state["holder"] is not None:
                self.server.ask("holderGone", run=self.id)
            elif phase == "Blocked":
                again = self.retry(state["blocked"])
                if again is None:
                    return phase
                assert self.server.ask("retry", run=self.id, **again)["outcome"] == "Applied"
            elif phase == "Queued" or state["wanted"] is not None:
                attempt()
            elif not self._answer_or_wait(state):
                return phase
        raise AssertionError(f"no end in sight: {self.exits}")

    def _answer_or_wait(self, state: Json) -> bool:
        for gate in state["gates"]:
            if gate["state"] == "Open" and (said := self.answer(gate)) is not None:
                assert self.decide(gate=gate["id"], revision=gate["revision"], **said)["outcome"] == "Applied"
                return True
        if state["nextTimer"] is not None:
            self.server.ask("advance", ms=10)
        return state["nextTimer"] is not None

    def commands(self) -> list[Json]:
        """The commands, with `seenUpto` as a count of deliveries, without what differs from run to run."""
        entries = self.entries()
        deliveries = [0]
        commands = []
        for entry in entries:
            if entry["type"] in COMMANDS:
                plain = {key: value for key, value in entry.items() if key not in STAMPED}
                commands.append({**plain, "seenUpto": deliveries.index(entry["seenUpto"])})
            elif entry["type"] in PREPARE:
                deliveries.append(entry["seq"])
        return commands

    def outputs(self) -> list[Json]:
        return sorted(self.state()["outputs"], key=lambda output: str(output["name"]))
