"""The process that runs a bundle: replays the journal, goes on live, parks, and leaves.

Everything that changes what workflow code sees comes out of the journal, one delivery at a time. Live and on replay the same lines of
this file run; "live" only means that a command is not in the journal yet and is appended.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, NoReturn

from ..sdk import patches as compat
from ..sdk.runtime import DurableRuntime, WorkflowInfo
from ..shared.bundle import Bundle, BundleError, load
from ..shared.errors import Block, BlockCode, ConnectionLostError, ExitCode, Leave, ProtocolError
from ..shared.payload import read_payload
from ..shared.sites import Site, SiteFinder
from ..workflow import loop
from ..workflow.codec import CodecError, decode_args, signature_of
from ..workflow.guards import Guard
from ..workflow.journal import Entry, time_of
from ..workflow.scope import WorkflowScope
from .activities import Probe
from .attempts import Attempts
from .exit import Exit
from .journal_client import JournalClient, Json
from .journal_session import JournalSession
from .recorder import Recorder

_log = logging.getLogger("ntro.runtime")
_TERMINATION_GRACE_S = 17.0


class Engine:
    """One holder of one run. `run()` ends the process through `exit_process`."""

    def __init__(
        self,
        client: JournalClient,
        root: Path,
        *,
        exit_process: Callable[[int], NoReturn] = os._exit,
        probe: Probe = lambda _point: None,
    ) -> None:
        self._root = root.resolve()
        self._probe = probe
        self._finder = SiteFinder(self._root)
        self._guard = Guard(self._finder, self._misused)
        self._runtime = DurableRuntime()
        self._events: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
        self._session = JournalSession(client, probe, lambda entry: self._attempts.on_entry(entry))
        self._journal = self._session.journal
        self._exit = Exit(self._session, self._guard, exit_process)
        self._attempts = Attempts(self._session, self._finder, self._exit.halt, probe, lambda outcome: self._events.put(("ended", outcome)))
        self._recorder = Recorder(self._session, self._attempts, self._exit, self._finder, self._wait)
        self._poll: Future[Json] | None = None
        self._terminate = False
        self._scope: WorkflowScope
        self._bundle: Bundle

    # -- the run -----------------------------------------------------------------------------------

    def run(self) -> NoReturn:
        """Attach, replay, go on, leave."""
        try:
            self._session.attach()
            self._leave_if_asked()
            self._load()
            self._turn(None)
            while True:
                self._leave_if_asked()
                if self._journal.undelivered:
                    self._turn(self._journal.undelivered.popleft())
                elif self._attempts.advance():
                    self._wait(self._attempts.next_deadline())
                else:
                    self._park()
        except ProtocolError as error:
            self._exit.refused(error)
        except ConnectionLostError:
            self._exit.leave(Leave(ExitCode.OUTAGE))

    def terminate(self) -> None:
        """The pod is asked to go (signal handler)."""
        self._terminate = True
        self._events.put(("terminate", None))

    def _load(self) -> None:
        created = self._journal.created
        compat.install(self._runtime)
        loop.install()
        loop.set_misuse_handler(lambda message: self._misused(message, self._finder.of_caller()))
        text = read_payload(created["input"], self._session.client)
        os.environ.update(compat.settings(json.loads(text)))
        try:
            self._bundle = load(self._root)
            signature = signature_of(self._bundle.entry, skip_self=True)
        except BundleError as error:
            self._exit.halt(Block(BlockCode.BUNDLE_INVALID, str(error), exit_code=ExitCode.CONFIG))
        except (Exception, SystemExit) as error:
            message = f"importing the bundle failed: {_text(error)}"
            self._exit.halt(Block(BlockCode.BUNDLE_INVALID, message, self._finder.of_exception(error), exit_code=ExitCode.CONFIG))
        self._scope = WorkflowScope(self._finder, self._session.client, self._exit.halt, time_of(created), self._guard)
        self._attempts.wanted = self._scope.activities.pending
        self._runtime.activity_by_name = self._bundle.activities.get
        self._runtime.bind(self._scope, self._info())
        args = f"[{text}]" if signature.params or signature.variadic else "[]"
        try:
            self._input = decode_args(args, signature, "the workflow")
        except CodecError as error:
            self._exit.halt(Block(BlockCode.CODE_ERROR, str(error), self._finder.of_code(self._bundle.entry)))

    def _info(self) -> WorkflowInfo:
        created = self._journal.created
        return WorkflowInfo(
            workflow_id=created["runId"],
            run_id=created["runId"],
            task_queue=created["namespace"],
            workflow_type=self._bundle.workflow.__name__,
            start_time=time_of(created),
            namespace=created["namespace"],
        )

    # -- turns -------------------------------------------------------------------------------------

    def _turn(self, delivery: Entry | None) -> None:
        seq = 0 if delivery is None else int(delivery["seq"])
        self._runtime.replaying = seq <= self._session.replay_until
        phase = "replay" if self._runtime.replaying else "turn"
        self._probe(f"{phase}:before")
        tell = self._begin if delivery is None else self._scope.prepare(delivery)
        commands = self._scope.turn(delivery, tell)
        for name in self._scope.signals.take_refused():
            _log.warning("signal without effect: %s", name)
        self._probe(f"{phase}:after")
        self._recorder.record(self._scope, commands, seq, self._bundle.entry)

    def _begin(self) -> None:
        try:
            instance = self._bundle.workflow()
            entry = self._bundle.entry(instance, *self._input)
        except Exception as error:
            self._exit.halt(Block(BlockCode.CODE_ERROR, _text(error), self._finder.of_exception(error)))
        self._scope.start(instance, entry)

    # -- waiting -----------------------------------------------------------------------------------

    def _wait(self, seconds: float | None) -> None:
        """Until something happens: an attempt ends, the journal has news, the pod must go, or `seconds` are over."""
        if self._poll is None:
            self._poll = self._session.poll()
            self._poll.add_done_callback(lambda future: self._events.put(("news", future)))
        try:
            kind, value = self._events.get(timeout=None if seconds is None else max(0.0, seconds))
        except queue.Empty:
            self._attempts.expire()
            return
        if kind == "ended":
            self._attempts.ended(value)
        elif kind == "news":
            self._poll = None
            self._session.take(list(value.result()["entries"]))

    def _park(self) -> None:
        """Nothing to do here: say so, wait a little for news, and leave."""
        waiting_for = self._scope.waiting_for()
        if not waiting_for:
            self._exit.halt(Block(BlockCode.CODE_ERROR, "the workflow waits for something that can never happen"))
        if not self._unless_unread({"type": "parked", "seenUpto": self._scope.seen, "waitingFor": waiting_for}):
            return
        linger_until = time.monotonic() + self._session.seconds("lingerMs")
        while not self._journal.undelivered and not self._terminate:
            left = linger_until - time.monotonic()
            if left <= 0:
                break
            self._wait(left)
        if self._journal.undelivered:
            return
        self._exit.flush()
        if self._unless_unread({"type": "released", "epoch": self._session.client.epoch, "cause": "parked"}):
            self._exit.now(ExitCode.OK)

    def _unless_unread(self, entry: Json) -> bool:
        """Append a record that is refused while there is something to be handed over."""
        try:
            self._session.append(entry)
        except ProtocolError as error:
            if error.code != "Unread":
                raise
            self._session.take(list(error.extra.get("entries", [])))
            return False
        return True

    # -- leaving -----------------------------------------------------------------------------------

    def _leave_if_asked(self) -> None:
        if self._journal.cancel_requested:
            self._drain(self._session.seconds("cancelGraceMs"))
            self._exit.leave(Leave(ExitCode.OK, released="cancelled"))
        if self._terminate:
            self._drain(_TERMINATION_GRACE_S)
            self._attempts.disown_fresh()
            # Only the operator may say that a pod is gone; it sees so at once.
            self._exit.leave(Leave(ExitCode.TERMINATED))

    def _drain(self, grace_s: float) -> None:
        """Let attempts under way end, and report them; start nothing new."""
        until = time.monotonic() + grace_s
        while self._attempts.running and time.monotonic() < until:
            deadline = self._attempts.next_deadline()
            left = until - time.monotonic()
            self._wait(left if deadline is None else min(left, deadline))

    def _misused(self, message: str, site: Site | None) -> NoReturn:
        self._exit.halt(Block(BlockCode.SDK_MISUSE, message, site))


def _text(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
