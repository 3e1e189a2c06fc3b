"""Signals handed to the handlers of a workflow."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from ..shared.marks import SIGNAL, marked
from .codec import CodecError, decode_args, signature_of
from .host import Host


class Signals:
    """`handling` is the number of handlers under way."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self.handling = 0
        self._handlers: dict[str, Callable[..., Any]] = {}
        self._refused: list[str] = []

    def of(self, workflow: type) -> None:
        """Deliver to the handlers of this class from now on."""
        self._handlers = marked(workflow, SIGNAL)

    def deliver(self, name: str, text: str) -> None:
        """Call the handler of a signal with its arguments, a JSON array."""
        handler = self._handlers.get(name)
        if handler is None or name == "user_action":
            # A plain `user_action` could close the wrong gate: answers come as decisions of a gate.
            self._refused.append(name)
            return
        try:
            args = decode_args(text, signature_of(handler, skip_self=True), f"signal {name!r}")
        except CodecError as error:
            self._refused.append(f"{name} ({error})")
            return
        try:
            result = handler(self._host.instance, *args)
        except Exception as error:
            self._host.fail(error)
            return
        if asyncio.iscoroutine(result):
            self.handling += 1
            self._host.loop.create_task(result, name=f"signal {name}").add_done_callback(self._handled)

    def _handled(self, task: asyncio.Task[Any]) -> None:
        self.handling -= 1
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._host.fail(error)

    def take_refused(self) -> list[str]:
        """Signals of the last turns that reached no handler, for the log."""
        refused, self._refused = self._refused, []
        return refused
