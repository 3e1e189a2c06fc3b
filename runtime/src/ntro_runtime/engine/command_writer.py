"""Appending what workflow code did, and the intents of the attempts that begin at once, in requests of bounded size."""

from __future__ import annotations

from collections.abc import Iterator

from ..shared.errors import ProtocolError
from ..workflow.commands import Command
from .attempts import Attempts
from .exit import Exit
from .journal_client import Json
from .journal_session import JournalSession

_APPEND_BYTES = 512 * 1024


class CommandWriter:
    """The intent of an attempt is acknowledged before the attempt begins."""

    def __init__(self, session: JournalSession, attempts: Attempts, exit: Exit) -> None:
        self._session = session
        self._attempts = attempts
        self._exit = exit

    def write(self, commands: list[Command], *, begin: bool = True) -> None:
        """Append, and with `begin` start what finds a place."""
        for chunk in _chunks(commands):
            self._append(chunk, begin)

    def _append(self, commands: list[Command], begin: bool) -> None:
        scheduled = [command.number for command in commands if command.type == "activityScheduled"]
        # What the code wanted before it was told of a cancellation does not begin any more.
        starts = self._attempts.first_of(scheduled) if begin and not self._session.journal.cancel_ahead else {}
        for command in commands:
            if command.payload is not None:
                self._session.upload(command.payload)
        try:
            if not self._session.append_unless_unread(*self._entries(commands, starts)):
                # The run was cancelled meanwhile.
                starts = {}
                self._session.append(*self._entries(commands, starts))
        except ProtocolError as error:
            self._exit.refused(error, commands[0].site)
        for number in starts:
            self._attempts.begin(number)

    def _entries(self, commands: list[Command], starts: dict[int, Json]) -> Iterator[Json]:
        for command in commands:
            yield command.to_wire(self._session.inline_max)
            if command.number in starts:
                yield starts[command.number]


def _chunks(commands: list[Command]) -> Iterator[list[Command]]:
    chunk: list[Command] = []
    for command in commands:
        if chunk and sum(c.size for c in chunk) + command.size > _APPEND_BYTES:
            yield chunk
            chunk = []
        chunk.append(command)
    yield chunk
