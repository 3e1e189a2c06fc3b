"""What follows when an attempt of an activity has failed. Pure."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import timedelta

from temporalio.common import RetryPolicy

from .failures import Failure

REPEATABLE = ("none", "idempotent")
DEFAULT_POLICY = RetryPolicy(maximum_attempts=5)
MIN_DELAY_MS = 100
"""Between two attempts, whatever a policy says: each costs two entries of a journal that is bounded."""


class Verdict(enum.Enum):
    """What follows a failed attempt: another one, a failed activity, or a run blocked until a person decides."""

    RETRY = "retry"
    FAIL = "fail"
    BLOCK = "block"


@dataclass(frozen=True)
class RetryDecision:
    """What to do, and when another attempt is due."""

    verdict: Verdict
    delay_ms: int = 0


def decide_retry(
    failure: Failure, *, effect: str, policy: RetryPolicy | None, failures: int, elapsed_ms: int, limit_ms: int | None
) -> RetryDecision:
    """`failures` counts this one and those before it; `elapsed_ms` runs since the activity was scheduled.

    Without a policy of its own an activity that may be repeated gets five attempts, and then, like any other that failed for a reason
    its author did not call final, waits for a person.
    """
    own = policy is not None
    if failure.non_retryable or (policy is not None and failure.type in (policy.non_retryable_error_types or ())):
        return RetryDecision(Verdict.FAIL)
    if policy is None:
        if effect not in REPEATABLE:
            return RetryDecision(Verdict.BLOCK)
        policy = DEFAULT_POLICY
    if limit_ms is not None and elapsed_ms >= limit_ms:
        return RetryDecision(Verdict.FAIL)
    if policy.maximum_attempts and failures >= policy.maximum_attempts:
        return RetryDecision(Verdict.FAIL if own else Verdict.BLOCK)
    delay_ms = _delay_ms(policy, failures, failure.next_delay)
    if limit_ms is not None and elapsed_ms + delay_ms >= limit_ms:
        return RetryDecision(Verdict.FAIL)
    return RetryDecision(Verdict.RETRY, delay_ms)


def _delay_ms(policy: RetryPolicy, failures: int, asked: timedelta | None) -> int:
    if asked is not None:
        return max(MIN_DELAY_MS, int(asked.total_seconds() * 1000))
    first = policy.initial_interval.total_seconds()
    ceiling = (policy.maximum_interval or policy.initial_interval * 100).total_seconds()
    return max(MIN_DELAY_MS, int(1000 * min(ceiling, first * policy.backoff_coefficient ** min(failures - 1, 64))))
