"""What happens while workflow code has no turn: attempts end, the journal has news, the pod has to go."""

from __future__ import annotations

import logging
import queue
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from ..shared.errors import ExitCode, ProtocolError
from .attempt import AttemptOutcome
from .attempts import Attempts
from .exit import AlreadyHaltingError, Exit
from .journal_client import ConnectionLostError, Json
from .journal_session import JournalSession

_log = logging.getLogger("ntro.runtime")


class Events:
    """`ended`, `lost` and `terminate` may be called on any thread, or by a signal handler; the rest on the main one."""

    def __init__(self, session: JournalSession, attempts: Attempts, exit: Exit) -> None:
        self._session = session
        self._attempts = attempts
        self._exit = exit
        self._queue: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
        self._poll: Future[Json] | None = None
        self.terminating = False
        """The pod was asked to go."""

    def ended(self, outcome: AttemptOutcome) -> None:
        """An attempt has ended."""
        self._queue.put(("ended", outcome))

    def lost(self) -> None:
        """No attempt can be run any more."""
        self._queue.put(("lost", None))

    def terminate(self) -> None:
        """The pod is asked to go."""
        self.terminating = True
        self._queue.put(("terminate", None))

    def wait(self, seconds: float | None) -> None:
        """Wait for one event, or until `seconds` are over, and take it in."""
        if self._poll is None:
            self._poll = self._session.poll()
            self._poll.add_done_callback(lambda future: self._queue.put(("news", future)))
        try:
            kind, value = self._queue.get(timeout=None if seconds is None else max(0.0, seconds))
        except queue.Empty:
            self._attempts.expire()
            return
        if kind == "lost":
            _log.error("the process that activities are forked from has ended")
            self._exit.now(ExitCode.CRASH)
        if kind == "ended":
            self._attempts.ended(value)
        elif kind == "news":
            self._poll = None
            self._session.take_reply(value.result())

    def drain(self, grace_s: float, waits: Callable[[], bool] | None = None) -> None:
        """Give running attempts `grace_s` to end, and report them; start nothing new. Done when nothing runs or `waits` is over."""
        until = time.monotonic() + grace_s
        while self._attempts.running and (waits is None or waits()) and time.monotonic() < until:
            deadline = self._attempts.next_deadline()
            left = until - time.monotonic()
            try:
                self.wait(left if deadline is None else min(left, deadline))
            except Exception as error:
                _go_on_draining(error)

    def drain_unrepeatable(self) -> None:
        """Give attempts whose effect must not be repeated the run's grace to end."""
        if self._attempts.running.unrepeatable:
            self.drain(self._session.seconds("cancelGraceMs"), lambda: self._attempts.running.unrepeatable)


def _go_on_draining(error: Exception) -> None:
    """What goes wrong with one attempt is no reason to cut the others short."""
    if isinstance(error, ConnectionLostError) or (isinstance(error, ProtocolError) and error.code in ("Fenced", "Sealed")):
        raise error
    said = "it is in the journal" if isinstance(error, AlreadyHaltingError) else f"{type(error).__name__}: {error}"
    _log.error("the run is being left already; what else went wrong: %s", said)
