"""The process that runs a bundle: replays the journal, goes on live, parks, and leaves.

Everything that changes what workflow code sees comes out of the journal, one delivery at a time. Live and on replay the same lines of
this file run; "live" only means that a command is not in the journal yet and is appended.
"""

from __future__ import annotations

import importlib.metadata
import logging
import os
import platform
import queue
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NoReturn

from . import PROTOCOL_MAX, PROTOCOL_MIN, __version__, compat, loop
from .activities import ActivityRunner, Attempt, Outcome, Probe, UnwritableResultError
from .bundle import Bundle, BundleError, load
from .codec import CodecError, decode_args, encode, signature_of
from .commands import Command, Difference, compare, describe
from .context import ActivityContext, ActivityInfo, RunFiles
from .errors import Block, BlockCode, ConnectionLostError, ExitCode, Leave, ProtocolError
from .guards import Guard
from .journal import NOT_STARTED, ActivityState, Entry, Journal, time_of
from .journal_client import JournalClient, Json
from .payload import Payload, read_payload
from .retries import Failure, Verdict, decide, error_fields, failure_of
from .runtime import DurableRuntime, WorkflowInfo
from .scope import PendingActivity, WorkflowScope
from .sites import Site, SiteFinder

_log = logging.getLogger("ntro.runtime")
_MAX_RUNNING = 16
_APPEND_BYTES = 512 * 1024
_POLL_MS = 20_000
_TERMINATION_GRACE_S = 20.0


@dataclass
class Running:
    """An attempt under way in this process."""

    attempt: Attempt
    deadline: float | None
    """Of `time.monotonic()`."""


def versions() -> Json:
    """What this runner is, for `attach`."""
    return {
        "runtime": __version__,
        "protocolMin": PROTOCOL_MIN,
        "protocolMax": PROTOCOL_MAX,
        "python": platform.python_version(),
        "sdk": importlib.metadata.version("ntro"),
    }


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
        self._client = client
        self._root = root.resolve()
        self._exit = exit_process
        self._probe = probe
        self._finder = SiteFinder(self._root)
        self._guard = Guard(self._finder, self._misused)
        self._runtime = DurableRuntime()
        self._journal = Journal()
        self._events: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
        self._runner = ActivityRunner(lambda outcome: self._events.put(("done", outcome)), probe)
        self._running: dict[int, Running] = {}
        self._poll: Future[Json] | None = None
        self._fresh: set[int] = set()
        self._inline_max = 65_536
        self._settings: Json = {}
        self._newest: Entry = {}
        self._heard = 0.0
        self._terminate = False
        self._leaving = False
        self._scope: WorkflowScope
        self._bundle: Bundle

    # -- the run -----------------------------------------------------------------------------------

    def run(self) -> NoReturn:
        """Attach, replay, go on, leave."""
        try:
            self._attach()
            self._leave_if_asked()
            self._load()
            self._turn(None)
            while True:
                self._leave_if_asked()
                if self._journal.undelivered:
                    self._turn(self._journal.undelivered.popleft())
                elif not self._advance_activities():
                    self._park()
                else:
                    self._wait(self._next_deadline())
        except ProtocolError as error:
            self._refused(error)
        except ConnectionLostError:
            self._leave(Leave(ExitCode.OUTAGE, reason="connection lost"))

    def terminate(self) -> None:
        """The pod is asked to go (signal handler)."""
        self._terminate = True
        self._events.put(("terminate", None))

    def _attach(self) -> None:
        reply = self._client.attach(versions())
        self._settings = reply["settings"]
        self._inline_max = int(self._settings["inlineMax"])
        self._take(reply["entries"])
        self._replay_until = self._journal.seen_upto if self._journal.commands else -1

    def _load(self) -> None:
        created = self._journal.created
        compat.install(self._runtime)
        loop.install()
        loop.set_misuse_handler(self._misused_here)
        text = read_payload(created["input"], self._client)
        try:
            self._bundle = load(self._root)
            signature = signature_of(self._bundle.entry, skip_self=True)
        except BundleError as error:
            self._halt(Block(BlockCode.BUNDLE_INVALID, str(error), exit_code=ExitCode.CONFIG))
        except (Exception, SystemExit) as error:
            message = f"importing the bundle failed: {type(error).__name__}: {error}"
            site = self._finder.of_exception(error)
            self._halt(Block(BlockCode.BUNDLE_INVALID, message, site, exit_code=ExitCode.CONFIG))
        self._scope = WorkflowScope(self._finder, self._client, self._halt, time_of(created), self._guard)
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
        self._runtime.replaying = seq <= self._replay_until
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
        if self._scope.finished:
            self._finish_running()
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
                self._upload(command.payload)
        try:
            self._append([command.to_wire(self._inline_max) for command in commands])
        except ProtocolError as error:
            if error.code == "RequirementNotMet":
                # The operator has blocked the run and said which activity.
                self._leave(Leave(ExitCode.BLOCKED, released="blocked", reason=error.code))
            if error.code in ("TooLarge", "Diverged"):
                code = BlockCode.TOO_LARGE if error.code == "TooLarge" else BlockCode.DIVERGENCE
                self._halt(Block(code, error.message, commands[0].site))
            raise
        self._fresh.update(c.number for c in commands if c.type == "activityScheduled")

    def _finish_running(self) -> None:
        """The code is done, but effects under way are still to be recorded before the run is sealed."""
        while self._running:
            self._wait(self._next_deadline())

    # -- the journal -------------------------------------------------------------------------------

    def _upload(self, payload: Payload) -> None:
        if len(payload.data) > self._inline_max:
            self._client.put_blob(payload.digest, payload.data)

    def _payload(self, value: Any) -> Json:
        payload = Payload(value if isinstance(value, str) else encode(value, "a record"))
        self._upload(payload)
        return payload.to_wire(self._inline_max)

    def _append(self, entries: list[Json]) -> None:
        self._probe("append:before")
        fresh = self._client.append(self._journal.head, entries)
        self._probe("append:after")
        self._take(fresh)

    def _operator_time(self) -> datetime:
        """The operator's clock, by the newest entry and the time since it came; the pod's own may differ."""
        return time_of(self._newest) + timedelta(seconds=time.monotonic() - self._heard)

    def _take(self, entries: list[Entry]) -> None:
        if entries:
            self._newest, self._heard = entries[-1], time.monotonic()
        for entry in self._journal.extend(entries):
            if entry["type"] == "activityCancelRequested":
                running = self._running.pop(int(entry["target"]), None)
                if running is not None:
                    self._runner.cancel(running.attempt)

    # -- activities --------------------------------------------------------------------------------

    def _advance_activities(self) -> bool:
        """Start what may start. False if no activity is running or due."""
        busy = False
        for state in list(self._journal.open_activities()):
            pending = self._scope.activities.get(state.command)
            if pending is None:
                continue
            busy = True
            if state.command in self._running or len(self._running) >= _MAX_RUNNING:
                continue
            if self._due_in(state) <= 0:
                self._start(state, pending)
        return busy

    def _due_in(self, state: ActivityState) -> float:
        """Seconds until the next attempt may start."""
        if state.failed_attempt < state.attempt or state.failures == 0 or state.last_failure is None:
            return 0
        wait = int(state.last_failure["retryAfterMs"]) / 1000
        passed = (self._operator_time() - time_of(state.last_failure)).total_seconds()
        return min(wait, wait - passed)

    def _start(self, state: ActivityState, pending: PendingActivity) -> None:
        if state.command in self._fresh:
            self._fresh.discard(state.command)
        else:
            self._retry(state, pending)
        call = pending.call
        info = ActivityInfo(
            workflow_id=self._journal.created["runId"],
            activity_id=str(state.command),
            activity_type=call.name,
            task_queue=self._journal.created["namespace"],
            attempt=state.attempt,
            idempotency_key=f"{self._journal.created['runId']}/{state.command}",
        )
        context = ActivityContext(info, RunFiles(self._journal, self._client))
        attempt = Attempt(state.command, state.attempt, call.name, call.function, pending.signature, pending.args_text, context)
        deadline = None if call.timeout_ms is None else time.monotonic() + call.timeout_ms / 1000
        self._running[state.command] = Running(attempt, deadline)
        self._probe("activity:acknowledged")
        self._runner.start(attempt)

    def _retry(self, state: ActivityState, pending: PendingActivity) -> None:
        """Journal the intent of a further attempt."""
        cause = "failure" if state.failed_attempt == state.attempt else "crash"
        try:
            self._append([{"type": "activityRetried", "target": state.command, "attempt": state.attempt + 1, "cause": cause}])
        except ProtocolError as error:
            if error.code != "NotAllowedToRepeat":
                raise
            code = BlockCode.RETRIES_EXHAUSTED if cause == "failure" else BlockCode.EFFECT_UNKNOWN
            message = (
                f"activity {state.name!r} (command {state.command}) may have had its effect already; a person must allow it to be repeated"
            )
            self._halt(Block(code, message, pending.site, state.name))

    def _done(self, outcome: Outcome) -> None:
        attempt = outcome.attempt
        running = self._running.get(attempt.command)
        if running is None or running.attempt is not attempt:
            return  # cancelled or timed out: nobody waits for it any more
        del self._running[attempt.command]
        if outcome.error is not None:
            self._failed(attempt, outcome.error)
            return
        self._append(
            [
                {
                    "type": "activityCompleted",
                    "target": attempt.command,
                    "attempt": attempt.number,
                    "result": self._payload(outcome.result or "null"),
                    "outputs": [output.to_wire() for output in outcome.outputs],
                }
            ]
        )

    def _failed(self, attempt: Attempt, error: BaseException) -> None:
        pending = self._scope.activities[attempt.command]
        state = self._journal.activities[attempt.command]
        if isinstance(error, (ProtocolError, ConnectionLostError)):
            raise error
        site = self._finder.of_exception(error) or self._finder.of_code(attempt.function)
        if isinstance(error, UnwritableResultError):
            self._halt(Block(BlockCode.SDK_MISUSE, str(error), site, attempt.name))
        failure = failure_of(error)
        _log.error("activity %s, attempt %d, failed", attempt.name, attempt.number, exc_info=error)
        elapsed_ms = int((self._operator_time() - time_of(state.scheduled)).total_seconds() * 1000)
        call = pending.call
        step = decide(
            failure,
            effect=state.effect,
            policy=call.policy,
            failures=state.failures + 1,
            elapsed_ms=elapsed_ms,
            limit_ms=call.limit_ms,
        )
        entry = self._failure_entry(attempt, failure, site)
        if step.verdict is Verdict.FAIL:
            self._append([{**entry, "type": "activityFailed", "error": error_fields(failure)}])
            return
        entry = {**entry, "type": "activityAttemptFailed", "error": {"type": failure.type}}
        entry["retryAfterMs"] = step.delay_ms
        if step.verdict is Verdict.RETRY:
            self._append([entry])
            return
        message = f"activity {attempt.name!r} failed in attempt {attempt.number}: {failure.type}: {failure.message}"
        self._halt(Block(BlockCode.RETRIES_EXHAUSTED, message, site, attempt.name), first=[entry])

    def _failure_entry(self, attempt: Attempt, failure: Failure, site: Site | None) -> Json:
        detail: Json = {"type": failure.type, "message": failure.message}
        if site is not None:
            detail["site"] = str(site)
        return {"target": attempt.command, "attempt": attempt.number, "detail": self._payload(detail)}

    # -- waiting -----------------------------------------------------------------------------------

    def _next_deadline(self) -> float | None:
        """Seconds until an activity times out or a further attempt is due."""
        now = time.monotonic()
        waits = [r.deadline - now for r in self._running.values() if r.deadline is not None]
        for state in self._journal.open_activities():
            if state.command in self._scope.activities and state.command not in self._running:
                waits.append(self._due_in(state))
        return min(waits) if waits else None

    def _wait(self, seconds: float | None) -> None:
        """Until something happens: an attempt ends, the journal has news, the pod must go, or `seconds` are over."""
        if self._poll is None:
            self._poll = self._client.poll_later(self._journal.head, self._poll_ms())
            self._poll.add_done_callback(lambda future: self._events.put(("news", future)))
        try:
            kind, value = self._events.get(timeout=None if seconds is None else max(0.0, seconds))
        except queue.Empty:
            self._expire()
            return
        if kind == "done":
            self._done(value)
        elif kind == "news":
            self._poll = None
            self._take(list(value.result()["entries"]))

    def _poll_ms(self) -> int:
        return max(100, min(_POLL_MS, int(self._settings["leaseMs"]) // 2))

    def _expire(self) -> None:
        now = time.monotonic()
        for running in list(self._running.values()):
            if running.deadline is not None and running.deadline <= now:
                del self._running[running.attempt.command]
                self._runner.cancel(running.attempt)
                self._failed(running.attempt, TimeoutError("the attempt took longer than start_to_close_timeout"))

    def _park(self) -> None:
        """Nothing to do here: say so, wait a little for news, and leave."""
        waiting_for = self._scope.waiting_for()
        if not waiting_for:
            self._halt(Block(BlockCode.CODE_ERROR, "the workflow waits for something that can never happen"))
        if not self._unless_unread({"type": "parked", "seenUpto": self._scope.seen, "waitingFor": waiting_for}):
            return
        linger_until = time.monotonic() + int(self._settings["lingerMs"]) / 1000
        while not self._journal.undelivered and not self._terminate:
            left = linger_until - time.monotonic()
            if left <= 0:
                break
            self._wait(left)
        if self._journal.undelivered:
            return
        released: Json = {"type": "released", "epoch": self._client.epoch, "cause": "parked"}
        if self._unless_unread(released):
            self._exit_now(ExitCode.OK)

    def _unless_unread(self, entry: Json) -> bool:
        """Append a record that is refused while there is something to be handed over."""
        if entry["type"] == "released":
            self._flush()
        try:
            self._append([entry])
        except ProtocolError as error:
            if error.code != "Unread":
                raise
            self._take(list(error.extra.get("entries", [])))
            return False
        return not self._journal.undelivered or entry["type"] == "released"

    # -- leaving -----------------------------------------------------------------------------------

    def _leave_if_asked(self) -> None:
        if self._journal.cancel_requested:
            self._drain_running(int(self._settings["cancelGraceMs"]) / 1000)
            self._leave(Leave(ExitCode.OK, released="cancelled"))
        if self._terminate:
            self._drain_running(_TERMINATION_GRACE_S)
            self._disown_fresh()
            # Only the operator may say that a pod is gone; it sees so at once.
            self._leave(Leave(ExitCode.TERMINATED, reason="terminated"))

    def _drain_running(self, grace_s: float) -> None:
        """Let attempts under way end, and report them; start nothing new."""
        until = time.monotonic() + grace_s
        while self._running and time.monotonic() < until:
            deadline = self._next_deadline()
            left = until - time.monotonic()
            self._wait(left if deadline is None else min(left, deadline))

    def _disown_fresh(self) -> None:
        """An intent was journaled, but this process will not act on it: say so, else a person would be asked whether it did."""
        detail = self._payload({"message": "the pod was terminated before the attempt began"})
        for state in self._journal.open_activities():
            if state.command in self._fresh:
                entry: Json = {"type": "activityAttemptFailed", "target": state.command, "attempt": state.attempt}
                self._append([{**entry, "error": {"type": NOT_STARTED}, "detail": detail, "retryAfterMs": 0}])

    def _misused(self, message: str, site: Site | None) -> NoReturn:
        self._halt(Block(BlockCode.SDK_MISUSE, message, site))

    def _misused_here(self, message: str) -> None:
        self._misused(message, self._finder.of_caller())

    def _halt(self, block: Block, first: list[Json] | None = None) -> NoReturn:
        """Block the run and end the process, without a word to the code."""
        self._leave(Leave(block.exit_code, released="blocked", reason=block.code, block=block), first)

    def _leave(self, order: Leave, first: list[Json] | None = None) -> NoReturn:
        if self._leaving:
            self._exit_now(ExitCode.CRASH)
        self._leaving = True
        self._guard.disarm()
        entries: list[Json] = list(first or [])
        if order.block is not None:
            where = f" at {order.block.site}" if order.block.site else ""
            _log.error("run blocked: %s%s: %s", order.block.code, where, order.block.message)
            entries.append(self._blocked(order.block))
        self._flush()
        try:
            if entries:
                self._append(entries)
            if order.released is not None:
                self._append([{"type": "released", "epoch": self._client.epoch, "cause": order.released}])
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
        entry["detail"] = self._payload({"message": block.message})
        return entry

    def _refused(self, error: ProtocolError) -> NoReturn:
        """The operator does not want this process any more, or it does not understand it."""
        codes = {"Fenced": ExitCode.FENCED, "Sealed": ExitCode.OK, "Version": ExitCode.CONFIG}
        code = codes.get(error.code, ExitCode.CRASH)
        if code is ExitCode.CRASH:
            _log.error("the journal refused a request: %s", error)
        self._guard.disarm()
        self._flush()
        self._exit_now(code)

    def _flush(self) -> None:
        for handler in logging.getLogger().handlers:
            handler.flush()
        sys.stdout.flush()
        sys.stderr.flush()

    def _exit_now(self, code: int) -> NoReturn:
        self._exit(int(code))


def _text(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
