"""The process that runs a bundle: replays the journal, continues live, parks, and leaves.

Everything that changes what workflow code sees comes out of the journal, one delivery at a time. Live and on replay the same lines of
this file run; "live" only means that a command is not in the journal yet and is appended.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from ..sdk import decorators
from ..sdk.activity_table import ActivityTable
from ..sdk.runtime import DurableRuntime, WorkflowInfo
from ..shared.errors import BlockCode, ExitCode, ProtocolError
from ..workflow.block import Block
from ..workflow.commands import Command
from ..workflow.guards import Guard
from ..workflow.journal import Entry, time_of
from ..workflow.payload import read_payload
from ..workflow.replay import DivergenceError, unrecorded
from ..workflow.scope import WorkflowScope
from ..workflow.source_location import SourceLocator
from .attempts import Attempts
from .cancellation import Cancellation
from .command_writer import CommandWriter
from .events import Events
from .exit import Exit, Leave
from .ignored_signals import record_ignored
from .journal_client import ConnectionLostError, JournalClient
from .journal_session import JournalSession
from .probe import Probe
from .replay_output import ReplayOutput
from .start import LoadedBundle, load_bundle

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
        self._locator = SourceLocator(self._root)
        self._runtime = DurableRuntime()
        self._session = JournalSession(client, probe, lambda entry: self._attempts.on_entry(entry))
        self._journal = self._session.journal
        self._exit = Exit(self._session, exit_process, lambda: self._events.drain_unrepeatable())
        # Before the bundle is imported, which may replace what the guard knows by identity.
        self._guard = Guard(self._locator, self._exit.misused)
        self._attempts = Attempts(self._session, self._locator, self._exit.halt, probe, lambda outcome: self._events.ended(outcome))
        self._events = Events(self._session, self._attempts, self._exit)
        self._cancellation = Cancellation(self._session)
        self._writer = CommandWriter(self._session, self._attempts, self._exit)
        self._output = ReplayOutput()
        self._scope: WorkflowScope
        self._loaded: LoadedBundle

    # -- the run -----------------------------------------------------------------------------------

    def run(self) -> NoReturn:
        """Attach, replay, continue live, leave. Never returns."""
        try:
            self._session.attach()
            self._leave_if_asked()
            with self._session.client.in_turn():
                self._load()
            self._turn(None)
            while True:
                self._leave_if_asked()
                self._ask_about_overdue()
                if self._journal.undelivered:
                    self._turn(self._journal.undelivered.popleft())
                elif self._attempts.advance():
                    if not self._journal.undelivered:
                        self._events.wait(self._cancellation.bound(self._attempts.next_deadline()))
                elif self._cancellation.told:
                    self._rest_of_grace()
                else:
                    self._park()
        except ProtocolError as error:
            self._exit.refused(error)
        except ConnectionLostError:
            self._exit.leave(Leave(ExitCode.OUTAGE))
        except Exception:
            self._exit.crash()

    def terminate(self) -> None:
        """The pod is asked to go (signal handler)."""
        self._events.terminate()

    def _load(self) -> None:
        self._output.install()
        created = self._journal.created
        envelope = read_payload(created["input"], self._session.client)
        self._loaded = load_bundle(self._root, created, envelope, self._runtime, self._locator, self._exit)
        self._scope = WorkflowScope(self._locator, self._session.client, self._exit.halt, time_of(created), self._guard)
        self._attempts.wanted = self._scope.activities.pending
        self._scope.activities.journal = self._journal
        self._runtime.bind(self._scope, _workflow_info(created, self._loaded.bundle.workflow), created["tenant"]["slug"])
        self._fork_template()
        self._session.client.read_in_background()

    def _fork_template(self) -> None:
        bundle = self._loaded.bundle
        self._runtime.activity_by_name = bundle.activities.get
        self._runtime.activities = ActivityTable([*bundle.activities.values(), *decorators.MARKED_ACTIVITIES])
        self._attempts.prepare(self._runtime.activities, self._events.lost)

    # -- turns -------------------------------------------------------------------------------------

    def _turn(self, delivery: Entry | None) -> None:
        seq = 0 if delivery is None else int(delivery["seq"])
        self._runtime.replaying = seq <= self._session.replay_until
        phase = "replay" if self._runtime.replaying else "turn"
        self._probe(f"{phase}:before")
        if delivery is not None and delivery["type"] == "cancelRequested":
            self._cancellation.begin()
        hand_over = (lambda: self._loaded.begin(self._scope)) if delivery is None else self._scope.prepare(delivery)
        with self._session.client.in_turn(), self._output.turn(replayed=self._runtime.replaying):
            commands = self._scope.turn(delivery, hand_over)
        self._probe(f"{phase}:after")
        try:
            live = unrecorded(commands, self._journal.commands, self._scope.recorder.next_number, seq)
        except DivergenceError as error:
            self._diverged(error)
        record_ignored(self._session, seq, self._scope.signals.take_ignored())
        if self._scope.finished:
            self._finish(live)
        elif live:
            self._writer.write(live)

    def _diverged(self, error: DivergenceError) -> NoReturn:
        code = BlockCode.ARGS_DRIFT if error.difference.drift else BlockCode.DIVERGENCE
        site = error.site or self._locator.of_code(self._loaded.bundle.entry)
        self._exit.halt(Block(code, error.difference.message, site))

    def _finish(self, commands: list[Command]) -> NoReturn:
        """The code is done. What it no longer wants is cancelled first; effects under way are recorded before the run is sealed."""
        end = [] if self._scope.ended_by_cancel else commands[-1:]
        before = commands[: len(commands) - len(end)]
        if before:
            self._writer.write(before, begin=False)
        while self._attempts.running.must_end and self._attempts.running.overdue is None and not self._cancellation.over:
            self._events.wait(self._cancellation.bound(self._attempts.next_deadline()))
        self._ask_about_overdue()
        if self._cancellation.over or not end:
            self._exit.leave(Leave(ExitCode.OK, released="cancelled"))
        self._writer.write(end)
        self._exit.leave(Leave(ExitCode.OK, released="finished"))

    # -- waiting -----------------------------------------------------------------------------------

    def _rest_of_grace(self) -> None:
        """Nobody is asked anything in a cancelled run: only time, and the ends of effects, can bring something."""
        if self._scope.waits_for_timer or self._attempts.running.must_end:
            self._events.wait(self._cancellation.bound(self._attempts.next_deadline()))
        else:
            self._exit.leave(Leave(ExitCode.OK, released="cancelled"))

    def _park(self) -> None:
        """Record that the run waits, linger for news, and leave. Returns if there is something to do after all."""
        waiting_for = self._scope.waiting_for()
        if not waiting_for:
            self._exit.halt(Block(BlockCode.CODE_ERROR, "the workflow waits for something that can never happen"))
        if not self._session.append_unless_unread({"type": "parked", "seenUpto": self._scope.recorder.seen, "waitingFor": waiting_for}):
            return
        linger_until, grace = time.monotonic() + self._session.seconds("lingerMs"), self._session.seconds("cancelGraceMs")
        while not self._journal.undelivered and not self._events.terminating:
            # An effect that nobody wants any more, and that must not be repeated, is not cut short either.
            left = linger_until + (grace if self._attempts.running.unrepeatable else 0) - time.monotonic()
            if left <= 0:
                break
            deadline = self._attempts.next_deadline()
            self._events.wait(left if deadline is None else min(left, deadline))
        if self._journal.undelivered:
            return
        self._exit.flush()
        if self._session.append_unless_unread({"type": "released", "epoch": self._session.client.epoch, "cause": "parked"}):
            self._exit.now(ExitCode.OK)

    # -- leaving -----------------------------------------------------------------------------------

    def _ask_about_overdue(self) -> None:
        """Block the run for an effect that took too long, unless its end comes within the grace after all."""
        if self._attempts.running.overdue is not None:
            self._events.drain(self._session.seconds("cancelGraceMs"), lambda: self._attempts.running.overdue is not None)
            if (block := self._attempts.running.overdue) is not None:
                self._exit.halt(block)

    def _leave_if_asked(self) -> None:
        if self._cancellation.over:
            self._exit.leave(Leave(ExitCode.OK, released="cancelled"))
        if self._events.terminating:
            self._events.drain(_TERMINATION_GRACE_S)
            # Only the operator may say that a pod is gone; it sees so at once.
            self._exit.leave(Leave(ExitCode.TERMINATED))


def _workflow_info(created: Entry, workflow: type) -> WorkflowInfo:
    return WorkflowInfo(
        workflow_id=created["runId"],
        run_id=created["runId"],
        task_queue=created["namespace"],
        workflow_type=workflow.__name__,
        start_time=time_of(created),
        namespace=created["namespace"],
    )
