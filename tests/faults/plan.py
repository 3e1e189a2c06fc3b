"""What goes wrong in a soak, and when: a pure function of the seed."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

# By kind: how long it lasts at least and at most, in seconds.
KINDS = {
    # Of the operator: killed, and back after so long.
    "kill": (0, 15),
    # Of a runner pod: everything in it is killed.
    "kill-pod": (0, 0),
    # The operator's clock, set by up to ten minutes.
    "clock": (10, 90),
    # The operator's volume has no byte left.
    "disk-full": (5, 25),
    # Of the API server, through the proxy: it has too much to do (429); it fails (500); writes are done and not answered;
    # watches begin with a list as it was before; events of watches are lost until the server ends the watch (410).
    "throttled": (5, 30),
    "broken": (5, 20),
    "unanswered": (5, 25),
    "stale": (20, 60),
    "deaf": (10, 40),
}
# Seconds from one fault to the next, at least and at most; what lasts overlaps.
BETWEEN = (4, 16)
FIRST = 15
CLOCK = 600


@dataclass(frozen=True)
class Fault:
    """From `at` on, in seconds since the beginning, for `seconds`; `amount` is what a clock is set by, in seconds."""

    at: float
    kind: str
    seconds: float
    amount: int

    @property
    def end(self) -> float:
        return self.at + self.seconds


def plan(seed: int, minutes: float) -> list[Fault]:
    """Every kind comes up before any comes again, as far as there is time; none overlaps itself."""
    rng = random.Random(f"faults {seed}")
    return list(faults(rng, minutes * 60))


def faults(rng: random.Random, end: float) -> Iterator[Fault]:
    at, busy, kinds = float(FIRST), dict.fromkeys(KINDS, 0.0), list[str]()
    while True:
        kinds = kinds or rng.sample(sorted(KINDS), len(KINDS))
        kind = kinds.pop()
        seconds = rng.uniform(*KINDS[kind])
        amount = rng.choice([CLOCK, -CLOCK, rng.randint(-CLOCK, CLOCK)])
        at = max(at, busy[kind])
        if at + seconds > end:
            return
        yield Fault(at, kind, seconds, amount)
        busy[kind] = at + seconds + 1
        at += rng.uniform(*BETWEEN)
