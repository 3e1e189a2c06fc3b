"""`temporalio.workflow` on the active ntro runtime."""

from __future__ import annotations

import asyncio
import contextlib
import enum
from collections.abc import Awaitable, Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

from ntro.workflow.runtime import get_runtime

__all__ = [
    "ActivityCancellationType",
    "defn",
    "execute_activity",
    "execute_activity_method",
    "execute_child_workflow",
    "in_workflow",
    "info",
    "logger",
    "now",
    "query",
    "run",
    "signal",
    "sleep",
    "start_activity",
    "start_child_workflow",
    "time",
    "unsafe",
    "wait_condition",
]

_UNSET: Any = object()


class ActivityCancellationType(enum.IntEnum):
    """What a call does when it is cancelled. Only the default is supported: it asks the attempt to end, and does not wait."""

    TRY_CANCEL = 0
    WAIT_CANCELLATION_COMPLETED = 1
    ABANDON = 2


def defn(cls: Any = None, *, name: str | None = None, sandboxed: bool = True, **options: Any) -> Any:
    """Mark a class as a runbook's workflow. The name is the runbook's; one given here is kept but not used."""
    if options:
        raise NotImplementedError(f"workflow.defn option not supported: {', '.join(sorted(options))}")
    if cls is not None:
        return get_runtime().workflow_defn(cls)
    return lambda decorated: get_runtime().workflow_defn(decorated)


def run(fn: Any) -> Any:
    """Mark the entry point."""
    return get_runtime().workflow_run(fn)


def signal(fn: Any = None, *, name: str | None = None, **options: Any) -> Any:
    """Mark a signal handler."""
    return get_runtime().workflow_signal(*_positional(fn), **_keywords(name, options))


def query(fn: Any = None, *, name: str | None = None, **options: Any) -> Any:
    """Mark a query handler."""
    return get_runtime().workflow_query(*_positional(fn), **_keywords(name, options))


def _positional(fn: Any) -> tuple[Any, ...]:
    return () if fn is None else (fn,)


def _keywords(name: str | None, options: dict[str, Any]) -> dict[str, Any]:
    options.pop("description", None)
    options.pop("unfinished_policy", None)
    if options:
        raise NotImplementedError(f"handler option not supported: {', '.join(sorted(options))}")
    return {} if name is None else {"name": name}


def execute_activity(activity: Any, arg: Any = _UNSET, **options: Any) -> Awaitable[Any]:
    """Run an activity and wait for its result."""
    if arg is _UNSET:
        result: Awaitable[Any] = get_runtime().execute_activity(activity, **options)
        return result
    if arg is None and "args" not in options:
        # Here, unlike in `runbook.execute_activity`, None is an argument.
        options["args"] = [None]
    answer: Awaitable[Any] = get_runtime().execute_activity(activity, arg, **options)
    return answer


def execute_activity_method(activity: Any, arg: Any = _UNSET, **options: Any) -> Awaitable[Any]:
    """As `execute_activity`; activities are functions here."""
    return execute_activity(activity, arg, **options)


def start_activity(activity: Any, arg: Any = _UNSET, **options: Any) -> asyncio.Task[Any]:
    """Run an activity in the background; the task is its handle."""

    async def execute() -> Any:
        return await call

    call = execute_activity(activity, arg, **options)
    return asyncio.create_task(execute())


def execute_child_workflow(workflow: Any, arg: Any = None, **options: Any) -> Awaitable[Any]:
    """Run a child and wait for its result."""
    result: Awaitable[Any] = get_runtime().execute_child_workflow(workflow, arg, **options)
    return result


def start_child_workflow(workflow: Any, arg: Any = None, **options: Any) -> Awaitable[Any]:
    """Start a child and return its handle."""
    result: Awaitable[Any] = get_runtime().start_child_workflow(workflow, arg, **options)
    return result


def wait_condition(fn: Callable[[], bool], *, timeout: Any = None, timeout_summary: str | None = None) -> Awaitable[None]:
    """Wait until `fn()` is true. Raises `asyncio.TimeoutError` after `timeout`."""
    result: Awaitable[None] = get_runtime().wait_condition(fn, timeout=timeout)
    return result


async def sleep(duration: float | timedelta, *, summary: str | None = None) -> None:
    """A durable timer."""
    await asyncio.sleep(duration.total_seconds() if isinstance(duration, timedelta) else duration)


def info() -> Any:
    """Facts about the run."""
    return get_runtime().workflow_info()


def now() -> datetime:
    """The deterministic clock."""
    value: datetime = get_runtime().workflow_now()
    return value


def time() -> float:
    """The deterministic clock, in seconds since 1970."""
    return now().timestamp()


def in_workflow() -> bool:
    """Whether the caller is workflow code."""
    return not str(get_runtime().workflow_info().workflow_id).startswith("<")


class _Unsafe:
    """What needs no sandbox here: imports are ordinary imports."""

    @staticmethod
    @contextlib.contextmanager
    def imports_passed_through() -> Iterator[None]:
        yield

    @staticmethod
    @contextlib.contextmanager
    def sandbox_unrestricted() -> Iterator[None]:
        yield

    @staticmethod
    def is_replaying() -> bool:
        return bool(getattr(get_runtime(), "replaying", False))


unsafe = _Unsafe()


class _Logger:
    """Resolved at each use, because the runtime may be set after this import."""

    def __getattr__(self, name: str) -> Any:
        return getattr(get_runtime().workflow_logger(), name)


logger: Any = _Logger()
