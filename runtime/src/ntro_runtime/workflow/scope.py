"""Workflow code under way: driven one delivery at a time, it gives commands.

One `WorkflowScope` is one instance of the workflow in one process. `turn()` hands over one delivery, drains the loop, evaluates waiting
predicates once each in creation order, and returns the commands that came up. It does no input or output and reads no clock: the same
deliveries always give the same commands.
"""

from __future__ import annotations

import asyncio
import builtins
from collections.abc import Callable, Coroutine
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime
from typing import Any, NoReturn

from temporalio.exceptions import FailureError, is_cancelled_exception

from ..shared.errors import BlockCode
from .activity_calls import ActivityCalls
from .block import Block, SdkMisuse
from .codec import encode
from .commands import Command
from .failures import described, failure_of, text_of
from .gatekeeper import GateKeeper
from .instance import Instance
from .journal import Entry
from .loop import WorkflowLoop
from .payload import BlobStore, Payload, read_payload
from .recorder import CommandRecorder, Halt
from .signals import Signals
from .source_location import SourceLocator
from .timers import Timers
from .waits import Waits

HandOver = Callable[[], None]
"""Gives workflow code what a delivery carries; called inside a turn."""


class WorkflowScope:
    """See the module. `guard` is entered around every turn."""

    def __init__(
        self,
        locator: SourceLocator,
        blobs: BlobStore,
        halt: Halt,
        now: datetime,
        guard: AbstractContextManager[Any] | None = None,
    ) -> None:
        self._blobs = blobs
        self._guard = guard or nullcontext()
        self.recorder = CommandRecorder(locator, halt, now)
        self._timers = Timers(self.recorder)
        self.loop = WorkflowLoop(self.recorder.elapsed, self._timers.started, self._timers.cancelled)  # type: ignore[abstract]
        self.gates = GateKeeper(self.recorder, self.loop)
        self.activities = ActivityCalls(self.recorder, self.loop)
        self.waits = Waits(self.loop, self.gates)
        self.signals = Signals(self.loop, self._signal_failed)
        self.finished = False
        self.ended_by_cancel = False
        """Workflow code was told that its run is cancelled, and ended because of it: there is no command for that."""
        self._main: asyncio.Task[Any] | None = None
        self._steps: list[dict[str, str]] = []
        self._failure: BaseException | None = None
        self._cancelled = False

    def start(self, instance: Instance, coroutine: Coroutine[Any, Any, Any]) -> None:
        """Make the workflow's main task ready; the turn under way runs it."""
        self.recorder.instance = instance
        self.signals.bind(instance)
        self._main = self.loop.create_task(coroutine, name="workflow")

    def turn(self, delivery: Entry | None, hand_over: HandOver) -> list[Command]:
        """Hand over one delivery (none: begin) and return the commands it led to."""
        self.recorder.begin_turn(delivery)
        try:
            with self._guard:
                self.loop.turn(hand_over, self.waits.evaluate)
            self._end_of_turn()
        except (Exception, SystemExit, KeyboardInterrupt, asyncio.CancelledError) as error:
            # What did not go through the bundle's code is a defect of ours.
            if self.recorder.locator.of_exception(error) is None:
                raise
            self._code_error(error)
        return self.recorder.commands

    @property
    def waits_for_timer(self) -> bool:
        """Whether time alone may bring something."""
        return bool(self._timers.waiting_for())

    def waiting_for(self) -> list[dict[str, Any]]:
        """What the run waits for from outside, for the `parked` entry."""
        named = [*self.gates.waiting_for(), *self._timers.waiting_for(), *self.waits.waiting_for()]
        # Whatever else it waits for (an Event, a Queue), the handler of a signal may bring about.
        return named or ([{"kind": "signal"}] if self.signals.expected else [])

    # -- deliveries --------------------------------------------------------------------------------

    def prepare(self, delivery: Entry) -> HandOver:
        """Read what a delivery carries, so that no blob is fetched while the guard watches the code."""
        return PREPARE[delivery["type"]](self, delivery)

    def _prepare_completed(self, delivery: Entry) -> HandOver:
        text = read_payload(delivery["result"], self._blobs)
        return lambda: self.activities.completed(int(delivery["target"]), text)

    def _prepare_failed(self, delivery: Entry) -> HandOver:
        text = read_payload(delivery["detail"], self._blobs)
        return lambda: self.activities.failed(int(delivery["target"]), delivery["error"], text)

    def _prepare_fired(self, delivery: Entry) -> HandOver:
        def hand_over() -> None:
            handle = self._timers.fired(int(delivery["target"]))
            if handle is not None:
                self.loop.fire(handle)

        return hand_over

    def _prepare_decision(self, delivery: Entry) -> HandOver:
        comment = read_payload(delivery["comment"], self._blobs) if "comment" in delivery else None
        correction = read_payload(delivery["correction"], self._blobs) if "correction" in delivery else None

        def hand_over() -> None:
            signal = self.gates.decide(delivery, comment, correction)
            if signal is not None:
                self.signals.deliver(*signal)

        return hand_over

    def _prepare_signal(self, delivery: Entry) -> HandOver:
        text = read_payload(delivery["args"], self._blobs)
        return lambda: self.signals.deliver(str(delivery["name"]), text)

    def _prepare_cancel(self, _: Entry) -> HandOver:
        def hand_over() -> None:
            self._cancelled = True
            if self._main is not None:
                self._main.cancel("the run was cancelled")
            self.activities.cancel_unbegun()

        return hand_over

    # -- the end of a turn, and of the run -----------------------------------------------------------

    def _end_of_turn(self) -> None:
        self._emit_steps()
        if self._main is not None and (self._failure is not None or self._main.done()):
            self._end_of_run(self._main)
            return
        self.gates.end_of_turn(handling=self.signals.handling)

    def _emit_steps(self) -> None:
        steps = [] if self.recorder.instance is None else self.recorder.instance.steps()
        if steps != self._steps:
            self._steps = steps
            self.recorder.emit("stepsChanged", {"steps": steps})

    def _end_of_run(self, main: asyncio.Task[Any]) -> None:
        self.gates.abandon()
        self.finished = True
        error = self._failure
        if self._cancelled and error is None and _let_cancel_through(main):
            self.ended_by_cancel = True
            return
        if error is None:
            own = asyncio.CancelledError("the workflow was cancelled by its own code")
            error = own if main.cancelled() else main.exception()
        if error is None:
            site = self.recorder.locator.of_code(main.get_coro())
            text = self.recorder.text_of(main.result(), "the result of the workflow", site)
            self.recorder.emit("runCompleted", {}, Payload(text))
        else:
            self._fail_run(error)

    def _fail_run(self, error: BaseException) -> None:
        if not is_failure(error):
            self._code_error(error)
        cause = error.cause if isinstance(error, FailureError) and error.cause is not None else error
        failure = failure_of(cause)
        site = self.recorder.locator.of_exception(error)
        detail = {"message": text_of(error) or failure.message, "cause": failure.message, "type": failure.type}
        if site is not None:
            detail["site"] = str(site)
        self.recorder.emit("runFailed", {"error": {"type": failure.type}}, Payload(encode(detail, "the failure")))

    def _signal_failed(self, error: BaseException) -> None:
        """A signal handler raised: end the run with a failure the code meant, or block it with one it did not."""
        if not is_failure(error):
            self._code_error(error)
        self._failure = self._failure or error

    def _code_error(self, error: BaseException) -> NoReturn:
        site = self.recorder.locator.of_exception(error)
        if isinstance(error, SdkMisuse):
            self.recorder.misuse(str(error), site)
        self.recorder.halt(Block(BlockCode.CODE_ERROR, described(error), site))


PREPARE: dict[str, Callable[[WorkflowScope, Entry], HandOver]] = {
    "activityCompleted": WorkflowScope._prepare_completed,
    "activityFailed": WorkflowScope._prepare_failed,
    "timerFired": WorkflowScope._prepare_fired,
    "gateDecided": WorkflowScope._prepare_decision,
    "signalReceived": WorkflowScope._prepare_signal,
    "cancelRequested": WorkflowScope._prepare_cancel,
}
"""By type of entry."""


def _let_cancel_through(main: asyncio.Task[Any]) -> bool:
    """Whether workflow code ended because it was cancelled, and not with a result or a failure of its own."""
    return main.cancelled() or ((error := main.exception()) is not None and is_cancelled_exception(error))


def is_failure(error: BaseException) -> bool:
    """Whether `error` ends the run as failed. Everything else is a defect of the code, which a person can have repaired.

    A wait that timed out counts as a failure the author left unhandled on purpose, as it does in Temporal.
    """
    return isinstance(error, (FailureError, builtins.TimeoutError))
