"""Errors of the bundle's code as the journal names them: a bounded type, which may be shown, and a message, which is payload."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from pydantic import ValidationError

from temporalio.exceptions import ApplicationError


@dataclass(frozen=True)
class Failure:
    """What an attempt reported. `type` is a bounded class name, `message` is payload."""

    type: str
    message: str
    non_retryable: bool
    next_delay: timedelta | None = None


def failure_of(error: BaseException) -> Failure:
    """Classify an exception of an activity. Input that cannot be right is final, as the published worker has it."""
    if isinstance(error, ApplicationError):
        name = error.type or type(error).__name__
        return Failure(class_name(name), _writable(error.message), error.non_retryable, error.next_retry_delay)
    if isinstance(error, ValidationError):
        problems = error.errors(include_url=False, include_input=False, include_context=False)
        text = "; ".join(f"{'.'.join(str(p) for p in e['loc']) or 'value'}: {e['msg']}" for e in problems[:20])
        return Failure("ValidationError", _writable(text), non_retryable=True)
    return Failure(class_name(type(error).__name__), text_of(error), isinstance(error, ValueError))


def text_of(error: BaseException) -> str:
    """The words of an exception, whatever its own code makes of them."""
    try:
        return _writable(str(error))
    except Exception:
        return ""


def described(error: BaseException) -> str:
    """The class of an exception, and its words if it has any."""
    text = text_of(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _writable(text: str) -> str:
    """An entry is UTF-8, which half a surrogate pair is not."""
    return text.encode(errors="backslashreplace").decode()


def class_name(name: str) -> str:
    """A class of error as it may be shown outside: an identifier of at most 64 characters."""
    cleaned = "".join(c if c.isascii() and (c.isalnum() or c in "_.") else "_" for c in name)[:64]
    return cleaned or "Error"


def error_fields(failure: Failure) -> dict[str, Any]:
    """The field `error` of an `activityFailed` entry."""
    return {"type": failure.type, "nonRetryable": failure.non_retryable}
