"""Programs for the bundle `program`, drawn from a small grammar. Pure: the same numbers give the same program."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from journal_server import Json

ACTIVITIES: Json = {
    "program.look": {"effect": "none"},
    "program.flaky": {"effect": "none"},
    "program.fails": {"effect": "none"},
    "program.sum": {"effect": "idempotent"},
    "program.post": {"effect": "external"},
    "program.again": {"effect": "external"},
    "program.settle": {"effect": "external", "requires": "review"},
}
# What is cut short by a timeout or lost race must be repeatable: for the rest a person would have to be asked.
_CUT = ("look", "look", "sum")
_CALLS = (*_CUT, "flaky", "fails", "post", "again")
_TIMES = (5, 10, 20, 50, 200, 3_600_000)
_SMALL = ("call", "call", "call", "sleep", "mark", "draw", "rubbish")
_MANY = ("gather", "group", "race", "each", "timeout", "spawn", "locked")
_PEOPLE = ("gate", "gate", "collect", "notes", "noted")


@dataclass(frozen=True)
class Program:
    """`signals` are sent while it runs. One that tells the time does something else at another time, as it should."""

    statements: list[Json]
    signals: list[tuple[str, int]]
    tells_time: bool


class _Author:
    """Bounded by `left`: at most so many statements."""

    def __init__(self, rng: Random, signals: int, left: int) -> None:
        self._rng = rng
        self._signals = signals
        self._left = left

    def block(self, size: int, *, depth: int, cut: bool, main: bool) -> list[Json]:
        return [self.statement(depth=depth, cut=cut, main=main) for _ in range(size) if self._left > 0]

    def statement(self, *, depth: int, cut: bool, main: bool) -> Json:
        """`cut`: it may be cancelled in the middle. `main`: no other task is at a gate at the same time."""
        self._left -= 1
        kinds = _SMALL + (_MANY if depth else ()) + (_PEOPLE if main else ())
        kind = self._rng.choice(kinds)
        if kind in ("gather", "group", "race", "each"):
            inner = cut or kind == "race"
            of = [self.statement(depth=0, cut=inner, main=False) for _ in range(self._rng.randint(2, 4))]
            return {"do": kind, "of": of}
        if kind in ("timeout", "spawn", "locked"):
            inside = main and kind != "spawn"
            # The lock is not taken twice by one task.
            below = 0 if kind == "locked" else depth - 1
            body = self.block(self._rng.randint(1, 2), depth=below, cut=cut or kind == "timeout", main=inside)
            return {"do": kind, "ms": self._rng.choice(_TIMES), "body": body}
        return {"do": kind, **self._details(kind, cut=cut)}

    def _details(self, kind: str, *, cut: bool) -> Json:
        rng = self._rng
        match kind:
            case "call":
                return {"name": rng.choice(_CUT if cut else _CALLS), "arg": rng.randint(0, 99)}
            case "sleep" | "collect" | "noted":
                return {"ms": rng.choice(_TIMES)}
            case "gate":
                return {"settles": not cut and rng.random() < 0.5}
            case "notes":
                n = rng.randint(1, 3)
                return {"n": n, "ms": None if n <= self._signals and rng.random() < 0.5 else rng.choice(_TIMES)}
        return {"n": rng.randint(1, 9)}


def program(rng: Random) -> Program:
    """With at least one gate, and at most 14 statements."""
    signals = [(rng.choice(("note", "fetch")), rng.randint(0, 9)) for _ in range(rng.randint(0, 3))]
    author = _Author(rng, len(signals), 13)
    statements = author.block(rng.randint(3, 6), depth=2, cut=False, main=True)
    statements.insert(rng.randint(0, len(statements)), {"do": "gate", "settles": rng.random() < 0.5})
    tells_time = rng.random() < 0.1
    if tells_time:
        statements.insert(rng.randint(0, len(statements)), {"do": "clock"})
        statements.append({"do": "call", "name": "sum", "arg": 1})
    if rng.random() < 0.05:
        statements.append({"do": "fail"})
    return Program(statements, signals, tells_time)
