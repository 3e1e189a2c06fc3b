"""Small pieces of workflow state as they stand in entries."""

from __future__ import annotations

from typing import Any

MAX_STEPS = 64


def plain_steps(instance: Any) -> list[dict[str, str]]:
    """Ids and states of the steps, as the SDK's own query gives them; none for a class without steps."""
    query = getattr(instance, "current_steps", None)
    if query is None:
        return []
    return [{"id": str(step["id"]), "status": str(step["status"])} for step in query()[:MAX_STEPS]]
