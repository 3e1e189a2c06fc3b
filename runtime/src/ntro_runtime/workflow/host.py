"""What the parts of a scope use of it: a clock, a loop, and commands."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import Any, NoReturn, Protocol

from ..shared.errors import Block
from ..shared.payload import Payload
from ..shared.sites import Site
from .loop import WorkflowLoop

Halt = Callable[[Block], NoReturn]


class Host(Protocol):
    """A `WorkflowScope`, as its gates, activities, signals and waits see it."""

    now: datetime
    loop: WorkflowLoop
    instance: Any

    @property
    def halt(self) -> Halt:
        """Ends the process with the run blocked."""

    def emit(self, kind: str, fields: dict[str, Any], payload: Payload | None = None, site: Site | None = None) -> int:
        """Give a command; returns its number."""

    def misuse(self, message: str, site: Site | None = None) -> NoReturn:
        """Workflow code did what it must not do."""

    def text_of(self, value: Any, what: str, site: Site | None) -> str:
        """JSON of `value`."""

    def step(self) -> str:
        """The current step, or the empty string."""

    def fail(self, error: BaseException) -> None:
        """Code outside the main task raised."""


def future_of(host: Host) -> asyncio.Future[Any]:
    """A future of the workflow's own loop."""
    return host.loop.create_future()
