"""How long an attempt may take: by itself, and together with those before it. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from ..workflow.journal import ActivityState, time_of
from ..workflow.options import ActivityCall

START_TO_CLOSE = "start_to_close_timeout"
SCHEDULE_TO_CLOSE = "schedule_to_close_timeout"
SILENCE = "heartbeat_timeout without a heartbeat"


@dataclass(frozen=True)
class TimeLimit:
    """`seconds` from now, by the option named `option`."""

    seconds: float
    option: str


def elapsed_ms(state: ActivityState, now: datetime) -> int:
    """Since the activity was scheduled, or since a person's retry was taken up."""
    return int((now - time_of(state.since)).total_seconds() * 1000)


def out_of_time(state: ActivityState, call: ActivityCall, now: datetime) -> bool:
    """Whether no further attempt may begin."""
    return call.limit_ms is not None and elapsed_ms(state, now) >= call.limit_ms


def limit_of_attempt(state: ActivityState, call: ActivityCall, now: datetime) -> TimeLimit | None:
    """The nearer one of the two limits of an attempt that begins now."""
    limits = []
    if call.timeout_ms is not None:
        limits.append(TimeLimit(call.timeout_ms / 1000, START_TO_CLOSE))
    if call.limit_ms is not None:
        limits.append(TimeLimit(max(0, call.limit_ms - elapsed_ms(state, now)) / 1000, SCHEDULE_TO_CLOSE))
    return min(limits, key=lambda limit: limit.seconds, default=None)
