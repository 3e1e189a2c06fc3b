"""What follows when an attempt of an activity has failed. Pure."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from pydantic import ValidationError

from temporalio.common import RetryPolicy
from temporalio.exceptions import ApplicationError

REPEATABLE = ("none", "idempotent")
DEFAULT_POLICY = RetryPolicy(maximum_attempts=5)


class Verdict(enum.Enum):
    """Outcome of a failed attempt."""

    RETRY = "retry"
    FAIL = "fail"
    BLOCK = "block"


@dataclass(frozen=True)
class Failure:
    """What an attempt reported. `type` is a bounded class name, `message` is payload."""

    type: str
    message: str
    non_retryable: bool
    next_delay: timedelta | None = None


@dataclass(frozen=True)
class Next:
    """What to do, and when another attempt is due."""

    verdict: Verdict
    delay_ms: int = 0


def failure_of(error: BaseException) -> Failure:
    """Classify an exception of an activity. Input that cannot be right is final, as the published worker has it."""
    if isinstance(error, ApplicationError):
        name = error.type or type(error).__name__
        return Failure(class_name(name), error.message, error.non_retryable, error.next_retry_delay)
    if isinstance(error, ValidationError):
        problems = error.errors(include_url=False, include_input=False, include_context=False)
        text = "; ".join(f"{'.'.join(str(p) for p in e['loc']) or 'value'}: {e['msg']}" for e in problems[:20])
        return Failure("ValidationError", text, non_retryable=True)
    return Failure(class_name(type(error).__name__), str(error), isinstance(error, ValueError))


def class_name(name: str) -> str:
    """A class of error as it may be shown outside: an identifier of at most 64 characters."""
    cleaned = "".join(c if c.isascii() and (c.isalnum() or c in "_.") else "_" for c in name)[:64]
    return cleaned or "Error"


def decide(failure: Failure, *, effect: str, policy: RetryPolicy | None, failures: int, elapsed_ms: int, limit_ms: int | None) -> Next:
    """`failures` counts this one and those before it; `elapsed_ms` runs since the activity was scheduled.

    Without a policy of its own an activity that may be repeated gets five attempts, and then, like any other that failed for a reason
    its author did not call final, waits for a person.
    """
    own = policy is not None
    if failure.non_retryable or (policy is not None and failure.type in (policy.non_retryable_error_types or ())):
        return Next(Verdict.FAIL)
    if policy is None:
        if effect not in REPEATABLE:
            return Next(Verdict.BLOCK)
        policy = DEFAULT_POLICY
    if policy.maximum_attempts and failures >= policy.maximum_attempts:
        return Next(Verdict.FAIL if own else Verdict.BLOCK)
    delay_ms = _delay_ms(policy, failures, failure.next_delay)
    if limit_ms is not None and elapsed_ms + delay_ms >= limit_ms:
        return Next(Verdict.FAIL)
    return Next(Verdict.RETRY, delay_ms)


def _delay_ms(policy: RetryPolicy, failures: int, asked: timedelta | None) -> int:
    if asked is not None:
        return int(asked.total_seconds() * 1000)
    first = policy.initial_interval.total_seconds()
    ceiling = (policy.maximum_interval or policy.initial_interval * 100).total_seconds()
    return int(1000 * min(ceiling, first * policy.backoff_coefficient ** min(failures - 1, 64)))


def error_fields(failure: Failure) -> dict[str, Any]:
    """`error` of `activityFailed`."""
    return {"type": failure.type, "nonRetryable": failure.non_retryable}
