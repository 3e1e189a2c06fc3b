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

from temporalio.exceptions import FailureError

from ..shared.errors import Block, BlockCode, SdkMisuse
from ..shared.payload import BlobStore, Payload, read_payload
from ..shared.sites import Site, SiteFinder
from .activity_calls import ActivityCalls
from .codec import CodecError, encode
from .commands import Command
from .gatekeeper import GateKeeper
from .host import Halt
from .journal import Entry, time_of
from .loop import WorkflowLoop
from .retries import failure_of
from .signals import Signals
from .steps import plain_steps
from .waits import Waits


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
    finished: bool = False
    _commands: list[Command] = field(default_factory=list)
    _next: int = 0
    _timers: dict[int, asyncio.TimerHandle] = field(default_factory=dict)
    _steps: list[dict[str, str]] = field(default_factory=list)
    _failure: BaseException | None = None

    def __post_init__(self) -> None:
        self._epoch = self.now
        self.gates = GateKeeper(self)
        self.activities = ActivityCalls(self)
        self.signals = Signals(self)
        self.waits = Waits(self, self.gates)
        self.loop = WorkflowLoop(self._time, self._timer_started, self._timer_cancelled)  # type: ignore[abstract]

    def _time(self) -> float:
        return (self.now - self._epoch).total_seconds()

    # -- driving -----------------------------------------------------------------------------------

    def start(self, instance: Any, coroutine: Coroutine[Any, Any, Any]) -> None:
        """Make the workflow's main task ready; the first turn runs it."""
        self.instance = instance
        self.signals.of(type(instance))
        self.main = self.loop.create_task(coroutine, name="workflow")

    def prepare(self, delivery: Entry) -> Callable[[], None]:
        """Read what a delivery carries. The result tells workflow code, inside the next turn."""
        match delivery["type"]:
            case "signalReceived":
                text = read_payload(delivery["args"], self.blobs)
                return lambda: self.signals.deliver(str(delivery["name"]), text)
            case "gateDecided":
                return self._prepare_decision(delivery)
            case "timerFired":
                return lambda: self._fire(int(delivery["target"]))
            case "activityCompleted":
                text = read_payload(delivery["result"], self.blobs)
                return lambda: self.activities.answered(delivery, text)
            case "activityFailed":
                text = read_payload(delivery["detail"], self.blobs)
                return lambda: self.activities.answered(delivery, text)
        raise ValueError(f"workflow code is not told {delivery['type']!r}")

    def turn(self, delivery: Entry | None, tell: Callable[[], None]) -> list[Command]:
        """Hand over one delivery (none: begin) and return the commands it led to."""
        if delivery is not None:
            self.seen = int(delivery["seq"])
            self.now = time_of(delivery)
        self._commands = []
        try:
            with self.guard:
                self.loop.turn(tell, self.waits.evaluate)
        except (SystemExit, KeyboardInterrupt) as error:
            self._code_error(error)
        self._end_of_turn()
        return self._commands

    def _end_of_turn(self) -> None:
        self._emit_steps()
        if self.main is not None and (self._failure is not None or self.main.done()):
            self._end_of_run(self.main)
            return
        self.gates.end_of_turn(handling=self.signals.handling > 0)

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

    # -- answers -----------------------------------------------------------------------------------

    def _prepare_decision(self, delivery: Entry) -> Callable[[], None]:
        comment = read_payload(delivery["comment"], self.blobs) if "comment" in delivery else None
        correction = read_payload(delivery["correction"], self.blobs) if "correction" in delivery else None

        def tell() -> None:
            signal = self.gates.decide(delivery, comment, correction)
            if signal is not None:
                self.signals.deliver(*signal)

        return tell

    # -- parking -----------------------------------------------------------------------------------

    def waiting_for(self) -> list[dict[str, Any]]:
        """What a run waits for from outside, for the `parked` entry."""
        found = self.gates.waiting_for()
        found.extend({"kind": "timer", "target": command} for command in self._timers)
        if self.waits.outside_gates:
            found.append({"kind": "signal"})
        return found


def is_failure(error: BaseException) -> bool:
    """Whether `error` ends the run as failed. Everything else is a defect of the code, which a person can have repaired.

    A wait that timed out counts as a failure the author left unhandled on purpose, as it does in Temporal.
    """
    return isinstance(error, (FailureError, builtins.TimeoutError))
