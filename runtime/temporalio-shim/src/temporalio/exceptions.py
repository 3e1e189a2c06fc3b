"""The failures that workflow code may see and raise. A run ends `Failed` only with one of these."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

__all__ = [
    "ActivityError",
    "ApplicationError",
    "CancelledError",
    "ChildWorkflowError",
    "FailureError",
    "TemporalError",
    "TimeoutError",
    "is_cancelled_exception",
]


class TemporalError(Exception):
    """Base of everything here."""


class FailureError(TemporalError):
    """A failure of a run, an activity or a child. `message` is its text."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self._message = message

    @property
    def message(self) -> str:
        """The text without type or cause."""
        return self._message

    @property
    def cause(self) -> BaseException | None:
        """What caused it: for an `ActivityError` the `ApplicationError` of the activity."""
        return self.__cause__


class ApplicationError(FailureError):
    """A failure that runbook code raised on purpose."""

    def __init__(
        self,
        message: str,
        *details: Any,
        type: str | None = None,
        non_retryable: bool = False,
        next_retry_delay: timedelta | None = None,
        category: Any = None,
    ) -> None:
        super().__init__(message if not type else f"{type}: {message}")
        self._message = message
        self._details = details
        self._type = type
        self._non_retryable = non_retryable
        self._next_retry_delay = next_retry_delay
        self._category = category

    @property
    def details(self) -> Sequence[Any]:
        """Further values given to the constructor."""
        return self._details

    @property
    def type(self) -> str | None:
        """Class of the failure, as the code names it."""
        return self._type

    @property
    def non_retryable(self) -> bool:
        """Whether another attempt is pointless."""
        return self._non_retryable

    @property
    def next_retry_delay(self) -> timedelta | None:
        """Wait before the next attempt, instead of the policy's."""
        return self._next_retry_delay


class CancelledError(FailureError):
    """The activity was cancelled."""

    def __init__(self, message: str = "cancelled") -> None:
        super().__init__(message)


class TimeoutError(FailureError):  # noqa: A001 - the name runbooks import
    """An activity took longer than its timeout in every allowed attempt."""


class ActivityError(FailureError):
    """An activity failed for good; the reason is its `cause`."""

    def __init__(self, message: str = "activity failed", *, activity_type: str = "", activity_id: str = "", **_: Any) -> None:
        super().__init__(message)
        self.activity_type = activity_type
        self.activity_id = activity_id


class ChildWorkflowError(FailureError):
    """A child run failed; the reason is its `cause`."""

    def __init__(self, message: str = "child workflow failed", *, workflow_id: str = "", workflow_type: str = "", **_: Any) -> None:
        super().__init__(message)
        self.workflow_id = workflow_id
        self.workflow_type = workflow_type


def is_cancelled_exception(exception: BaseException) -> bool:
    """Whether `exception` is, or was caused by, a cancellation."""
    import asyncio

    if isinstance(exception, (asyncio.CancelledError, CancelledError)):
        return True
    return isinstance(exception, (ActivityError, ChildWorkflowError)) and isinstance(exception.cause, CancelledError)
