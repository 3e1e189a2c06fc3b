"""The activities that workflow code has called."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from temporalio.exceptions import ActivityError, ApplicationError

from ..shared.payload import Payload
from ..shared.sites import Site
from .codec import CodecError, Signature, decode, decode_args, encode_args, signature_of
from .host import Host, future_of
from .journal import Entry
from .options import ActivityCall


@dataclass
class PendingActivity:
    """An activity that workflow code has called and not been answered."""

    command: int
    call: ActivityCall
    signature: Signature
    args_text: str
    future: asyncio.Future[Any]
    site: Site | None


class ActivityCalls:
    """`pending` is by command."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self.pending: dict[int, PendingActivity] = {}

    async def run(self, call: ActivityCall, site: Site | None) -> Any:
        """Schedule an activity and wait for its result."""
        signature = signature_of(call.function)
        try:
            text = encode_args(call.args, f"activity {call.name!r}")
            # Live and replayed code must fail alike, so the arguments are read back before anything is journaled.
            decode_args(text, signature, f"activity {call.name!r}")
        except CodecError as error:
            self._host.misuse(str(error), site)
        fields: dict[str, Any] = {"activity": call.name}
        if self._host.step():
            fields["step"] = self._host.step()
        if call.timeout_ms is not None:
            fields["timeoutMs"] = call.timeout_ms
        command = self._host.emit("activityScheduled", fields, Payload(text), site)
        future = future_of(self._host)
        self.pending[command] = PendingActivity(command, call, signature, text, future, site)
        try:
            return await future
        except asyncio.CancelledError:
            if self.pending.pop(command, None) is not None:
                self._host.emit("activityCancelRequested", {"target": command}, site=site)
            raise

    def answered(self, delivery: Entry, text: str) -> None:
        """Hand a result or a failure to the code that waits for it."""
        pending = self.pending.pop(int(delivery["target"]), None)
        if pending is None or pending.future.done():
            return  # cancelled meanwhile
        if delivery["type"] == "activityFailed":
            pending.future.set_exception(self._error(pending, delivery, text))
            return
        try:
            value = decode(text, pending.signature.result, f"the result of activity {pending.call.name!r}")
        except CodecError as error:
            self._host.misuse(str(error), pending.site)
        pending.future.set_result(value)

    def _error(self, pending: PendingActivity, delivery: Entry, text: str) -> ActivityError:
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
