"""A deterministic asyncio event loop.

It has a first-in-first-out ready queue and nothing else: no selector, no threads, no clock of its own. `turn()` drains the queue; what
makes progress between turns (deliveries of the journal) is the business of the caller. Timers are handed to `on_timer`, so that
`asyncio.sleep`, `wait_for` and `timeout` become durable timers.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import sys
from asyncio import events
from collections import deque
from collections.abc import Callable, Coroutine, Generator, Iterable
from typing import Any, TypeVar

from .block import SdkMisuse

T = TypeVar("T")
_log = logging.getLogger("ntro.runtime.loop")


class WorkflowFuture(asyncio.Future[T]):
    """A future whose hash is its serial number, so that sets of futures have a reproducible order."""

    def __init__(self, *, loop: WorkflowLoop) -> None:
        super().__init__(loop=loop)
        self._ntro_serial = loop.next_serial()

    def __hash__(self) -> int:
        return self._ntro_serial

    def __eq__(self, other: object) -> bool:
        return self is other


class WorkflowTask(asyncio.Task[T]):
    """A task whose hash is its serial number (`asyncio.wait`, `TaskGroup` and users keep tasks in sets)."""

    def __init__(
        self,
        coro: Generator[Any, None, T] | Coroutine[Any, Any, T],
        *,
        loop: WorkflowLoop,
        name: str | None = None,
        context: contextvars.Context | None = None,
    ) -> None:
        # Before the base class, which already puts the task into a set.
        self._ntro_serial = loop.next_serial()
        super().__init__(coro, loop=loop, name=name or f"workflow-{self._ntro_serial}", context=context)

    def __hash__(self) -> int:
        return self._ntro_serial

    def __eq__(self, other: object) -> bool:
        return self is other


class WorkflowLoop(asyncio.AbstractEventLoop):
    """See the module. `clock` gives the deterministic time in seconds."""

    def __init__(
        self,
        clock: Callable[[], float],
        on_timer: Callable[[asyncio.TimerHandle, float], None],
        on_timer_cancelled: Callable[[asyncio.TimerHandle], None],
    ) -> None:
        self._clock = clock
        self._on_timer = on_timer
        self._on_timer_cancelled = on_timer_cancelled
        self._ready: deque[asyncio.Handle] = deque()
        self._serial = 0
        self._task_factory: Any = None
        # Strong references: nothing of the workflow is ever finalized by the garbage collector.
        self._keep: list[Any] = []

    # -- driving -----------------------------------------------------------------------------------

    def turn(self, first: Callable[[], None], after: Callable[[], bool]) -> None:
        """Call `first`, then run until nothing is ready. Then call `after`; while it returns true, drain again."""
        previous_hooks = sys.get_asyncgen_hooks()
        sys.set_asyncgen_hooks(firstiter=self._keep.append, finalizer=self._keep.append)
        events._set_running_loop(self)
        try:
            first()
            self._drain()
            while after():
                self._drain()
        finally:
            events._set_running_loop(None)
            sys.set_asyncgen_hooks(*previous_hooks)

    def _drain(self) -> None:
        while self._ready:
            handle = self._ready.popleft()
            if not handle.cancelled():
                handle._run()

    def fire(self, handle: asyncio.TimerHandle) -> None:
        """Make the callback of a due timer ready; the next drain runs it."""
        if not handle.cancelled():
            self._ready.append(handle)

    def next_serial(self) -> int:
        """Numbers tasks and futures in creation order."""
        self._serial += 1
        return self._serial

    # -- what asyncio needs ------------------------------------------------------------------------

    def time(self) -> float:
        return self._clock()

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., Any], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., Any], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(self.time() + delay, callback, args, self, context)
        if delay <= 0:
            self._ready.append(handle)
        else:
            self._on_timer(handle, delay)
        return handle

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., Any], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_later(when - self.time(), callback, *args, context=context)

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        self._on_timer_cancelled(handle)

    def create_future(self) -> asyncio.Future[Any]:
        return WorkflowFuture(loop=self)

    def create_task(
        self,
        coro: Generator[Any, None, T] | Coroutine[Any, Any, T],
        *,
        name: str | None = None,
        context: contextvars.Context | None = None,
    ) -> asyncio.Task[T]:
        task = WorkflowTask(coro, loop=self, name=name, context=context)
        self._keep.append(task)
        task.add_done_callback(self._keep.remove)
        return task

    def set_task_factory(self, factory: Any) -> None:
        raise SdkMisuse("the task factory of the workflow's event loop cannot be changed")

    def get_task_factory(self) -> Any:
        return self._task_factory

    def get_debug(self) -> bool:
        return False

    def set_debug(self, enabled: bool) -> None:
        """Accepted and ignored."""

    def is_running(self) -> bool:
        return events._get_running_loop() is self

    def is_closed(self) -> bool:
        return False

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        exception = context.get("exception")
        _log.error("%s", context.get("message", "unhandled exception in the event loop"), exc_info=exception)

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        self.call_exception_handler(context)

    async def shutdown_asyncgens(self) -> None:
        """Nothing to do: generators are never finalized."""

    async def shutdown_default_executor(self) -> None:
        """Nothing to do: there is none."""


_as_completed = asyncio.as_completed


def as_completed(fs: Iterable[Any], *, timeout: float | None = None) -> Any:
    """asyncio's own puts coroutines into a set and starts them in the order of their addresses; tasks have an order of ours."""
    loop = events._get_running_loop()
    if isinstance(loop, WorkflowLoop):
        fs = [asyncio.ensure_future(each, loop=loop) for each in fs]
    return _as_completed(fs, timeout=timeout)


def install() -> None:
    """Make what asyncio itself does irreproducibly reproducible on a workflow's loop."""
    asyncio.as_completed = asyncio.tasks.as_completed = as_completed


_REFUSED = (
    "run_forever run_until_complete stop close call_soon_threadsafe run_in_executor set_default_executor "
    "add_reader remove_reader add_writer remove_writer add_signal_handler remove_signal_handler "
    "set_exception_handler get_exception_handler "
    "getaddrinfo getnameinfo create_connection create_server sendfile start_tls create_unix_connection "
    "create_unix_server connect_accepted_socket create_datagram_endpoint connect_read_pipe connect_write_pipe "
    "subprocess_shell subprocess_exec sock_recv sock_recv_into sock_recvfrom sock_recvfrom_into sock_sendall "
    "sock_sendto sock_connect sock_accept sock_sendfile"
)


def _refuse(name: str) -> Callable[..., Any]:
    def refused(self: WorkflowLoop, *_args: Any, **_kwargs: Any) -> Any:
        misuse(f"{name}() is not possible in workflow code: do it in an activity")

    refused.__name__ = name
    return refused


def _raise(message: str) -> None:
    raise SdkMisuse(message)


# Replaced by the runtime with one that blocks the run instead of raising through user code.
_misuse: Callable[[str], None] = _raise


def misuse(message: str) -> None:
    """Report what workflow code must not do."""
    _misuse(message)


def set_misuse_handler(handler: Callable[[str], None]) -> None:
    """Decide what happens on misuse; the default raises `SdkMisuse`."""
    global _misuse
    _misuse = handler


for _name in _REFUSED.split():
    setattr(WorkflowLoop, _name, _refuse(_name))
