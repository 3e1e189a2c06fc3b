"""A worker: the process that runs attempts of activities, one at a time, each in a fresh `contextvars` context."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import os
import threading
import traceback
from collections.abc import Callable
from typing import Any, NoReturn

from temporalio.exceptions import ApplicationError

from ..sdk.activity_table import ActivityTable
from ..sdk.context import ActivityContext, ActivityInfo, RunFiles, current_activity
from ..shared.errors import ProtocolError
from ..workflow.codec import CodecError, Signature, decode, decode_args, encode, signature_of
from ..workflow.failures import failure_of
from ..workflow.source_location import SourceLocator
from .attempt import Refused, Reported, Unwritable, completed_to_wire
from .journal_client import ConnectionLostError, Json
from .json_lines import JsonLines
from .left_behind import attempt_loop, threads_remain
from .output import flush_output
from .pulse import Heart
from .staging import RemoteFiles


class _UnwritableResultError(Exception):
    """An activity returned what cannot be written as JSON; its effect has happened."""


class Worker:
    """Takes orders on `orders` and reports there; what it asks for in the middle of an attempt is answered on `replies`."""

    def __init__(self, orders: JsonLines, replies: JsonLines, table: ActivityTable, locator: SourceLocator) -> None:
        self._orders = orders
        self._replies = replies
        self._table = table
        self._locator = locator
        self._asking = threading.Lock()
        self._stuck = False
        """A task of an attempt that has ended may go on when it is collected."""
        self._pid = os.getpid()
        # What an activity forks is not the worker, and hears and says nothing.
        os.register_at_fork(after_in_child=self._disown)

    def _disown(self) -> None:
        self._orders.stream.close()
        self._replies.stream.close()

    def run(self) -> NoReturn:
        """Until nobody gives orders any more."""
        while (order := self._orders.receive()) is not None:
            if "function" in order:
                report = self._attempt(order)
                if os.getpid() != self._pid:
                    # A fork that the activity has made came back: it reports for nobody.
                    os._exit(1)
                flush_output()
                spent = self._stuck or threads_remain()
                self._orders.send({"end": report, "of": [order["command"], order["number"]], "spent": spent})
        os._exit(0)

    def _ask(self, request: Json) -> Json:
        with self._asking:
            self._orders.send(request)
            reply = self._replies.receive()
        if reply is None:
            raise ConnectionLostError("the journal does not answer any more")
        return reply

    def _attempt(self, order: Json) -> Json:
        """Run one attempt; the report of its end."""
        function = self._table.resolve(order["function"])
        info = ActivityInfo(**order["info"])
        remote = RemoteFiles(self._ask)
        heart = Heart(lambda: self._orders.send({"beat": True}))
        context = ActivityContext(info, RunFiles(remote, remote), heart.beat)
        signature = signature_of(function)

        def enter() -> list[Any]:
            current_activity.set(context)
            return decode_args(order["args"], signature, f"activity {info.activity_type!r}")

        try:
            if inspect.iscoroutinefunction(inspect.unwrap(function)):
                value = self._run_coroutine(order, function, enter)
            else:
                value = contextvars.Context().run(lambda: function(*enter()))
            text = _text_of(value, signature, f"the result of activity {info.activity_type!r}")
        except BaseException as error:
            return self._report_of(error, function)
        return completed_to_wire(text, list(context.files.written.values()))

    def _run_coroutine(self, order: Json, function: Callable[..., Any], enter: Callable[[], list[Any]]) -> Any:
        async def run() -> Any:
            return await function(*enter())

        with attempt_loop(self._is_stuck) as loop:
            task = loop.create_task(run(), context=contextvars.Context())
            loop.add_reader(self._orders.stream, self._ordered_meanwhile, order, task)
            if self._orders.buffered:
                loop.call_soon(self._ordered_meanwhile, order, task)
            try:
                return loop.run_until_complete(task)
            finally:
                loop.remove_reader(self._orders.stream)

    def _is_stuck(self) -> None:
        self._stuck = True

    def _ordered_meanwhile(self, order: Json, task: asyncio.Task[Any]) -> None:
        meanwhile = self._orders.receive()
        if meanwhile is None:
            os._exit(0)
        if meanwhile.get("cancel") == [order["command"], order["number"]]:
            task.cancel()

    def _report_of(self, error: BaseException, function: Callable[..., Any]) -> Json:
        if isinstance(error, ProtocolError):
            return Refused(error).to_wire()
        if isinstance(error, ConnectionLostError):
            return Refused(ProtocolError("Unavailable", str(error))).to_wire()
        site = self._locator.of_exception(error) or self._locator.of_code(function)
        if isinstance(error, _UnwritableResultError):
            return Unwritable(str(error), site).to_wire()
        return Reported(failure_of(error), site, "".join(traceback.format_exception(error)).rstrip("\n")).to_wire()


def _text_of(value: Any, signature: Signature, what: str) -> str:
    """The result as JSON text that can be read back."""
    try:
        text = encode(value, what)
    except CodecError as error:
        raise _UnwritableResultError(str(error)) from None
    try:
        # Found out here it is a failure that the code can handle; found out when it is handed over, nobody could repair it.
        decode(text, signature.result, what)
    except CodecError as error:
        raise ApplicationError(str(error), type="ResultTypeMismatch", non_retryable=True) from None
    return text
