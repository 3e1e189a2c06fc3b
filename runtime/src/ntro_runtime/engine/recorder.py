"""Records what workflow code commands: on replay it must be what the journal has, live it is appended."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

from ..shared.errors import Block, BlockCode, ExitCode, Leave, ProtocolError
from ..shared.sites import Site, SiteFinder
from ..workflow.commands import Command, Difference, compare, describe
from ..workflow.scope import WorkflowScope
from .attempts import Attempts
from .exit import Exit
from .journal_session import JournalSession

_APPEND_BYTES = 512 * 1024


class Recorder:
    """`wait` lets things happen for at most so many seconds."""

    def __init__(
        self,
        session: JournalSession,
        attempts: Attempts,
        leave: Exit,
        finder: SiteFinder,
        wait: Callable[[float | None], None],
    ) -> None:
        self._session = session
        self._attempts = attempts
        self._exit = leave
        self._finder = finder
        self._wait = wait

    def record(self, scope: WorkflowScope, commands: list[Command], seq: int, entry: Callable[..., Any]) -> None:
        """Compare with the journal what it has already, append the rest. `seq` is of the delivery that led to the commands."""
        journal = self._session.journal
        live: list[Command] = []
        for command in commands:
            recorded = journal.commands.get(command.number)
            if recorded is None:
                live.append(command)
                continue
            difference = compare(command, recorded)
            if difference is not None:
                self._diverged(difference, command.site or self._finder.of_code(entry))
        missing = journal.commands.get(scope.next_command)
        if not live and missing is not None and int(missing["seenUpto"]) <= seq:
            message = f"command {missing['command']}: the journal has {describe(missing)}, the code now gives nothing"
            self._diverged(Difference(message), self._finder.of_code(entry))
        if live:
            self._append(scope, live)

    def _diverged(self, difference: Difference, site: Site | None) -> NoReturn:
        code = BlockCode.ARGS_DRIFT if difference.drift else BlockCode.DIVERGENCE
        self._exit.halt(Block(code, difference.message, site))

    def _append(self, scope: WorkflowScope, commands: list[Command]) -> None:
        # The code is done, but effects under way are still to be recorded before the run is sealed.
        while scope.finished and self._attempts.running:
            self._wait(self._attempts.next_deadline())
        chunk: list[Command] = []
        for command in commands:
            if chunk and sum(c.size for c in chunk) + command.size > _APPEND_BYTES:
                self._append_chunk(chunk)
                chunk = []
            chunk.append(command)
        self._append_chunk(chunk)
        if scope.finished:
            self._exit.leave(Leave(ExitCode.OK, released="finished"))

    def _append_chunk(self, commands: list[Command]) -> None:
        for command in commands:
            if command.payload is not None:
                self._session.upload(command.payload)
        try:
            self._session.append(*[command.to_wire(self._session.inline_max) for command in commands])
        except ProtocolError as error:
            if error.code == "RequirementNotMet":
                # The operator has blocked the run and said which activity.
                self._exit.leave(Leave(ExitCode.BLOCKED, released="blocked"))
            if error.code in ("TooLarge", "Diverged"):
                code = BlockCode.TOO_LARGE if error.code == "TooLarge" else BlockCode.DIVERGENCE
                self._exit.halt(Block(code, error.message, commands[0].site))
            raise
        for command in commands:
            if command.type == "activityScheduled":
                self._attempts.scheduled(command.number)
