"""Stories, and the many ways in time in which they come to pass.

A *story* is what workflow code was told: the results of activities, the timers that fired, what people and signals said, in their order. A
*way* is how that came about: in how many pods, which of them were killed and where, whether a person answered at once, while the pod
lingered, after an hour or after a restart, and what the hash seed and the garbage collector were.
"""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from random import Random
from typing import Any

import segment_process
from harness import Run
from journal_server import Json
from ntro_runtime.workflow.entries import COMMANDS
from ntro_runtime.workflow.scope import PREPARE

TERMINAL = ("runCompleted", "runFailed")
TOLD = ("type", "target", "result", "error", "detail", "verb", "actor", "comment", "correction", "name", "args")
HOUR_MS = 3_600_000
DOORS = 96
HASH_SEEDS = ("0", "1", "4242")
# So often, at a hundredth of a second each, and no entry was written: the test has come to a halt.
_LOOKS = 12_000
WHEN = ("at once", "in linger", "gone", "an hour later", "operator restarted", "pod killed")


def told(entries: list[Json]) -> list[Json]:
    """The story of a journal, without what differs though the same was said. What came after the end was told to nobody."""
    ends = [entry["seenUpto"] for entry in entries if entry["type"] in TERMINAL]
    last = ends[0] if ends else len(entries)
    return [{key: entry[key] for key in TOLD if key in entry} for entry in entries if entry["type"] in PREPARE and entry["seq"] <= last]


def common(one: list[Json], other: list[Json]) -> int:
    """As far as two stories are the same."""
    return next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


@dataclass
class Way:
    """`haste`: how often things happen before the pod is at rest. `passes_deadlines`: how often an hour is one, whatever is due in it."""

    rng: Random
    when: tuple[str, ...] = ("at once",)
    kills: int = 0
    lingers: tuple[int, ...] = (30_000,)
    hash_seeds: tuple[str, ...] = ("0",)
    gc_thresholds: tuple[int, ...] = (700,)
    haste: float = 0
    passes_deadlines: float = 0


@dataclass
class World:
    """What the journal says is open: what may happen next."""

    activities: dict[int, Json] = field(default_factory=dict)
    timers: dict[int, datetime] = field(default_factory=dict)
    gates: dict[int, Json] = field(default_factory=dict)
    seen: int = 0
    """`seq` of the newest delivery."""
    parked: bool = False
    over: bool = False

    def take(self, entry: Json) -> None:
        kind, target = entry["type"], entry.get("target")
        if kind in PREPARE:
            self.seen = entry["seq"]
        if kind in PREPARE or kind in COMMANDS or kind == "attached":
            self.parked = False
        match kind:
            case "activityScheduled":
                self.activities[entry["command"]] = entry
            case "activityCompleted" | "activityFailed" | "activityCancelRequested":
                self.activities.pop(target, None)  # type: ignore[arg-type]
            case "timerStarted":
                self.timers[entry["command"]] = time_of(entry["firesAt"])
            case "timerFired" | "timerCancelled":
                self.timers.pop(target, None)  # type: ignore[arg-type]
            case "gateOpened":
                self.gates[entry["command"]] = entry
            case "gateDecided" | "gateClosed":
                self.gates.pop(target, None)  # type: ignore[arg-type]
            case "parked":
                self.parked = True
            case "runCompleted" | "runFailed":
                self.over = True

    def next_timers(self) -> list[int]:
        """Those that are due first."""
        first = min(self.timers.values(), default=None)
        return [command for command, due in self.timers.items() if due == first]


def time_of(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


class StoryRun(Run):
    """A run of the bundle `program` in which the test makes each thing happen: after the story `follows` if given, else as `plot` says."""

    def tell(self, way: Way, plot: Random, signals: list[tuple[str, int]], follows: list[Json] | None = None) -> str:
        """Until the end of the run; returns its phase. Afterwards `left_at` is where it had to leave the story, if it had to."""
        self.way, self.plot, self.follows = way, plot, follows
        self._signals = signals
        self.left_at: int | None = None
        self.happened: list[tuple[str, str]] = []
        self.world = World()
        self._entries: list[Json] = []
        self._so_far: list[Json] = []
        self._awaited = 0
        self._choice: Json | None = None
        self._at: int = -1
        self.rest = self.directory / "rest"
        self._kills = way.kills
        self._aim()
        with self._doors():
            return self.drive(self._segment)

    # -- pods --------------------------------------------------------------------------------------

    @contextmanager
    def _doors(self) -> Iterator[None]:
        """An activity waits until the door of its command is open; a door that was opened stays open."""
        directory = self.directory / "doors"
        directory.mkdir()
        self.env["STUB_DOORS"] = str(directory)
        self._door = {n: (directory / str(n)).open("w") for n in range(DOORS)}
        for door in self._door.values():
            fcntl.flock(door, fcntl.LOCK_EX)
        try:
            yield
        finally:
            for door in self._door.values():
                door.close()

    def _aim(self) -> None:
        """Choose the point where the next pod is killed."""
        reached = len(self.points.read_text().splitlines())
        self.kill_at = reached + self.way.rng.randint(1, 40) if self._kills else None

    def _segment(self) -> int:
        rng = self.way.rng
        self.rest.write_text("")
        self._rested, self._looks = "", 0
        self._zygote = segment_process.zygote(rng.choice(self.way.hash_seeds))
        self.lingers = rng.choice(self.way.lingers)
        env = {**self.env, "STUB_EFFECTS": str(self.effects)}
        job = {"env": env, "kill_at": self.kill_at, "gc_threshold": rng.choice(self.way.gc_thresholds), "arguments": self._arguments()}
        self.exits.append(self._zygote.run({**job, "linger_ms": self.lingers, "rest": str(self.rest)}, self._meanwhile))
        if self.exits[-1] == segment_process.KILLED:
            self._kills -= 1
            self._aim()
        return self.exits[-1]

    # -- what happens next -------------------------------------------------------------------------

    def _meanwhile(self) -> None:
        """While a pod runs. There is something to look at when it has come to rest once more."""
        rested, self._looks = self.rest.read_text(), self._looks + 1
        if rested == self._rested and self._looks % (5 if self.way.haste else 50):
            return
        assert self._looks < _LOOKS, f"nothing happens any more: {self.happened}"
        self._rested = rested
        self._read()
        event = None if self.world.over and not self.world.activities else self._next(at_rest=self._at_rest())
        if event is None:
            return
        when = self._when(event)
        if when != "at once" and not self.world.activities:
            # The pod can park: for the rest it must have, and for what waits longer it must go.
            if not self.world.parked or not self._at_rest():
                return
            if when != "in linger":
                if self.lingers:
                    self._zygote.kill()
                    self.lingers = 0
                return
        self._happen(event, when)

    def _answer_or_wait(self, state: Json) -> bool:
        """While no pod runs and none is wanted."""
        self._read()
        event = self._next(at_rest=True)
        if event is None:
            return False
        when = self._when(event)
        if when == "operator restarted":
            self.server.restart()
        if when == "an hour later" and event["type"] != "timerFired":
            self._pass_time()
        self._read()
        # Time may have brought something else about.
        if self._choice is not None and self._possible(event):
            self._happen(event, "gone" if when in ("at once", "in linger") else when)
        return True

    def _read(self) -> None:
        fresh = self.server.ask("entries", run=self.id, **{"from": len(self._entries)})["entries"]
        if not fresh:
            return
        self._entries += fresh
        self._looks = 0
        for entry in fresh:
            self.world.take(entry)
        self._so_far = told(self._entries)
        if len(self._so_far) != self._at:
            self._choice, self._at = None, len(self._so_far)

    def _at_rest(self) -> bool:
        """Whether the pod has taken in all that happened, and done what follows from it."""
        return self._code_has_ended() or self._rested.startswith(f"{self.world.seen} ")

    def _code_has_ended(self) -> bool:
        """What is under way may end yet, before that is said."""
        return self._rested.endswith("True\n")

    def _next(self, *, at_rest: bool) -> Json | None:
        """What is to happen now; None if something is on its way, or the pod must first say more."""
        if len(self._so_far) < self._awaited:
            return None
        if self._choice is None and self.follows is not None:
            self._choice = self._followed(at_rest=at_rest)
        if self._choice is None and self.follows is None and at_rest:
            self._choice = self._invented()
            self._when_drawn = False
        return self._choice

    def _followed(self, *, at_rest: bool) -> Json | None:
        assert self.follows is not None
        event = self.follows[self._at] if self._at < len(self.follows) else None
        hasty = event is not None and event["type"] != "timerFired" and self.way.rng.random() < self.way.haste
        if event is not None and (at_rest or hasty) and self._so_far == self.follows[: self._at] and self._possible(event):
            self._when_drawn = False
            return event
        if at_rest:
            self.left_at, self.follows = self._at, None
        return None

    def _possible(self, event: Json) -> bool:
        target = event.get("target")
        match event["type"]:
            case "timerFired":
                return target in self.world.next_timers()
            case "gateDecided":
                return target in self.world.gates
            case "signalReceived":
                return True
        return target in self.world.activities

    def _invented(self) -> Json | None:
        world = self.world
        events: list[Json] = [{"type": "activityCompleted", "target": command} for command in world.activities]
        if not world.over and not self._code_has_ended():
            events += [{"type": "gateDecided", "target": command, **self._answer(gate)} for command, gate in world.gates.items()]
            sent = sum(1 for event in self._so_far if event["type"] == "signalReceived")
            events += [{"type": "signalReceived", "signal": signal} for signal in self._signals[sent : sent + 1]]
            events += [{"type": "timerFired", "target": command} for command in world.next_timers()[:1]]
        return self.plot.choice(events) if events else None

    def _answer(self, gate: Json) -> Json:
        verb = self.plot.choice([*gate["actions"], "approve"] if gate["kind"] == "review" else gate["actions"])
        correction = {"submit": {"ok": self.plot.random() < 0.6}, "correct": [{"line": self.plot.randint(1, 9)}]}.get(verb)
        said = {"verb": verb, "actor": self.plot.choice(("alice", "bob")), "comment": {"inline": json.dumps("fine")}}
        return said if correction is None else {**said, "correction": {"inline": json.dumps(correction)}}

    # -- making it happen --------------------------------------------------------------------------

    def _when(self, event: Json) -> str:
        if not self._when_drawn:
            self._when_drawn, self._when_is = True, self.way.rng.choice(self.way.when)
        return self._when_is

    def _pass_time(self) -> None:
        """An hour, or until shortly before a timer that would be first."""
        passed = HOUR_MS
        if self.world.timers and self.way.rng.random() >= self.way.passes_deadlines:
            passed = min(passed, self._until(min(self.world.timers.values())) - 1)
        if passed > 0:
            self.server.ask("advance", ms=passed)

    def _until(self, due: datetime) -> int:
        """Milliseconds of the operator's clock."""
        now = time_of(self.server.ask("now")["now"])
        return round((due - now).total_seconds() * 1000)

    def _happen(self, event: Json, when: str) -> None:
        target = event.get("target")
        self._choice = None
        self._awaited = self._at + 1
        self.happened.append((event["type"], when))
        match event["type"]:
            case "timerFired":
                self.server.ask("advance", ms=max(1, self._until(self.world.timers[target])))  # type: ignore[index]
            case "gateDecided":
                gate = self.world.gates[target]  # type: ignore[index]
                said = {key: json.loads(event[key]["inline"]) for key in ("comment", "correction") if key in event}
                answer = self.decide(gate=gate["gateId"], verb=event["verb"], actor=event["actor"], revision=self._revision(target), **said)
                self._awaited -= answer["outcome"] != "Applied"
            case "signalReceived":
                name, args = event["signal"] if "signal" in event else (event["name"], json.loads(event["args"]["inline"])[0])
                self.signal(name, args)
            case _:
                fcntl.flock(self._door[int(target)], fcntl.LOCK_UN)  # type: ignore[arg-type]

    def _revision(self, target: Any) -> int:
        return 1 + sum(1 for entry in self._entries if entry["type"] == "gateRevised" and entry["target"] == target)
