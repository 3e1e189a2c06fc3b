"""The process that runs a bundle: replays the journal, goes on live, parks, and leaves.

Everything that changes what workflow code sees comes out of the journal, one delivery at a time. Live and on replay the same lines of
this file run; "live" only means that a command is not in the journal yet and is appended.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, NoReturn

from . import compat, loop
from .activities import Probe
from .attempts import Attempts
from .bundle import Bundle, BundleError, load
from .codec import CodecError, decode_args, signature_of
from .commands import Command, Difference, compare, describe
from .errors import Block, BlockCode, ConnectionLostError, ExitCode, Leave, ProtocolError
from .guards import Guard
from .journal import Entry, time_of
from .journal_client import JournalClient, Json
from .ledger import Ledger
from .payload import read_payload
from .runtime import DurableRuntime, WorkflowInfo
from .scope import WorkflowScope
from .sites import Site, SiteFinder

_log = logging.getLogger("ntro.runtime")
_APPEND_BYTES = 512 * 1024
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
        self._exit = exit_process
        self._probe = probe
        self._finder = SiteFinder(self._root)
        self._guard = Guard(self._finder, self._misused)
        self._runtime = DurableRuntime()
        self._events: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
        self._ledger = Ledger(client, probe, lambda entry: self._attempts.on_entry(entry))
        self._journal = self._ledger.journal
        self._attempts = Attempts(self._ledger, self._finder, self._halt, probe, lambda outcome: self._events.put(("ended", outcome)))
        self._poll: Future[Json] | None = None
        self._terminate = False
        self._leaving = False
        self._scope: WorkflowScope
        self._bundle: Bundle

    # -- the run -----------------------------------------------------------------------------------

    def run(self) -> NoReturn:
        """Attach, replay, go on, leave."""
        try:
            self._ledger.attach()
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
            self._refused(error)
        except ConnectionLostError:
            self._leave(Leave(ExitCode.OUTAGE))

    def terminate(self) -> None:
        """The pod is asked to go (signal handler)."""
        self._terminate = True
        self._events.put(("terminate", None))

    def _load(self) -> None:
        created = self._journal.created
        compat.install(self._runtime)
        loop.install()
        loop.set_misuse_handler(lambda message: self._misused(message, self._finder.of_caller()))
        text = read_payload(created["input"], self._ledger.client)
        os.environ.update(compat.settings(json.loads(text)))
        try:
            self._bundle = load(self._root)
            signature = signature_of(self._bundle.entry, skip_self=True)
        except BundleError as error:
            self._halt(Block(BlockCode.BUNDLE_INVALID, str(error), exit_code=ExitCode.CONFIG))
        except (Exception, SystemExit) as error:
            message = f"importing the bundle failed: {_text(error)}"
            self._halt(Block(BlockCode.BUNDLE_INVALID, message, self._finder.of_exception(error), exit_code=ExitCode.CONFIG))
        self._scope = WorkflowScope(self._finder, self._ledger.client, self._halt, time_of(created), self._guard)
        self._attempts.wanted = self._scope.activities
        self._runtime.activity_by_name = self._bundle.activities.get
        self._runtime.bind(self._scope, self._info())
        args = f"[{text}]" if signature.params or signature.variadic else "[]"
        try:
            self._input = decode_args(args, signature, "the workflow")
        except CodecError as error:
            self._halt(Block(BlockCode.CODE_ERROR, str(error), self._finder.of_code(self._bundle.entry)))

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
        self._runtime.replaying = seq <= self._ledger.replay_until
        phase = "replay" if self._runtime.replaying else "turn"
        self._probe(f"{phase}:before")
        tell = self._begin if delivery is None else self._scope.prepare(delivery)
        commands = self._scope.turn(delivery, tell)
        for name in self._scope.take_refused():
            _log.warning("signal without effect: %s", name)
        self._probe(f"{phase}:after")
        self._settle(commands, seq)

    def _begin(self) -> None:
        try:
            instance = self._bundle.workflow()
            entry = self._bundle.entry(instance, *self._input)
        except Exception as error:
            self._halt(Block(BlockCode.CODE_ERROR, _text(error), self._finder.of_exception(error)))
        self._scope.start(instance, entry)

    def _settle(self, commands: list[Command], seq: int) -> None:
        """Compare with the journal what it has already, append the rest."""
        live: list[Command] = []
        for command in commands:
            recorded = self._journal.commands.get(command.number)
            if recorded is None:
                live.append(command)
                continue
            difference = compare(command, recorded)
            if difference is not None:
                self._diverged(difference, command.site)
        missing = self._journal.commands.get(self._scope.next_command)
        if not live and missing is not None and int(missing["seenUpto"]) <= seq:
            message = f"command {missing['command']}: the journal has {describe(missing)}, the code now gives nothing"
            self._diverged(Difference(message), None)
        if live:
            self._append_commands(live)

    def _diverged(self, difference: Difference, site: Site | None) -> NoReturn:
        code = BlockCode.ARGS_DRIFT if difference.drift else BlockCode.DIVERGENCE
        self._halt(Block(code, difference.message, site or self._finder.of_code(self._bundle.entry)))

    def _append_commands(self, commands: list[Command]) -> None:
        # The code is done, but effects under way are still to be recorded before the run is sealed.
        while self._scope.finished and self._attempts.running:
            self._wait(self._attempts.next_deadline())
        chunk: list[Command] = []
        for command in commands:
            if chunk and sum(c.size for c in chunk) + command.size > _APPEND_BYTES:
                self._append_chunk(chunk)
                chunk = []
            chunk.append(command)
        self._append_chunk(chunk)
        if self._scope.finished:
            self._leave(Leave(ExitCode.OK, released="finished"))

    def _append_chunk(self, commands: list[Command]) -> None:
        for command in commands:
            if command.payload is not None:
                self._ledger.upload(command.payload)
        try:
            self._ledger.append(*[command.to_wire(self._ledger.inline_max) for command in commands])
        except ProtocolError as error:
            if error.code == "RequirementNotMet":
                # The operator has blocked the run and said which activity.
                self._leave(Leave(ExitCode.BLOCKED, released="blocked"))
            if error.code in ("TooLarge", "Diverged"):
                code = BlockCode.TOO_LARGE if error.code == "TooLarge" else BlockCode.DIVERGENCE
                self._halt(Block(code, error.message, commands[0].site))
            raise
        for command in commands:
            if command.type == "activityScheduled":
                self._attempts.scheduled(command.number)

    # -- waiting -----------------------------------------------------------------------------------

    def _wait(self, seconds: float | None) -> None:
        """Until something happens: an attempt ends, the journal has news, the pod must go, or `seconds` are over."""
        if self._poll is None:
            self._poll = self._ledger.poll()
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
            self._ledger.take(list(value.result()["entries"]))

    def _park(self) -> None:
        """Nothing to do here: say so, wait a little for news, and leave."""
        waiting_for = self._scope.waiting_for()
        if not waiting_for:
            self._halt(Block(BlockCode.CODE_ERROR, "the workflow waits for something that can never happen"))
        if not self._unless_unread({"type": "parked", "seenUpto": self._scope.seen, "waitingFor": waiting_for}):
            return
        linger_until = time.monotonic() + self._ledger.seconds("lingerMs")
        while not self._journal.undelivered and not self._terminate:
            left = linger_until - time.monotonic()
            if left <= 0:
                break
            self._wait(left)
        if self._journal.undelivered:
            return
        self._flush()
        if self._unless_unread({"type": "released", "epoch": self._ledger.client.epoch, "cause": "parked"}):
            self._exit_now(ExitCode.OK)

    def _unless_unread(self, entry: Json) -> bool:
        """Append a record that is refused while there is something to be handed over."""
        try:
            self._ledger.append(entry)
        except ProtocolError as error:
            if error.code != "Unread":
                raise
            self._ledger.take(list(error.extra.get("entries", [])))
            return False
        return True

    # -- leaving -----------------------------------------------------------------------------------

    def _leave_if_asked(self) -> None:
        if self._journal.cancel_requested:
            self._drain(self._ledger.seconds("cancelGraceMs"))
            self._leave(Leave(ExitCode.OK, released="cancelled"))
        if self._terminate:
            self._drain(_TERMINATION_GRACE_S)
            self._attempts.disown_fresh()
            # Only the operator may say that a pod is gone; it sees so at once.
            self._leave(Leave(ExitCode.TERMINATED))

    def _drain(self, grace_s: float) -> None:
        """Let attempts under way end, and report them; start nothing new."""
        until = time.monotonic() + grace_s
        while self._attempts.running and time.monotonic() < until:
            deadline = self._attempts.next_deadline()
            left = until - time.monotonic()
            self._wait(left if deadline is None else min(left, deadline))

    def _misused(self, message: str, site: Site | None) -> NoReturn:
        self._halt(Block(BlockCode.SDK_MISUSE, message, site))

    def _halt(self, block: Block, *first: Json) -> NoReturn:
        """Block the run and end the process, without a word to the code."""
        self._leave(Leave(block.exit_code, released="blocked", block=block), *first)

    def _leave(self, order: Leave, *first: Json) -> NoReturn:
        if self._leaving:
            self._exit_now(ExitCode.CRASH)
        self._leaving = True
        self._guard.disarm()
        entries = list(first)
        if order.block is not None:
            where = f" at {order.block.site}" if order.block.site else ""
            _log.error("run blocked: %s%s: %s", order.block.code, where, order.block.message)
        self._flush()
        try:
            if order.block is not None:
                entries.append(self._blocked(order.block))
            if entries:
                self._ledger.append(*entries)
            if order.released is not None:
                self._ledger.append({"type": "released", "epoch": self._ledger.client.epoch, "cause": order.released})
        except ProtocolError as error:
            if error.code == "Fenced":
                self._exit_now(ExitCode.FENCED)
            if error.code != "Sealed":
                _log.error("leaving: the journal refused: %s", error)
                self._exit_now(order.code or ExitCode.CRASH)
        except ConnectionLostError:
            self._exit_now(ExitCode.OUTAGE)
        self._exit_now(order.code)

    def _blocked(self, block: Block) -> Json:
        entry: Json = {"type": "blocked", "code": str(block.code)}
        if block.site is not None:
            entry["site"] = block.site.to_wire()
        if block.activity is not None:
            entry["activity"] = block.activity
        return {**entry, "detail": self._ledger.payload({"message": block.message})}

    def _refused(self, error: ProtocolError) -> NoReturn:
        """The operator does not want this process any more, or does not understand it."""
        codes = {"Fenced": ExitCode.FENCED, "Sealed": ExitCode.OK, "Version": ExitCode.CONFIG}
        code = codes.get(error.code, ExitCode.CRASH)
        if code is ExitCode.CRASH:
            _log.error("the journal refused a request: %s", error)
        self._guard.disarm()
        self._exit_now(code)

    def _flush(self) -> None:
        for handler in logging.getLogger().handlers:
            handler.flush()
        sys.stdout.flush()
        sys.stderr.flush()

    def _exit_now(self, code: int) -> NoReturn:
        self._flush()
        self._exit(int(code))


def _text(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
