"""Signals: handed to the handlers that workflow code declares."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .codec import CodecError, decode_args, signature_of
from .instance import Instance
from .loop import WorkflowLoop

_RESERVED = "user_action"
"""A plain one could close the wrong gate: answers come as decisions of a gate."""


@dataclass(frozen=True)
class IgnoredSignal:
    """A signal that reached no handler; `reason` as in `signalIgnored`, `text` for the log."""

    reason: str
    text: str


class Signals:
    """`fail` is called with what a handler raises."""

    def __init__(self, loop: WorkflowLoop, fail: Callable[[BaseException], None]) -> None:
        self._loop = loop
        self._fail = fail
        self._workflow: Any = None
        self._handlers: dict[str, Callable[..., Any]] = {}
        self._running = 0
        self._ignored: list[IgnoredSignal] = []

    def bind(self, instance: Instance) -> None:
        """From now on signals go to the handlers of `instance`."""
        self._workflow = instance.workflow
        self._handlers = instance.signals()

    @property
    def handling(self) -> bool:
        """Whether a handler has not returned yet."""
        return self._running > 0

    @property
    def expected(self) -> bool:
        """Whether there is a signal that would reach a handler."""
        return any(name != _RESERVED for name in self._handlers)

    def deliver(self, name: str, text: str) -> None:
        """Call the handler of a signal with arguments from a JSON array."""
        handler = self._handlers.get(name)
        if handler is None or name == _RESERVED:
            self._ignored.append(IgnoredSignal("UnknownName", name))
            return
        try:
            args = decode_args(text, signature_of(handler, skip_self=True), f"signal {name!r}")
        except CodecError as error:
            self._ignored.append(IgnoredSignal("ArgumentsDoNotFit", f"{name} ({error})"))
            return
        try:
            result = handler(self._workflow, *args)
        except (Exception, asyncio.CancelledError) as error:
            self._fail(error)
            return
        if asyncio.iscoroutine(result):
            self._running += 1
            self._loop.create_task(result, name=f"signal {name}").add_done_callback(self._returned)

    def _returned(self, task: asyncio.Task[Any]) -> None:
        self._running -= 1
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._fail(error)

    def take_ignored(self) -> list[IgnoredSignal]:
        """Signals of the last turn that reached no handler."""
        ignored, self._ignored = self._ignored, []
        return ignored
