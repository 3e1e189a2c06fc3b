"""Appending what workflow code did, in requests of bounded size."""

from __future__ import annotations

from collections.abc import Iterator

from ..shared.errors import ExitCode, ProtocolError
from ..workflow.commands import Command
from .attempts import Attempts
from .exit import Exit, Leave
from .journal_session import JournalSession

_APPEND_BYTES = 512 * 1024


class CommandWriter:
    """Only what is acknowledged here may be attempted: the intent of an effect is in the journal before the effect."""

    def __init__(self, session: JournalSession, attempts: Attempts, exit: Exit) -> None:
        self._session = session
        self._attempts = attempts
        self._exit = exit

    def write(self, commands: list[Command]) -> None:
        for chunk in _chunks(commands):
            self._append(chunk)

    def _append(self, commands: list[Command]) -> None:
        for command in commands:
            if command.payload is not None:
                self._session.upload(command.payload)
        try:
            self._session.append(*[command.to_wire(self._session.inline_max) for command in commands])
        except ProtocolError as error:
            if error.code == "RequirementNotMet":
                # The operator has blocked the run and said which activity.
                self._exit.leave(Leave(ExitCode.BLOCKED, released="blocked"))
            self._exit.refused(error, commands[0].site)
        for command in commands:
            if command.type == "activityScheduled":
                self._attempts.scheduled(command.number)


def _chunks(commands: list[Command]) -> Iterator[list[Command]]:
    chunk: list[Command] = []
    for command in commands:
        if chunk and sum(c.size for c in chunk) + command.size > _APPEND_BYTES:
            yield chunk
            chunk = []
        chunk.append(command)
    yield chunk
