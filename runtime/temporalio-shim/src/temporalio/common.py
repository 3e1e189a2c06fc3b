"""`RetryPolicy`: how often, and how fast, an activity is tried again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

__all__ = ["RetryPolicy"]


@dataclass
class RetryPolicy:
    """Retries of one activity.

    `maximum_attempts` counts the first attempt; 0 means no limit. The n-th wait is
    `initial_interval * backoff_coefficient ** (n - 1)`, never above `maximum_interval`
    (default: 100 times the first). Errors whose type is in `non_retryable_error_types` are final.
    """

    initial_interval: timedelta = timedelta(seconds=1)
    backoff_coefficient: float = 2.0
    maximum_interval: timedelta | None = None
    maximum_attempts: int = 0
    non_retryable_error_types: Sequence[str] | None = None

    def __post_init__(self) -> None:
        if self.initial_interval < timedelta(0):
            raise ValueError("initial_interval must not be negative")
        if self.backoff_coefficient < 1:
            raise ValueError("backoff_coefficient must be at least 1")
        if self.maximum_attempts < 0:
            raise ValueError("maximum_attempts must not be negative")
        if self.maximum_interval is not None and self.maximum_interval < self.initial_interval:
            raise ValueError("maximum_interval must not be below initial_interval")
