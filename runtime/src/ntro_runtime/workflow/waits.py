"""What workflow code waits for by a predicate, at a gate or not."""

from __future__ import annotations

import asyncio
import builtins
from collections.abc import Callable
from dataclasses import dataclass

from .gatekeeper import GateKeeper
from .gates import GateRequest
from .host import Host, future_of


@dataclass
class Waiter:
    """A `wait_condition` under way."""

    predicate: Callable[[], bool]
    future: asyncio.Future[None]
    in_gate: bool


class Waits:
    """The waits under way, in creation order."""

    def __init__(self, host: Host, gates: GateKeeper) -> None:
        self._host = host
        self._gates = gates
        self._waiters: list[Waiter] = []

    def evaluate(self) -> bool:
        """Look at each predicate once; says whether one became true."""
        progress = False
        for waiter in list(self._waiters):
            if waiter.future.done():
                continue
            try:
                if not waiter.predicate():
                    continue
                waiter.future.set_result(None)
            except Exception as error:
                waiter.future.set_exception(error)
            progress = True
        return progress

    async def wait(self, predicate: Callable[[], bool], timeout_ms: int | None) -> None:
        """Wait until `predicate()`; at a gate if the SDK asked for one just before."""
        request = self._gates.take_request()
        if request is not None and request.kind == "review":
            await self._review(request)
            return
        if predicate():
            return
        gate = None if request is None else self._gates.open(request, timeout_ms)
        waiter = Waiter(predicate, future_of(self._host), gate is not None)
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

    @property
    def outside_gates(self) -> bool:
        """Whether anything is waited for that no gate answers."""
        return any(not waiter.in_gate for waiter in self._waiters)
