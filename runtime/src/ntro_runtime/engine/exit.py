"""How this process leaves its run: last entries of the journal, and the exit code."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

from ..shared.errors import BlockCode, ExitCode, ProtocolError
from ..workflow import guards
from ..workflow.block import Block
from ..workflow.source_location import SourceLocation
from .journal_client import ConnectionLostError, Json
from .journal_session import JournalSession
from .output import flush_output

_log = logging.getLogger("ntro.runtime")

_EXITS = {
    "Fenced": ExitCode.FENCED,
    "Sealed": ExitCode.OK,
    "Version": ExitCode.CONFIG,
    "NotYet": ExitCode.CRASH,
    "Forbidden": ExitCode.CRASH,
    "Unavailable": ExitCode.OUTAGE,
}
_BLOCKS = {"TooLarge": BlockCode.TOO_LARGE, "Diverged": BlockCode.DIVERGENCE}


class AlreadyHaltingError(Exception):
    """A second reason to block the run, found while effects are drained for the first."""


@dataclass(frozen=True)
class Leave:
    """The order to end this process with `code`, after `block` and `released` (a cause) were journaled."""

    code: ExitCode
    released: str | None = None
    block: Block | None = None


class Exit:
    """No method returns but `flush`: the process ends through `exit_process`, without a word to the bundle's code.

    An exception instead would travel through workflow code, which may swallow it.
    """

    def __init__(self, session: JournalSession, exit_process: Callable[[int], NoReturn], drain: Callable[[], None]) -> None:
        """`drain` gives the effects under way their grace to end and be recorded, before the run is blocked."""
        self._session = session
        self._exit_process = exit_process
        self._drain = drain
        self._halting = False
        self._leaving = False

    def misused(self, message: str, site: SourceLocation | None) -> NoReturn:
        self.halt(Block(BlockCode.SDK_MISUSE, message, site))

    def halt(self, block: Block, *first: Json) -> NoReturn:
        """Block the run, after its effects under way were drained. `first` are entries to write before that."""
        if self._halting:
            if first:
                self._session.append(*first)
            raise AlreadyHaltingError
        self._drain_and_leave(Leave(block.exit_code, released="blocked", block=block), *first)

    def _drain_and_leave(self, order: Leave, *first: Json) -> NoReturn:
        self._halting = True
        self._end_turn()
        try:
            self._drain()
        except ProtocolError as error:
            if error.code in _EXITS:
                self.refused(error)
            _log.error("draining: the journal refused: %s", error)
        except ConnectionLostError:
            self.now(ExitCode.OUTAGE)
        self.leave(order, *first)

    def crash(self) -> NoReturn:
        """Leave for what nobody expected, such as a full disk: another pod may have more luck. Effects under way are recorded."""
        _log.exception("the process of the workflow failed")
        if self._halting:
            self.now(ExitCode.CRASH)
        self._drain_and_leave(Leave(ExitCode.CRASH))

    def leave(self, order: Leave, *first: Json) -> NoReturn:
        """Write `first`, then the block and the release of the order, and exit."""
        if self._leaving:
            self.now(ExitCode.CRASH)
        self._leaving = True
        self._end_turn()
        if order.block is not None:
            where = f" at {order.block.site}" if order.block.site else ""
            _log.error("run blocked: %s%s: %s", order.block.code, where, order.block.message)
        self.flush()
        try:
            self._write(order, list(first))
        except ProtocolError as error:
            if error.code == "Fenced":
                self.now(ExitCode.FENCED)
            if error.code != "Sealed":
                _log.error("leaving: the journal refused: %s", error)
                self.now(order.code or ExitCode.CRASH)
        except ConnectionLostError:
            self.now(ExitCode.OUTAGE)
        self.now(order.code)

    def refused(self, error: ProtocolError, site: SourceLocation | None = None) -> NoReturn:
        """The operator does not want this process any more, or does not take what it said: another try would say the same."""
        if error.code == "RequirementNotMet" and not self._halting:
            # The operator has blocked the run and said which activity.
            self._drain_and_leave(Leave(ExitCode.BLOCKED, released="blocked"))
        code = _EXITS.get(error.code)
        if code is None:
            self.halt(Block(_BLOCKS.get(error.code, BlockCode.SDK_MISUSE), f"the journal refused an entry: {error.message}", site))
        if code is ExitCode.CRASH:
            _log.error("the journal refused a request: %s", error)
        self._end_turn()
        self.now(code)

    def now(self, code: ExitCode) -> NoReturn:
        """Exit without writing anything."""
        self.flush()
        self._exit_process(int(code))

    def flush(self) -> None:
        """The log must be complete before the journal says that the segment is over."""
        flush_output()

    def _end_turn(self) -> None:
        """Workflow code may be on the stack yet, but does not go on: what follows is ours, and may take its time."""
        guards.disarm()
        self._session.client.turn(begin=False)

    def _write(self, order: Leave, entries: list[Json]) -> None:
        if order.block is not None:
            entries.append(self._blocked(order.block))
        if entries:
            self._session.append(*entries)
        if order.released is not None:
            self._session.append({"type": "released", "epoch": self._session.client.epoch, "cause": order.released})

    def _blocked(self, block: Block) -> Json:
        entry: Json = {"type": "blocked", "code": str(block.code)}
        if block.site is not None:
            entry["site"] = block.site.to_wire()
        if block.activity is not None:
            entry["activity"] = block.activity
        return {**entry, "detail": self._session.payload({"message": block.message})}
