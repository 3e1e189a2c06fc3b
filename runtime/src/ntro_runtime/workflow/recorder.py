"""The commands of the turn under way."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, NoReturn

from ..shared.errors import BlockCode
from .block import Block
from .codec import CodecError, encode
from .commands import Command
from .instance import Instance
from .journal import Entry, time_of
from .payload import Payload
from .source_location import SourceLocation, SourceLocator

Halt = Callable[[Block], NoReturn]
"""Ends the process with the run blocked. Raising instead would let workflow code catch it."""


class CommandRecorder:
    """Numbers what workflow code does, and says which delivery it had seen by then and where in the bundle it stands."""

    def __init__(self, locator: SourceLocator, halt: Halt, now: datetime) -> None:
        self.locator = locator
        self.halt = halt
        self.now = now
        """Time of the newest delivery, the only clock of workflow code."""
        self.seen = 0
        """`seq` of the newest delivery."""
        self.next_number = 0
        self.instance: Instance | None = None
        self._started = now
        self._commands: list[Command] = []

    def begin_turn(self, delivery: Entry | None) -> None:
        if delivery is not None:
            self.seen = int(delivery["seq"])
            self.now = time_of(delivery)
        self._commands = []

    @property
    def commands(self) -> list[Command]:
        """Those of this turn so far."""
        return self._commands

    def elapsed(self) -> float:
        """Seconds since the run was created."""
        return (self.now - self._started).total_seconds()

    def step(self) -> str:
        """Id of the current step, empty if there is none."""
        return "" if self.instance is None else self.instance.step()

    def emit(self, kind: str, fields: dict[str, Any], payload: Payload | None = None, site: SourceLocation | None = None) -> int:
        """Give a command; returns its number."""
        number = self.next_number
        self.next_number += 1
        where = site or self.locator.of_caller()
        self._commands.append(Command(number, self.seen, kind, fields, payload, where))
        return number

    def misuse(self, message: str, site: SourceLocation | None = None) -> NoReturn:
        """Workflow code did what it must not do."""
        self.halt(Block(BlockCode.SDK_MISUSE, message, site or self.locator.of_caller()))

    def text_of(self, value: Any, what: str, site: SourceLocation | None) -> str:
        """JSON of `value`. If it has none the run is blocked, and `what` and `site` say whose mistake it is."""
        try:
            return encode(value, what)
        except CodecError as error:
            self.misuse(str(error), site)
