"""What a call of an activity asks for, checked. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from temporalio.common import RetryPolicy

from .block import SdkMisuse

_REFUSED = {
    "schedule_to_start_timeout": "an activity waits for its place as long as it takes; schedule_to_close_timeout bounds that too",
    "versioning_intent": "a run keeps the bundle that it began with",
}
"""Options of Temporal that would be promises nobody keeps, and what holds instead."""
_REMARKS = ("summary", "priority")
"""Without effect, because they change no result and no promise: activities begin in the order in which they are called."""
_TRY_CANCEL = 0


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
    silence_ms: int | None = None
    """Between two heartbeats of an attempt."""
    result_type: Any = None
    """Instead of what the function is annotated with."""
    given_id: str = ""
    """What the code calls it; empty: it has the number of its command for an id."""


def milliseconds(value: Any, what: str) -> int:
    """A timedelta, or seconds, in milliseconds."""
    if isinstance(value, timedelta):
        return max(0, round(value.total_seconds() * 1000))
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return max(0, round(value * 1000))
    raise SdkMisuse(f"{what} must be a timedelta or a number of seconds, not {type(value).__name__}")


def activity_call(
    function: Callable[..., Any], name: str, arg: Any, options: dict[str, Any], *, queues: Collection[str] = ()
) -> ActivityCall:
    """`arg` None means no argument, as in the published facade; `args=[…]` gives several. `queues` are names of the only one."""
    options = {option: value for option, value in options.items() if value is not None}
    args = _arguments(name, arg, options.pop("args", None))
    policy = options.pop("retry_policy", None)
    if policy is not None and not isinstance(policy, RetryPolicy):
        raise SdkMisuse(f"retry_policy of activity {name!r} must be a RetryPolicy")
    if options.pop("task_queue", "") not in ("", *queues):
        raise SdkMisuse(f"task_queue of activity {name!r} can only be runbook.info().task_queue: a run has no other workers")
    if options.pop("cancellation_type", _TRY_CANCEL) != _TRY_CANCEL:
        raise SdkMisuse(f"cancellation_type of activity {name!r} can only be TRY_CANCEL: what is cancelled is not waited for")
    for option in _REMARKS:
        options.pop(option, None)
    call = ActivityCall(
        function=function,
        name=name,
        args=args,
        policy=policy,
        timeout_ms=_duration(options, "start_to_close_timeout"),
        limit_ms=_duration(options, "schedule_to_close_timeout"),
        silence_ms=_duration(options, "heartbeat_timeout"),
        result_type=options.pop("result_type", None),
        given_id=str(options.pop("activity_id", "")),
    )
    _refuse_others(name, options)
    return call


def _arguments(name: str, arg: Any, args: Any) -> tuple[Any, ...]:
    if args is not None and not (isinstance(args, Sequence) and not isinstance(args, (str, bytes))):
        raise SdkMisuse(f"args of activity {name!r} must be a list")
    if args and arg is not None:
        raise SdkMisuse(f"activity {name!r} was given both an argument and args=[…]")
    return tuple(args) if args else (() if arg is None else (arg,))


def _duration(options: dict[str, Any], option: str) -> int | None:
    """Takes it out of `options`."""
    value = options.pop(option, None)
    return None if value is None else milliseconds(value, option)


def _refuse_others(name: str, options: dict[str, Any]) -> None:
    for option in sorted(options):
        if option in _REFUSED:
            raise SdkMisuse(f"{option} of activity {name!r} is not supported: {_REFUSED[option]}")
    if options:
        raise SdkMisuse(f"unknown option of activity {name!r}: {', '.join(sorted(options))}")
