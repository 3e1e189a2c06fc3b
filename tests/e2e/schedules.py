"""Schedules that are due soon, and what a Workflow says of its own."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from harness import Tenant


def in_a_minute(at_least: float) -> datetime:
    due = datetime.now(UTC).replace(second=0, microsecond=0) + timedelta(minutes=1)
    return due if (due - datetime.now(UTC)).total_seconds() > at_least else due + timedelta(minutes=1)


def cron(due: datetime) -> str:
    return f"{due.minute} {due.hour} {due.day} {due.month} *"


def slot_of(name: str, due: datetime) -> str:
    return f"{name}-{due:%Y%m%dt%H%M}z"


def status(tenant: Tenant, name: str) -> dict[str, Any]:
    found: dict[str, Any] = tenant.get("nwf", name).get("status", {})
    return found
