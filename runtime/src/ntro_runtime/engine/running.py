"""The attempts under way: which took too long, and which must end before the process may go."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

from ..shared.errors import BlockCode
from ..workflow.activity_calls import PendingActivity
from ..workflow.block import Block
from .activity_runner import Attempt


@dataclass
class Running:
    """An attempt under way."""

    attempt: Attempt
    pending: PendingActivity
    repeatable: bool
    """Its effect may happen more than once."""
    deadline: float | None
    """Of `time.monotonic()`."""
    cancelled: bool = False
    """Workflow code no longer wants it: how it ends is recorded if it had its effect, and of no consequence."""
    overdue: bool = False
    """It took too long, and must not be repeated: nobody knows whether it has, or will have, its effect."""


class RunningAttempts:
    """By command; there is one attempt of an activity at a time."""

    def __init__(self) -> None:
        self._by_command: dict[int, Running] = {}

    def __len__(self) -> int:
        return len(self._by_command)

    def __contains__(self, command: int) -> bool:
        return command in self._by_command

    def add(self, running: Running) -> None:
        self._by_command[running.attempt.command] = running

    def end(self, attempt: Attempt) -> Running | None:
        """Take out the attempt that has ended. None if another one is under way by now, or it was given up."""
        running = self._by_command.get(attempt.command)
        return self._by_command.pop(attempt.command) if running is not None and running.attempt is attempt else None

    def cancel(self, command: int) -> Attempt | None:
        """Workflow code no longer wants it. The attempt, if it may be stopped in the middle."""
        running = self._by_command.get(command)
        if running is None:
            return None
        running.cancelled = True
        if not running.repeatable:
            return None
        running.deadline = None
        return running.attempt

    def deadlines(self) -> Iterator[float]:
        return (running.deadline for running in self._by_command.values() if running.deadline is not None)

    def expire(self) -> list[Running]:
        """Take out those that took too long, but those whose effect must not be repeated: they are overdue."""
        now, given_up = time.monotonic(), []
        for running in list(self._by_command.values()):
            if running.deadline is None or running.deadline > now:
                continue
            if running.repeatable:
                given_up.append(self._by_command.pop(running.attempt.command))
            else:
                running.overdue, running.deadline = True, None
        return given_up

    @property
    def overdue(self) -> Block | None:
        """Why a person has to be asked about an attempt that took too long and is not to be repeated without."""
        for running in self._by_command.values():
            if running.overdue:
                attempt = running.attempt
                text = f"attempt {attempt.number} of activity {attempt.name!r} (command {attempt.command}) took longer than "
                text += "start_to_close_timeout and may have its effect yet; a person must allow it to be repeated"
                return Block(BlockCode.EFFECT_UNKNOWN, text, running.pending.site, attempt.name)
        return None

    @property
    def unrepeatable(self) -> bool:
        """Whether an attempt is under way whose effect must not be repeated."""
        return any(not running.repeatable for running in self._by_command.values())

    @property
    def must_end(self) -> bool:
        """Whether an attempt is under way before whose end the run is not sealed: its effect is wanted, or must not be repeated."""
        return any(not running.cancelled or not running.repeatable for running in self._by_command.values())
