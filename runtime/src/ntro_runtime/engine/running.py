"""The attempts under way: which took too long, and which must end before the process may go."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

from ..shared.errors import BlockCode
from ..workflow.activity_calls import PendingActivity
from ..workflow.block import Block
from .attempt import Attempt
from .time_limits import SILENCE


@dataclass
class Running:
    """An attempt under way."""

    attempt: Attempt
    pending: PendingActivity
    deadline: float | None
    """Of `time.monotonic()`: when it has taken too long, or did not end although it was asked to."""
    limit: str = ""
    """The option that says when it has taken too long."""
    silence_s: float | None = None
    """How long it may be silent."""
    cancelled: bool = False
    """Workflow code no longer wants it: how it ends is recorded if it had its effect, and of no consequence."""
    given_up: bool = False
    """It took too long, and is ended; it counts as failed, whatever comes of it."""
    forgotten: bool = False
    """Nobody wants it, it must not be repeated, and it took too long: it is waited for no more."""
    asked_to_end: bool = False
    overdue: bool = False
    """It took too long, and must not be repeated: nobody knows whether it has, or will have, its effect."""

    def limit_passed(self, limit: str) -> bool:
        """Whether it was ended because of this limit."""
        return self.given_up and self.limit == limit

    def silent_at(self) -> float | None:
        """When it has been silent for too long, if it is not heard of before."""
        return None if self.silence_s is None else self.attempt.pulse.at + self.silence_s

    def passed(self, now: float) -> str | None:
        """The limit that it has reached."""
        if self.deadline is not None and self.deadline <= now:
            return self.limit
        silent_at = self.silent_at()
        return SILENCE if silent_at is not None and silent_at <= now else None


class RunningAttempts:
    """By command; there is one attempt of an activity at a time."""

    def __init__(self) -> None:
        self._by_command: dict[int, Running] = {}

    def __len__(self) -> int:
        return len(self._by_command)

    @property
    def wanted(self) -> int:
        """How many there are that workflow code waits for."""
        return sum(not running.cancelled for running in self._by_command.values())

    def __contains__(self, command: int) -> bool:
        return command in self._by_command

    def add(self, running: Running) -> None:
        self._by_command[running.attempt.command] = running

    def end(self, attempt: Attempt) -> Running:
        """Take out the attempt that has ended."""
        return self._by_command.pop(attempt.command)

    def cancel(self, command: int) -> Running | None:
        """Workflow code no longer wants it. The attempt, if it may be ended in the middle."""
        running = self._by_command.get(command)
        if running is None:
            return None
        running.cancelled, running.overdue = True, False
        return running if running.attempt.repeatable else None

    def deadlines(self) -> Iterator[float]:
        for running in self._by_command.values():
            yield from (at for at in (running.deadline, running.silent_at()) if at is not None)

    def expire(self) -> list[Running]:
        """Those that are to be ended by now. One whose effect must not be repeated is not, but overdue."""
        now, expired = time.monotonic(), []
        for running in self._by_command.values():
            limit = running.passed(now)
            if limit is None:
                continue
            running.limit, running.deadline, running.silence_s = limit, None, None
            if running.attempt.repeatable:
                running.given_up = True
                expired.append(running)
            elif running.cancelled:
                running.forgotten = True
            else:
                running.overdue = True
        return expired

    @property
    def overdue(self) -> Block | None:
        """Why a person has to be asked about an attempt that took too long and is not to be repeated without."""
        for running in self._by_command.values():
            if running.overdue:
                attempt = running.attempt
                text = f"attempt {attempt.number} of activity {attempt.name!r} (command {attempt.command}) took longer than "
                text += f"{running.limit} and may have its effect yet; a person must allow it to be repeated"
                return Block(BlockCode.EFFECT_UNKNOWN, text, running.pending.site, attempt.name)
        return None

    @property
    def unrepeatable(self) -> bool:
        """Whether an attempt is under way whose effect must not be repeated."""
        return any(not running.attempt.repeatable and not running.forgotten for running in self._by_command.values())

    @property
    def must_end(self) -> bool:
        """Whether an attempt is under way before whose end the run is not sealed: its effect is wanted, or must not be repeated."""
        return any(not running.cancelled or not (running.attempt.repeatable or running.forgotten) for running in self._by_command.values())
