"""Attempts of activities as the journal sees them: when one may start, and what is written when it ends."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import NoReturn, Protocol

from ..sdk.activity_table import ActivityTable
from ..sdk.context import ActivityInfo
from ..shared.errors import BlockCode, ProtocolError
from ..workflow.activity_calls import PendingActivity
from ..workflow.block import Block
from ..workflow.failures import Failure, error_fields
from ..workflow.journal import ActivityState, Entry, time_of
from ..workflow.retry_policy import REPEATABLE, Verdict, decide_retry
from ..workflow.source_location import SourceLocation, SourceLocator
from .activity_runner import ActivityRunner, OnEnd
from .attempt import Attempt, AttemptError, AttemptOutcome, Died, Refused, Reported, Unwritable
from .journal_client import Json
from .journal_session import JournalSession
from .probe import Probe
from .pulse import BEAT_EVERY_S
from .running import Running, RunningAttempts
from .staging import FileDesk
from .time_limits import SCHEDULE_TO_CLOSE, elapsed_ms, limit_of_attempt, out_of_time

_log = logging.getLogger("ntro.runtime")
MAX_RUNNING = 16
_STOP_GRACE_S = 1.0
"""For a coroutine that is cancelled to end by itself, or less if the run's own grace is shorter."""


class Halt(Protocol):
    """Ends the process with the run blocked; `first` are entries to write before that."""

    def __call__(self, block: Block, *first: Json) -> NoReturn: ...


class Attempts:
    """`on_end` is called on another thread when an attempt ends, and must lead to `ended()` on the main one."""

    def __init__(self, session: JournalSession, locator: SourceLocator, halt: Halt, probe: Probe, on_end: OnEnd) -> None:
        self._session = session
        self._locator = locator
        self._halt = halt
        self._probe = probe
        self._runner = ActivityRunner(on_end, FileDesk(session))
        self.running = RunningAttempts()
        self.wanted: dict[int, PendingActivity] = {}
        """What workflow code waits for, by command; shared with the scope."""

    def prepare(self, table: ActivityTable, on_lost: Callable[[], None]) -> None:
        """Before any workflow code and any thread. `on_lost` is called when no attempt can be run any more."""
        self._runner.prepare(table, self._locator, self._session.client.fileno(), on_lost)

    def on_entry(self, entry: Entry) -> None:
        """Give up what workflow code no longer wants."""
        if entry["type"] == "activityCancelRequested":
            running = self.running.cancel(int(entry["target"]))
            if running is not None:
                self._stop(running)

    # -- starting ----------------------------------------------------------------------------------

    def first_of(self, commands: list[int]) -> dict[int, Json]:
        """The intents of the first attempts that begin as soon as they are journaled with the commands: as many as there are places."""
        wanted = [command for command in commands if command in self.wanted]
        return {command: _intent(command, 1) for command in wanted[: self._places()]}

    def advance(self) -> bool:
        """Start what may start. False if nothing is under way or due."""
        busy = False
        for state in list(self._session.journal.open_activities()):
            pending = self.wanted.get(state.command)
            if pending is None:
                continue
            busy = True
            if state.command not in self.running and self._places() > 0 and self._due_in(state) <= 0:
                self._start(state, pending)
        return busy

    def _places(self) -> int:
        """For so many more attempts. Those that nobody wants any more take none, within reason."""
        return max(0, min(MAX_RUNNING - self.running.wanted, 2 * MAX_RUNNING - len(self.running)))

    def next_deadline(self) -> float | None:
        """Seconds until an attempt has taken too long or a further one is due."""
        now = time.monotonic()
        waits = [deadline - now for deadline in self.running.deadlines()]
        for state in self._session.journal.open_activities():
            # What waits for a place is woken by the end of another one.
            if state.command in self.wanted and state.command not in self.running and self._places() > 0:
                waits.append(self._due_in(state))
        return min(waits) if waits else None

    def _due_in(self, state: ActivityState) -> float:
        if state.failed_attempt < state.attempt or state.failures == 0 or state.last_failure is None:
            return 0
        wait = int(state.last_failure["retryAfterMs"]) / 1000
        passed = (self._session.now() - time_of(state.last_failure)).total_seconds()
        return min(wait, wait - passed)

    def _start(self, state: ActivityState, pending: PendingActivity) -> None:
        """Journal the intent of an attempt, and begin it, unless the time for all of them is over."""
        if out_of_time(state, pending.call, self._session.now()):
            self._give_up(state, pending)
            return
        cause = None if state.attempt == 0 else "failure" if state.failed_attempt == state.attempt else "crash"
        try:
            if not self._session.append_unless_unread(_intent(state.command, state.attempt + 1, cause)):
                return
        except ProtocolError as error:
            if error.code != "NotAllowedToRepeat":
                raise
            code = BlockCode.RETRIES_EXHAUSTED if cause == "failure" else BlockCode.EFFECT_UNKNOWN
            effect = f"activity {state.name!r} (command {state.command}) may have had its effect already"
            self._halt(Block(code, f"{effect}; a person must allow it to be repeated", pending.site, state.name))
        self.begin(state.command)

    def _give_up(self, state: ActivityState, pending: PendingActivity) -> None:
        """Fail an activity of which nothing is under way."""
        failure = Failure("TimeoutError", f"{SCHEDULE_TO_CLOSE} passed before another attempt began", non_retryable=False)
        entry = {"target": state.command, "attempt": max(1, state.attempt), "detail": self._detail(failure, pending.site)}
        # The journal knows ends of attempts only: one that never had any gets the intent of one that never begins.
        first = [] if state.attempt else [_intent(state.command, 1)]
        self._session.append_unless_unread(*first, {**entry, "type": "activityFailed", "error": error_fields(failure)})

    def begin(self, command: int) -> None:
        """Begin the attempt whose intent was acknowledged."""
        state, pending = self._session.journal.activities[command], self.wanted[command]
        created, call = self._session.journal.created, pending.call
        info = ActivityInfo(
            workflow_id=created["runId"],
            activity_id=pending.id,
            activity_type=call.name,
            task_queue=created["namespace"],
            attempt=state.attempt,
            idempotency_key=f"{created['runId']}/{state.command}",
        )
        attempt = Attempt(state.command, state.attempt, call.name, call.function, pending.args_text, info, state.effect in REPEATABLE)
        limit = limit_of_attempt(state, call, self._session.now())
        deadline = None if limit is None else time.monotonic() + limit.seconds
        silence_s = None if call.silence_ms is None else call.silence_ms / 1000 + BEAT_EVERY_S
        self.running.add(Running(attempt, pending, deadline, "" if limit is None else limit.option, silence_s))
        self._probe("activity:start")
        self._runner.start(attempt)

    # -- ending ------------------------------------------------------------------------------------

    def ended(self, outcome: AttemptOutcome) -> None:
        """Record how an attempt ended."""
        attempt = outcome.attempt
        running = self.running.end(attempt)
        if not running.cancelled:
            self._probe("activity:end")
        if running.given_up and not running.cancelled:
            self._failed(running, Failure("TimeoutError", f"the attempt took longer than {running.limit}", non_retryable=False))
        elif outcome.error is not None:
            self._went_wrong(running, outcome.error)
        else:
            self._session.append(
                {
                    "type": "activityCompleted",
                    "target": attempt.command,
                    "attempt": attempt.number,
                    "result": self._session.text(outcome.result),
                    "outputs": [output.to_wire() for output in outcome.outputs],
                }
            )

    def expire(self) -> None:
        """End the attempts that have taken too long and may be repeated."""
        for running in self.running.expire():
            self._stop(running)

    def _stop(self, running: Running) -> None:
        """End an attempt: a coroutine is cancelled first; a plain function, or one that does not end, is killed."""
        running.silence_s = None
        if not running.asked_to_end and self._runner.cancel(running.attempt):
            running.asked_to_end = True
            running.deadline = time.monotonic() + min(_STOP_GRACE_S, self._session.seconds("cancelGraceMs"))
        else:
            running.deadline = None
            self._runner.kill(running.attempt)

    def _went_wrong(self, running: Running, error: AttemptError) -> None:
        if running.cancelled:
            # What must not be repeated and has failed, people may want to know.
            if isinstance(error, Reported) and not running.attempt.repeatable:
                self._failed(running, error.failure, error.site, error.traceback)
            return
        if isinstance(error, Refused):
            raise error.error
        name, call_site = running.attempt.name, running.pending.site
        if isinstance(error, Unwritable):
            self._halt(Block(BlockCode.SDK_MISUSE, error.message, error.site, name))
        if not isinstance(error, Died):
            self._failed(running, error.failure, error.site, error.traceback)
        elif running.attempt.repeatable:
            self._failed(running, Failure("WorkerDied", str(error), non_retryable=False))
        else:
            text = f"{error}; activity {name!r} (command {running.attempt.command}) may have had its effect, and a person must allow it to "
            self._halt(Block(BlockCode.EFFECT_UNKNOWN, f"{text}be repeated", call_site, name))

    def _failed(self, running: Running, failure: Failure, site: SourceLocation | None = None, traceback: str = "") -> None:
        attempt = running.attempt
        site = site or self._locator.of_code(attempt.function)
        text = traceback or f"{failure.type}: {failure.message}"
        _log.error("activity %s, attempt %d, failed\n%s", attempt.name, attempt.number, text)
        state = self._session.journal.activities[attempt.command]
        call = running.pending.call
        # Nothing of a cancelled run begins again.
        last = attempt.command in self._session.journal.under_way_at_cancel or running.limit_passed(SCHEDULE_TO_CLOSE)
        step = decide_retry(
            failure,
            effect=state.effect,
            policy=call.policy,
            failures=state.failures + 1,
            elapsed_ms=elapsed_ms(state, self._session.now()),
            limit_ms=0 if last else call.limit_ms,
        )
        entry = {"target": attempt.command, "attempt": attempt.number, "detail": self._detail(failure, site)}
        if running.cancelled or step.verdict is Verdict.FAIL:
            self._session.append({**entry, "type": "activityFailed", "error": error_fields(failure)})
            return
        entry |= {"type": "activityAttemptFailed", "error": {"type": failure.type}, "retryAfterMs": step.delay_ms}
        if step.verdict is Verdict.RETRY:
            self._session.append(entry)
            return
        message = f"activity {attempt.name!r} failed in attempt {attempt.number}: {failure.type}: {failure.message}"
        self._halt(Block(BlockCode.RETRIES_EXHAUSTED, message, site, attempt.name), entry)

    def _detail(self, failure: Failure, site: SourceLocation | None) -> Json:
        detail: Json = {"type": failure.type, "message": failure.message}
        if site is not None:
            detail["site"] = str(site)
        return self._session.payload(detail)


def _intent(command: int, attempt: int, cause: str | None = None) -> Json:
    entry: Json = {"type": "activityStarted", "target": command, "attempt": attempt}
    return entry if cause is None else {**entry, "cause": cause}
