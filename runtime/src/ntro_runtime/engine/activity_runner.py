"""Running attempts of activities beside the workflow's thread.

Plain functions get a thread each; coroutine functions share one real asyncio loop in a thread of its own. Each attempt has a fresh
`contextvars` context, so nothing set in one leaks into another.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from temporalio.exceptions import ApplicationError

from ..sdk.context import ActivityContext, current_activity
from ..workflow.codec import CodecError, Signature, decode, decode_args, encode
from ..workflow.journal import Output
from .probe import Probe


@dataclass(frozen=True)
class Attempt:
    """One attempt to run. `number` counts from 1, `args_text` is a JSON array."""

    command: int
    number: int
    name: str
    function: Callable[..., Any]
    signature: Signature
    args_text: str
    context: ActivityContext


@dataclass(frozen=True)
class AttemptOutcome:
    """How an attempt ended: `result` is JSON text, or there is an error."""

    attempt: Attempt
    result: str | None = None
    outputs: list[Output] = field(default_factory=list)
    error: BaseException | None = None


OnEnd = Callable[[AttemptOutcome], None]


class UnwritableResultError(Exception):
    """An activity returned what cannot be written as JSON; its effect has happened."""


class ActivityRunner:
    """Starts attempts; `on_end` is called on some thread when one ends."""

    def __init__(self, on_end: OnEnd, probe: Probe) -> None:
        self._on_end = on_end
        self._probe = probe
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: dict[tuple[int, int], asyncio.Task[None]] = {}

    def start(self, attempt: Attempt) -> None:
        """Run an attempt in the background."""
        if inspect.iscoroutinefunction(inspect.unwrap(attempt.function)):
            loop = self._async_loop()
            loop.call_soon_threadsafe(self._start_task, loop, attempt)
        else:
            name = f"activity-{attempt.command}"
            threading.Thread(target=self._run_in_thread, args=(attempt,), name=name, daemon=True).start()

    def cancel(self, attempt: Attempt) -> None:
        """Nobody wants the attempt any more. A coroutine is cancelled; a thread cannot be stopped."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._cancel_task, attempt)

    def _async_loop(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            threading.Thread(target=self._loop.run_forever, name="activities", daemon=True).start()
        return self._loop

    def _start_task(self, loop: asyncio.AbstractEventLoop, attempt: Attempt) -> None:
        task = loop.create_task(self._run_async(attempt), context=contextvars.Context())
        key = (attempt.command, attempt.number)
        self._tasks[key] = task
        task.add_done_callback(lambda _: self._tasks.pop(key, None))

    def _cancel_task(self, attempt: Attempt) -> None:
        task = self._tasks.get((attempt.command, attempt.number))
        if task is not None:
            task.cancel()

    def _run_in_thread(self, attempt: Attempt) -> None:
        contextvars.Context().run(self._run_sync, attempt)

    def _run_sync(self, attempt: Attempt) -> None:
        try:
            value = attempt.function(*self._enter(attempt))
        except BaseException as error:
            self._leave(attempt, error=error)
        else:
            self._leave(attempt, value)

    async def _run_async(self, attempt: Attempt) -> None:
        try:
            value = await attempt.function(*self._enter(attempt))
        except BaseException as error:
            self._leave(attempt, error=error)
        else:
            self._leave(attempt, value)

    def _enter(self, attempt: Attempt) -> list[Any]:
        current_activity.set(attempt.context)
        self._probe("activity:start")
        return decode_args(attempt.args_text, attempt.signature, f"activity {attempt.name!r}")

    def _leave(self, attempt: Attempt, value: Any = None, error: BaseException | None = None) -> None:
        self._probe("activity:end")
        result, what = None, f"the result of activity {attempt.name!r}"
        if error is None:
            try:
                result = encode(value, what)
            except CodecError as failure:
                error = UnwritableResultError(str(failure))
        if result is not None:
            # Found out here it is a failure that the code can handle; found out when it is handed over, nobody could repair it.
            try:
                decode(result, attempt.signature.result, what)
            except CodecError as failure:
                result, error = None, ApplicationError(str(failure), type="ResultTypeMismatch", non_retryable=True)
        self._on_end(AttemptOutcome(attempt, result, list(attempt.context.files.written.values()), error))
