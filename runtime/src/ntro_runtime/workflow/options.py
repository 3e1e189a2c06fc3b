"""What a call of an activity asks for, checked. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from temporalio.common import RetryPolicy

from .block import SdkMisuse

# Accepted because published code passes them; they mean nothing where one process runs one run.
_IGNORED = frozenset(
    (
        "task_queue",
        "heartbeat_timeout",
        "schedule_to_start_timeout",
        "activity_id",
        "summary",
        "versioning_intent",
        "cancellation_type",
        "priority",
        "result_type",
    )
)


@dataclass(frozen=True)
class ActivityCall:
    """One call, before it is scheduled."""

    function: Callable[..., Any]
    name: str
    args: tuple[Any, ...]
    policy: RetryPolicy | None = None
    timeout_ms: int | None = None
    limit_ms: int | None = None
    """Of all attempts and the waits between them."""


def milliseconds(value: Any, what: str) -> int:
    """A timedelta, or seconds, in milliseconds."""
    if isinstance(value, timedelta):
        return max(0, round(value.total_seconds() * 1000))
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return max(0, round(value * 1000))
    raise SdkMisuse(f"{what} must be a timedelta or a number of seconds, not {type(value).__name__}")


def activity_call(function: Callable[..., Any], name: str, arg: Any, options: dict[str, Any]) -> ActivityCall:
    """`arg` None means no argument, as in the published facade; `args=[…]` gives several."""
    options = dict(options)
    args = options.pop("args", None)
    policy = options.pop("retry_policy", None)
    timeout = options.pop("start_to_close_timeout", None)
    limit = options.pop("schedule_to_close_timeout", None)
    unknown = sorted(set(options) - _IGNORED)
    if unknown:
        raise SdkMisuse(f"unknown option of activity {name!r}: {', '.join(unknown)}")
    if args is not None and not (isinstance(args, Sequence) and not isinstance(args, (str, bytes))):
        raise SdkMisuse(f"args of activity {name!r} must be a list")
    if args and arg is not None:
        raise SdkMisuse(f"activity {name!r} was given both an argument and args=[…]")
    if policy is not None and not isinstance(policy, RetryPolicy):
        raise SdkMisuse(f"retry_policy of activity {name!r} must be a RetryPolicy")
    values = tuple(args) if args else (() if arg is None else (arg,))
    return ActivityCall(
        function=function,
        name=name,
        args=values,
        policy=policy,
        timeout_ms=None if timeout is None else milliseconds(timeout, "start_to_close_timeout"),
        limit_ms=None if limit is None else milliseconds(limit, "schedule_to_close_timeout"),
    )
