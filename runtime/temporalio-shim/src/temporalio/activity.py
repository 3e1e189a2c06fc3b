"""`temporalio.activity` on the active ntro runtime."""

from __future__ import annotations

import logging
from typing import Any

from ntro.workflow.runtime import get_runtime

__all__ = ["defn", "heartbeat", "in_activity", "info", "logger"]


def defn(fn: Any = None, *, name: str | None = None, dynamic: bool = False, no_thread_cancel_exception: bool = False) -> Any:
    """Mark a function as an activity, with its `__name__` or an explicit name. No thread is ever cancelled by an exception here."""
    if dynamic:
        raise NotImplementedError("dynamic activities are not supported")
    if fn is not None:
        return get_runtime().activity_defn(fn)
    if name is not None:
        return get_runtime().activity_defn(name=name)
    return get_runtime().activity_defn()


def info() -> Any:
    """Facts about the running attempt. Raises `RuntimeError` outside an activity."""
    if not in_activity():
        raise RuntimeError("not in an activity")
    return get_runtime().activity_info()


def in_activity() -> bool:
    """Whether the caller is the body of an activity."""
    return not str(get_runtime().activity_info().activity_id).startswith("<")


def heartbeat(*details: Any) -> None:
    """Say that the attempt goes on (`heartbeat_timeout`). `details` are not kept. Raises `RuntimeError` outside an activity."""
    get_runtime().activity_heartbeat()


logger: logging.Logger = logging.getLogger("ntro.activity")
