"""`wait_condition`: workflow code waits until something is true, or at a gate until a person has answered."""

from __future__ import annotations

import asyncio
import builtins
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .gatekeeper import GateKeeper
from .gates import GateRequest
from .loop import WorkflowLoop


@dataclass
class Waiter:
    """One call of `wait_condition`; `in_gate` if a gate names what it waits for."""

    predicate: Callable[[], bool]
    future: asyncio.Future[None]
    in_gate: bool


class Waits:
    """Waiters in the order of their creation, which is the order they are evaluated in."""

    def __init__(self, loop: WorkflowLoop, gates: GateKeeper) -> None:
        self._loop = loop
        self._gates = gates
        self._waiters: list[Waiter] = []

    async def wait(self, predicate: Callable[[], bool], timeout_ms: int | None) -> None:
        """Wait until `predicate()`; at a gate if the SDK asked for one just before."""
        request = self._gates.take_request()
        if request is not None and request.kind == "review":
            await self._review(request)
            return
        if predicate():
            return
        gate = None if request is None else self._gates.open(request, timeout_ms)
        waiter = Waiter(predicate, self._loop.create_future(), gate is not None)
        self._waiters.append(waiter)
        cause = "abandoned"
        try:
            async with asyncio.timeout(None if timeout_ms is None else timeout_ms / 1000):
                await waiter.future
            cause = "satisfied"
        except builtins.TimeoutError:
            cause = "expired"
            raise
        finally:
            self._waiters.remove(waiter)
            if gate is not None:
                self._gates.close(gate, cause)

    async def _review(self, request: GateRequest) -> None:
        gate = self._gates.open(request, None)
        try:
            await gate.future
        finally:
            self._gates.close(gate, "abandoned")

    def evaluate(self) -> bool:
        """Evaluate every predicate once. True if one became true or raised, so that there is something to run."""
        progress = False
        for waiter in list(self._waiters):
            if waiter.future.done():
                continue
            try:
                if not waiter.predicate():
                    continue
                waiter.future.set_result(None)
            except (Exception, asyncio.CancelledError) as error:
                waiter.future.set_exception(error)
            progress = True
        return progress

    def waiting_for(self) -> list[dict[str, Any]]:
        """Items of a `parked` entry. A wait at a gate is named by the gate itself."""
        return [{"kind": "signal"}] if any(not waiter.in_gate for waiter in self._waiters) else []
