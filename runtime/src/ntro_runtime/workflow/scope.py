"""Workflow code under way: what it waits for, what it is told, and the commands it gives.

One `WorkflowScope` is one instance of the workflow in one process. `turn()` hands over one delivery, drains the loop, evaluates waiting
predicates once each in creation order, and returns the commands that came up. It does no input or output and reads no clock: the same
deliveries always give the same commands.
"""

from __future__ import annotations

import asyncio
import builtins
from collections.abc import Callable, Coroutine
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NoReturn

from temporalio.exceptions import ActivityError, ApplicationError, FailureError

from .codec import CodecError, Signature, decode, decode_args, encode, encode_args, signature_of
from .commands import Command
from .errors import Block, BlockCode, SdkMisuse
from .gatekeeper import GateKeeper
from .gates import GateRequest
from .journal import Entry, time_of
from .loop import WorkflowLoop
from .marks import SIGNAL, marked
from .options import ActivityCall
from .payload import BlobStore, Payload, read_payload
from .retries import failure_of
from .sites import Site, SiteFinder
from .wire import plain_steps

Halt = Callable[[Block], NoReturn]


@dataclass
class PendingActivity:
    """An activity that workflow code has called and not been answered."""

    command: int
    call: ActivityCall
    signature: Signature
    args_text: str
    future: asyncio.Future[Any]
    site: Site | None


@dataclass
class Waiter:
    """A `wait_condition` under way."""

    predicate: Callable[[], bool]
    future: asyncio.Future[None]
    in_gate: bool


@dataclass
class WorkflowScope:
    """See the module. `halt` ends the process with the run blocked and does not return."""

    finder: SiteFinder
    blobs: BlobStore
    halt: Halt
    now: datetime
    guard: AbstractContextManager[Any] = field(default_factory=nullcontext)
    instance: Any = None
    seen: int = 0
    main: asyncio.Task[Any] | None = None
    activities: dict[int, PendingActivity] = field(default_factory=dict)
    finished: bool = False
    _commands: list[Command] = field(default_factory=list)
    _next: int = 0
    _waiters: list[Waiter] = field(default_factory=list)
    _timers: dict[int, asyncio.TimerHandle] = field(default_factory=dict)
    _steps: list[dict[str, str]] = field(default_factory=list)
    _signals: dict[str, Callable[..., Any]] = field(default_factory=dict)
    _handlers: int = 0
    _refused: list[str] = field(default_factory=list)
    _failure: BaseException | None = None

    def __post_init__(self) -> None:
        self._epoch = self.now
        self.gates = GateKeeper(self)
        self.loop = WorkflowLoop(self._time, self._timer_started, self._timer_cancelled)  # type: ignore[abstract]

    def _time(self) -> float:
        return (self.now - self._epoch).total_seconds()

    # -- driving -----------------------------------------------------------------------------------

    def start(self, instance: Any, coroutine: Coroutine[Any, Any, Any]) -> None:
        """Make the workflow's main task ready; the first turn runs it."""
        self.instance = instance
        self._signals = marked(type(instance), SIGNAL)
        self.main = self.loop.create_task(coroutine, name="workflow")

    def prepare(self, delivery: Entry) -> Callable[[], None]:
        """Read what a delivery carries. The result tells workflow code, inside the next turn."""
        kind = delivery["type"]
        if kind == "signalReceived":
            text = read_payload(delivery["args"], self.blobs)
            return lambda: self._signal(str(delivery["name"]), text)
        if kind == "gateDecided":
            return self._prepare_decision(delivery)
        if kind == "timerFired":
            return lambda: self._fire(int(delivery["target"]))
        text = read_payload(delivery["result" if kind == "activityCompleted" else "detail"], self.blobs)
        return lambda: self._activity_done(delivery, text)

    def turn(self, delivery: Entry | None, tell: Callable[[], None]) -> list[Command]:
        """Hand over one delivery (none: begin) and return the commands it led to."""
        if delivery is not None:
            self.seen = int(delivery["seq"])
            self.now = time_of(delivery)
        self._commands = []
        try:
            with self.guard:
                self.loop.turn(tell, self._evaluate)
        except (SystemExit, KeyboardInterrupt) as error:
            self._code_error(error)
        self._end_of_turn()
        return self._commands

    def _evaluate(self) -> bool:
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

    def _end_of_turn(self) -> None:
        self._emit_steps()
        if self.main is not None and (self._failure is not None or self.main.done()):
            self._end_of_run(self.main)
            return
        self.gates.end_of_turn(handling=self._handlers > 0)

    def _end_of_run(self, main: asyncio.Task[Any]) -> None:
        self.gates.abandon()
        self.finished = True
        error = self._failure
        if error is None:
            own = asyncio.CancelledError("the workflow was cancelled by its own code")
            error = own if main.cancelled() else main.exception()
        if error is None:
            text = self.text_of(main.result(), "the result of the workflow", self.finder.of_code(main.get_coro()))
            self.emit("runCompleted", {}, Payload(text))
            return
        if not is_failure(error):
            self._code_error(error)
        cause = error.cause if isinstance(error, FailureError) and error.cause is not None else error
        failure = failure_of(cause)
        site = self.finder.of_exception(error)
        detail = {"message": str(error) or failure.message, "cause": failure.message, "type": failure.type}
        if site is not None:
            detail["site"] = str(site)
        self.emit("runFailed", {"error": {"type": failure.type}}, Payload(encode(detail, "the failure")))

    def fail(self, error: BaseException) -> None:
        """A signal handler raised: end the run with a failure the code meant, or block it with one it did not."""
        if not is_failure(error):
            self._code_error(error)
        self._failure = self._failure or error

    def _code_error(self, error: BaseException) -> NoReturn:
        if isinstance(error, SdkMisuse):
            self.misuse(str(error), self.finder.of_exception(error))
        message = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        self.halt(Block(BlockCode.CODE_ERROR, message, self.finder.of_exception(error)))

    # -- commands ----------------------------------------------------------------------------------

    def emit(self, kind: str, fields: dict[str, Any], payload: Payload | None = None, site: Site | None = None) -> int:
        """Give a command; returns its number."""
        number = self._next
        self._next += 1
        where = site or self.finder.of_caller()
        self._commands.append(Command(number, self.seen, kind, fields, payload, where))
        return number

    @property
    def next_command(self) -> int:
        """The number the next command would get."""
        return self._next

    def misuse(self, message: str, site: Site | None = None) -> NoReturn:
        """Workflow code did what it must not do."""
        self.halt(Block(BlockCode.SDK_MISUSE, message, site or self.finder.of_caller()))

    def text_of(self, value: Any, what: str, site: Site | None) -> str:
        """JSON of `value`; `what` and `site` say whose mistake it is if there is none."""
        try:
            return encode(value, what)
        except CodecError as error:
            self.misuse(str(error), site)

    def step(self) -> str:
        """The current step, or the empty string."""
        return str(getattr(self.instance, "_current_step_id", None) or "")

    def _emit_steps(self) -> None:
        steps = plain_steps(self.instance)
        if steps != self._steps:
            self._steps = steps
            self.emit("stepsChanged", {"steps": steps})

    # -- activities --------------------------------------------------------------------------------

    async def run_activity(self, call: ActivityCall, site: Site | None) -> Any:
        """Schedule an activity and wait for its result."""
        signature = signature_of(call.function)
        try:
            text = encode_args(call.args, f"activity {call.name!r}")
            # Live and replayed code must fail alike, so the arguments are read back before anything is journaled.
            decode_args(text, signature, f"activity {call.name!r}")
        except CodecError as error:
            self.misuse(str(error), site)
        fields: dict[str, Any] = {"activity": call.name}
        if self.step():
            fields["step"] = self.step()
        if call.timeout_ms is not None:
            fields["timeoutMs"] = call.timeout_ms
        command = self.emit("activityScheduled", fields, Payload(text), site)
        future = self.loop.create_future()
        self.activities[command] = PendingActivity(command, call, signature, text, future, site)
        try:
            return await future
        except asyncio.CancelledError:
            if self.activities.pop(command, None) is not None:
                self.emit("activityCancelRequested", {"target": command}, site=site)
            raise

    def _activity_done(self, delivery: Entry, text: str) -> None:
        pending = self.activities.pop(int(delivery["target"]), None)
        if pending is None or pending.future.done():
            return  # cancelled meanwhile
        if delivery["type"] == "activityFailed":
            pending.future.set_exception(self._activity_error(pending, delivery, text))
            return
        try:
            value = decode(text, pending.signature.result, f"the result of activity {pending.call.name!r}")
        except CodecError as error:
            self.misuse(str(error), pending.site)
        pending.future.set_result(value)

    def _activity_error(self, pending: PendingActivity, delivery: Entry, text: str) -> ActivityError:
        detail = decode(text, Any, "the failure")
        message = str(detail.get("message", "")) if isinstance(detail, dict) else ""
        error = delivery["error"]
        cause = ApplicationError(message, type=error["type"], non_retryable=bool(error.get("nonRetryable")))
        failure = ActivityError(
            f"activity {pending.call.name} failed: {message}",
            activity_type=pending.call.name,
            activity_id=str(pending.command),
        )
        failure.__cause__ = cause
        return failure

    # -- timers ------------------------------------------------------------------------------------

    def _timer_started(self, handle: asyncio.TimerHandle, delay: float) -> None:
        command = self.emit("timerStarted", {"durationMs": max(1, round(delay * 1000))})
        self._timers[command] = handle

    def _timer_cancelled(self, handle: asyncio.TimerHandle) -> None:
        for command, known in self._timers.items():
            if known is handle:
                del self._timers[command]
                self.emit("timerCancelled", {"target": command})
                return

    def _fire(self, command: int) -> None:
        handle = self._timers.pop(command, None)
        if handle is not None:
            self.loop.fire(handle)

    # -- waiting and gates -------------------------------------------------------------------------

    async def wait(self, predicate: Callable[[], bool], timeout_ms: int | None) -> None:
        """Wait until `predicate()`; at a gate if the SDK asked for one just before."""
        request = self.gates.take_request()
        if request is not None and request.kind == "review":
            await self._review(request)
            return
        if predicate():
            return
        gate = None if request is None else self.gates.open(request, timeout_ms)
        waiter = Waiter(predicate, self.loop.create_future(), gate is not None)
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
                self.gates.close(gate, cause)

    async def _review(self, request: GateRequest) -> None:
        gate = self.gates.open(request, None)
        try:
            await gate.future
        finally:
            self.gates.close(gate, "abandoned")

    def _prepare_decision(self, delivery: Entry) -> Callable[[], None]:
        comment = read_payload(delivery["comment"], self.blobs) if "comment" in delivery else None
        correction = read_payload(delivery["correction"], self.blobs) if "correction" in delivery else None

        def tell() -> None:
            signal = self.gates.decide(delivery, comment, correction)
            if signal is not None:
                self._signal(*signal)

        return tell

    # -- signals -----------------------------------------------------------------------------------

    def _signal(self, name: str, text: str) -> None:
        handler = self._signals.get(name)
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
            result = handler(self.instance, *args)
        except Exception as error:
            self.fail(error)
            return
        if asyncio.iscoroutine(result):
            self._handlers += 1
            self.loop.create_task(result, name=f"signal {name}").add_done_callback(self._handled)

    def _handled(self, task: asyncio.Task[Any]) -> None:
        self._handlers -= 1
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self.fail(error)

    def take_refused(self) -> list[str]:
        """Signals of the last turns that reached no handler, for the log."""
        refused, self._refused = self._refused, []
        return refused

    # -- parking -----------------------------------------------------------------------------------

    def waiting_for(self) -> list[dict[str, Any]]:
        """What a run waits for from outside, for the `parked` entry."""
        found = self.gates.waiting_for()
        found.extend({"kind": "timer", "target": command} for command in self._timers)
        if any(not waiter.in_gate for waiter in self._waiters):
            found.append({"kind": "signal"})
        return found


def is_failure(error: BaseException) -> bool:
    """Whether `error` ends the run as failed. Everything else is a defect of the code, which a person can have repaired.

    A wait that timed out counts as a failure the author left unhandled on purpose, as it does in Temporal.
    """
    return isinstance(error, (FailureError, builtins.TimeoutError))
