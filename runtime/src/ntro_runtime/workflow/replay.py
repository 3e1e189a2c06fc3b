"""Replay: what workflow code does now, against what the journal says it did."""

from __future__ import annotations

from collections.abc import Mapping

from .commands import Command, Difference, compare, describe
from .journal import Entry
from .source_location import SourceLocation


class DivergenceError(Exception):
    """The code and the journal disagree. `site` is the line that gave the command, if there is one."""

    def __init__(self, difference: Difference, site: SourceLocation | None) -> None:
        super().__init__(difference.message)
        self.difference = difference
        self.site = site


def unrecorded(commands: list[Command], recorded: Mapping[int, Entry], next_number: int, seq: int) -> list[Command]:
    """Those of a turn's `commands` that the journal does not have yet: where it ends, live execution begins.

    `seq` is the delivery the turn was about, `next_number` that of the command after the last one. Raises `DivergenceError`, also if the
    journal has a command for this turn that the code did not give.
    """
    live: list[Command] = []
    for command in commands:
        known = recorded.get(command.number)
        if known is None:
            live.append(command)
            continue
        difference = compare(command, known)
        if difference is not None:
            raise DivergenceError(difference, command.site)
    missing = recorded.get(next_number)
    if not live and missing is not None and int(missing["seenUpto"]) <= seq:
        message = f"command {missing['command']}: the journal has {describe(missing)}, the code now gives nothing"
        raise DivergenceError(Difference(message), None)
    return live
