"""Activities as workflow code sees them: called, and answered by a delivery."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, replace
from typing import Any

from temporalio.exceptions import ActivityError, ApplicationError

from .codec import CodecError, Signature, decode, decode_args, encode_args, signature_of
from .journal import Journal
from .loop import WorkflowLoop
from .options import ActivityCall
from .payload import Payload
from .recorder import CommandRecorder
from .retry_policy import REPEATABLE
from .source_location import SourceLocation


@dataclass
class PendingActivity:
    """An activity that workflow code has called and not been answered."""

    command: int
    call: ActivityCall
    signature: Signature
    args_text: str
    future: asyncio.Future[Any]
    site: SourceLocation | None

    @property
    def id(self) -> str:
        """What the activity is called in messages of the SDK."""
        return self.call.given_id or str(self.command)


class ActivityCalls:
    """`pending` is read by the engine, which starts what stands there and nothing else."""

    def __init__(self, recorder: CommandRecorder, loop: WorkflowLoop) -> None:
        self._recorder = recorder
        self._loop = loop
        self.pending: dict[int, PendingActivity] = {}
        self.journal = Journal()
        """What has begun: the journal of the run."""
        self._cancelled_at = 0

    async def run(self, call: ActivityCall, site: SourceLocation | None) -> Any:
        """Schedule an activity and wait for its result."""
        pending = self._schedule(call, site)
        try:
            return await pending.future
        except asyncio.CancelledError:
            try:
                if self._must_end(pending):
                    await self._end_of(pending)
            finally:
                if self.pending.pop(pending.command, None) is not None:
                    self._recorder.emit("activityCancelRequested", {"target": pending.command}, site=site)
            raise

    def cancel_unbegun(self) -> None:
        """The run is cancelled: of what it wanted, nothing begins any more."""
        self._cancelled_at = self._recorder.seen
        for pending in list(self.pending.values()):
            if pending.command not in self.journal.under_way_at_cancel and not pending.future.done():
                pending.future.cancel()

    def _must_end(self, pending: PendingActivity) -> bool:
        """Whether an effect is under way that the cancellation of the run finds in the middle, and that cannot be cut short."""
        if self._cancelled_at == 0 or self._cancelled_at != self._recorder.seen:
            return False
        state = self.journal.activities.get(pending.command)
        under_way = pending.command in self.journal.under_way_at_cancel
        return state is not None and under_way and state.effect not in REPEATABLE

    async def _end_of(self, pending: PendingActivity) -> None:
        """What is to undo an effect must not come before it."""
        pending.future = self._loop.create_future()
        with contextlib.suppress(ActivityError):
            await pending.future

    def _schedule(self, call: ActivityCall, site: SourceLocation | None) -> PendingActivity:
        signature = signature_of(call.function)
        if call.result_type is not None:
            signature = replace(signature, result=call.result_type)
        try:
            text = encode_args(call.args, f"activity {call.name!r}")
            # Live and replayed code must fail alike, so the arguments are read back before anything is journaled.
            decode_args(text, signature, f"activity {call.name!r}")
        except CodecError as error:
            self._recorder.misuse(str(error), site)
        fields: dict[str, Any] = {"activity": call.name}
        if self._recorder.step():
            fields["step"] = self._recorder.step()
        if call.timeout_ms is not None:
            fields["timeoutMs"] = call.timeout_ms
        command = self._recorder.emit("activityScheduled", fields, Payload(text), site)
        pending = PendingActivity(command, call, signature, text, self._loop.create_future(), site)
        self.pending[command] = pending
        return pending

    def completed(self, command: int, text: str) -> None:
        """Hand over the result, a JSON text."""
        pending = self._awaited(command)
        if pending is None:
            return
        try:
            value = decode(text, pending.signature.result, f"the result of activity {pending.call.name!r}")
        except CodecError as error:
            self._recorder.misuse(str(error), pending.site)
        pending.future.set_result(value)

    def failed(self, command: int, error: dict[str, Any], text: str) -> None:
        """Raise where the activity was called. `error` and `text` are those of an `activityFailed` entry."""
        pending = self._awaited(command)
        if pending is not None:
            pending.future.set_exception(_activity_error(pending, error, text))

    def _awaited(self, command: int) -> PendingActivity | None:
        """None if the code cancelled it before the news arrived."""
        pending = self.pending.pop(command, None)
        return None if pending is None or pending.future.done() else pending


def _activity_error(pending: PendingActivity, error: dict[str, Any], text: str) -> ActivityError:
    detail = decode(text, Any, "the failure")
    message = str(detail.get("message", "")) if isinstance(detail, dict) else ""
    cause = ApplicationError(message, type=error["type"], non_retryable=bool(error.get("nonRetryable")))
    failure = ActivityError(
        f"activity {pending.call.name} failed: {message}",
        activity_type=pending.call.name,
        activity_id=pending.id,
    )
    failure.__cause__ = cause
    return failure
