"""How the process leaves: what it still writes, and with which code it ends."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from typing import NoReturn

from ..shared.errors import Block, ConnectionLostError, ExitCode, Leave, ProtocolError
from ..workflow.guards import Guard
from .journal_client import Json
from .journal_session import JournalSession

_log = logging.getLogger("ntro.runtime")


class Exit:
    """The ways out of one process. None of them returns."""

    def __init__(self, session: JournalSession, guard: Guard, exit_process: Callable[[int], NoReturn]) -> None:
        self._session = session
        self._guard = guard
        self._exit = exit_process
        self._leaving = False

    def halt(self, block: Block, *first: Json) -> NoReturn:
        """Block the run and end the process, without a word to the code."""
        self.leave(Leave(block.exit_code, released="blocked", block=block), *first)

    def leave(self, order: Leave, *first: Json) -> NoReturn:
        """Write `first` and what the order says, then end the process."""
        if self._leaving:
            self.now(ExitCode.CRASH)
        self._leaving = True
        self._guard.disarm()
        entries = list(first)
        if order.block is not None:
            where = f" at {order.block.site}" if order.block.site else ""
            _log.error("run blocked: %s%s: %s", order.block.code, where, order.block.message)
        self.flush()
        try:
            if order.block is not None:
                entries.append(self._blocked(order.block))
            if entries:
                self._session.append(*entries)
            if order.released is not None:
                self._session.append({"type": "released", "epoch": self._session.client.epoch, "cause": order.released})
        except ProtocolError as error:
            if error.code == "Fenced":
                self.now(ExitCode.FENCED)
            if error.code != "Sealed":
                _log.error("leaving: the journal refused: %s", error)
                self.now(order.code or ExitCode.CRASH)
        except ConnectionLostError:
            self.now(ExitCode.OUTAGE)
        self.now(order.code)

    def _blocked(self, block: Block) -> Json:
        entry: Json = {"type": "blocked", "code": str(block.code)}
        if block.site is not None:
            entry["site"] = block.site.to_wire()
        if block.activity is not None:
            entry["activity"] = block.activity
        return {**entry, "detail": self._session.payload({"message": block.message})}

    def refused(self, error: ProtocolError) -> NoReturn:
        """The operator does not want this process any more, or does not understand it."""
        codes = {"Fenced": ExitCode.FENCED, "Sealed": ExitCode.OK, "Version": ExitCode.CONFIG}
        code = codes.get(error.code, ExitCode.CRASH)
        if code is ExitCode.CRASH:
            _log.error("the journal refused a request: %s", error)
        self._guard.disarm()
        self.now(code)

    def flush(self) -> None:
        """Let nothing that was logged or printed be lost."""
        for handler in logging.getLogger().handlers:
            handler.flush()
        sys.stdout.flush()
        sys.stderr.flush()

    def now(self, code: int) -> NoReturn:
        """End the process without another word to the journal."""
        self.flush()
        self._exit(int(code))
