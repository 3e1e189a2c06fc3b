"""Schedules that are due soon, and what a Workflow's status tells of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from kit.tenants import Tenant


def next_minute(at_least: float) -> datetime:
    """The first full minute that is more than so many seconds away."""
    at = datetime.now(UTC) + timedelta(seconds=at_least)
    return at.replace(second=0, microsecond=0) + timedelta(minutes=1)


def cron(due: datetime) -> str:
    return f"{due.minute} {due.hour} {due.day} {due.month} *"


def slot_of(name: str, due: datetime) -> str:
    return f"{name}-{due:%Y%m%dt%H%M}z"


def status(tenant: Tenant, name: str) -> dict[str, Any]:
    found: dict[str, Any] = tenant.get("nwf", name).get("status", {})
    return found
