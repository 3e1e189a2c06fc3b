"""What the SDK's `NtroWorkflow` (0.1.2) keeps in private attributes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .decorators import SIGNAL, marked

# As many as `WorkflowRun.status.steps` may hold.
_MAX_STEPS = 64


class SdkInstance:
    """Implements `workflow.instance.Instance`, also for classes that do not derive from `NtroWorkflow`."""

    def __init__(self, workflow: Any) -> None:
        self.workflow = workflow

    def signals(self) -> dict[str, Callable[..., Any]]:
        return marked(type(self.workflow), SIGNAL)

    def step(self) -> str:
        return str(getattr(self.workflow, "_current_step_id", None) or "")

    def steps(self) -> list[dict[str, str]]:
        query = getattr(self.workflow, "current_steps", None)
        if query is None:
            return []
        return [{"id": str(step["id"]), "status": str(step["status"])} for step in query()[:_MAX_STEPS]]

    def pending_action(self) -> dict[str, Any]:
        action: dict[str, Any] = self.workflow._pending_action
        return action

    def set_answer(self, action: dict[str, Any] | None) -> None:
        self.workflow._received_user_action = action
