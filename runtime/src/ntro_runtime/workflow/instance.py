"""An instance of a workflow class, as the workflow package sees it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol


class Instance(Protocol):
    """The SDK keeps what is asked here in private attributes, whose names only the package `sdk` knows."""

    @property
    def workflow(self) -> Any:
        """The object itself, to compare and to call handlers on."""

    def signals(self) -> dict[str, Callable[..., Any]]:
        """Functions marked as signal handlers, by the signal's name. They take the object first."""

    def step(self) -> str:
        """Id of the current step, empty if there is none."""

    def steps(self) -> list[dict[str, str]]:
        """`id` and `status` of each step, as `stepsChanged` has them."""

    def pending_action(self) -> dict[str, Any]:
        """What the gate that is open shows, as the SDK's `current_pending_action` has it."""

    def set_answer(self, action: dict[str, Any] | None) -> None:
        """Hand over what `wait_for_action` is to return; None takes away an answer given before."""
