"""Durable timers: what `asyncio.sleep`, `wait_for` and `timeout` become on the workflow's loop."""

from __future__ import annotations

import asyncio
from typing import Any

from .recorder import CommandRecorder


class Timers:
    """Timers that are started and have not fired, by the number of their command."""

    def __init__(self, recorder: CommandRecorder) -> None:
        self._recorder = recorder
        self._open: dict[int, asyncio.TimerHandle] = {}

    def started(self, handle: asyncio.TimerHandle, delay: float) -> None:
        command = self._recorder.emit("timerStarted", {"durationMs": max(1, round(delay * 1000))})
        self._open[command] = handle

    def cancelled(self, handle: asyncio.TimerHandle) -> None:
        for command, known in self._open.items():
            if known is handle:
                del self._open[command]
                self._recorder.emit("timerCancelled", {"target": command})
                return

    def fired(self, command: int) -> asyncio.TimerHandle | None:
        """The handle to run; None if the code has cancelled the timer before the news arrived."""
        return self._open.pop(command, None)

    def waiting_for(self) -> list[dict[str, Any]]:
        """Items of a `parked` entry."""
        return [{"kind": "timer", "target": command} for command in self._open]
