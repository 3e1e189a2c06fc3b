"""The parts without input or output."""

from __future__ import annotations

import dataclasses
import enum
import uuid
from datetime import date, datetime, timedelta
from decimal import Decimal
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from ntro_runtime.engine.attempts import MAX_RUNNING, Attempts
from ntro_runtime.engine.bundle import class_name
from ntro_runtime.engine.pulse import Pulse
from ntro_runtime.engine.running import Running
from ntro_runtime.engine.time_limits import SILENCE, TimeLimit, limit_of_attempt, out_of_time
from ntro_runtime.sdk.context import file_name
from ntro_runtime.workflow import entries, gates
from ntro_runtime.workflow.block import SdkMisuse
from ntro_runtime.workflow.codec import CodecError, decode, decode_args, encode, encode_args, signature_of
from ntro_runtime.workflow.commands import Command, compare, describe
from ntro_runtime.workflow.failures import Failure, failure_of
from ntro_runtime.workflow.failures import class_name as error_class
from ntro_runtime.workflow.journal import WITHOUT_EFFECT, ActivityState, Journal, time_of
from ntro_runtime.workflow.options import activity_call, milliseconds
from ntro_runtime.workflow.payload import Payload, digest_of, read_payload
from ntro_runtime.workflow.retry_policy import MIN_DELAY_MS, Verdict, decide_retry
from ntro_runtime.workflow.scope import PREPARE
from temporalio.common import RetryPolicy
from temporalio.exceptions import ApplicationError

# -- codec -----------------------------------------------------------------------------------------


class Colour(enum.Enum):
    RED = "red"


@dataclasses.dataclass
class Point:
    x: int
    data: bytes = b""


class Model(BaseModel):
    amount: Decimal
    on: date | None = None
    points: list[Point] = []


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(json_values)
def test_plain_values_come_back_as_they_were(value: Any) -> None:
    assert decode(encode(value, "it"), Any, "it") == value
    assert encode(decode(encode(value, "it"), Any, "it"), "it") == encode(value, "it")


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        (Model(amount=Decimal("1.10"), on=date(2026, 10, 31), points=[Point(1)]), Model),
        (Point(1, b"\x00\xff"), Point),
        (b"\x00\xff", bytes),
        ([Colour.RED], list[Colour]),
        (datetime(2026, 1, 1, 12), datetime),
        (timedelta(seconds=90), timedelta),
        (uuid.UUID(int=7), uuid.UUID),
        ((1, "a"), tuple[int, str]),
        ({1: Decimal("0.30")}, dict[int, Decimal]),
        (None, Model | None),
        (float("inf"), float),
    ],
)
def test_typed_values_come_back_as_they_were(value: Any, hint: Any) -> None:
    again = decode(encode(value, "it"), hint, "it")
    assert again == value
    assert type(again) is type(value)


def test_what_cannot_travel_is_named_without_its_value() -> None:
    with pytest.raises(CodecError, match=r"^argument 2 of activity 'x' cannot be written as JSON: Unable to serialize unknown type"):
        encode_args((1, object()), "activity 'x'")
    with pytest.raises(CodecError, match=r"^the result does not fit its annotation: amount: ") as error:
        decode('{"amount": "CANARY"}', Model, "the result")
    assert "CANARY" not in str(error.value)


def test_positional_arguments_follow_the_signature() -> None:
    def function(first: Decimal, second: Model | None = None, *rest: int) -> None: ...

    signature = signature_of(function)
    assert decode_args('["1.5"]', signature, "f") == [Decimal("1.5")]
    assert decode_args('["1.5", null, 3, 4]', signature, "f") == [Decimal("1.5"), None, 3, 4]
    with pytest.raises(CodecError, match="f needs 1 arguments, not 0"):
        decode_args("[]", signature, "f")


# -- payloads --------------------------------------------------------------------------------------


@given(st.text(max_size=50), st.integers(1, 40))
def test_a_payload_is_inline_up_to_the_limit_and_equal_to_what_was_written(text: str, limit: int) -> None:
    class Blobs:
        def put_blob(self, digest: str, data: bytes) -> None:
            raise AssertionError

        def get_blob(self, digest: str) -> bytes:
            assert digest == digest_of(text.encode())
            return text.encode()

    payload = Payload(text)
    wire = payload.to_wire(limit)
    assert ("inline" in wire) == (len(text.encode()) <= limit)
    assert payload.equals(wire)
    assert not Payload(text + "x").equals(wire)
    assert read_payload(wire, Blobs()) == text


# -- commands --------------------------------------------------------------------------------------


def test_commands_are_compared_by_the_fields_of_the_protocol() -> None:
    command = Command(3, 7, "activityScheduled", {"activity": "a", "step": "s", "timeoutMs": 5}, Payload("[1]"))
    recorded = {"seq": 9, "time": "t", "effect": "none", **command.to_wire(100)}
    assert compare(command, recorded) is None
    assert compare(command, {**recorded, "timeoutMs": 6}) is None
    for change in ({"activity": "b"}, {"step": "t"}, {"type": "timerStarted", "durationMs": 1}, {"seenUpto": 8}):
        difference = compare(command, {**recorded, **change})
        assert difference is not None
        assert not difference.drift
    difference = compare(command, {**recorded, "args": {"inline": "[2]"}})
    assert difference is not None
    assert difference.drift


# -- retries ---------------------------------------------------------------------------------------

ORDINARY = Failure("RuntimeError", "x", non_retryable=False)
FINAL = Failure("ValueError", "x", non_retryable=True)


def verdict(failure: Failure = ORDINARY, **options: Any) -> tuple[Verdict, int]:
    defaults: dict[str, Any] = {"effect": "none", "policy": None, "failures": 1, "elapsed_ms": 0, "limit_ms": None}
    following = decide_retry(failure, **{**defaults, **options})
    return following.verdict, following.delay_ms


def test_without_a_policy() -> None:
    for effect in ("none", "idempotent"):
        tried = [verdict(effect=effect, failures=n) for n in range(1, 6)]
        assert tried == [(Verdict.RETRY, 1000), (Verdict.RETRY, 2000), (Verdict.RETRY, 4000), (Verdict.RETRY, 8000), (Verdict.BLOCK, 0)]
    for effect in ("external", "undeclared"):
        assert verdict(effect=effect) == (Verdict.BLOCK, 0)
        assert verdict(FINAL, effect=effect) == (Verdict.FAIL, 0)


def test_with_a_policy() -> None:
    policy = RetryPolicy(
        initial_interval=timedelta(seconds=2),
        maximum_interval=timedelta(seconds=5),
        maximum_attempts=4,
        non_retryable_error_types=["Never"],
    )
    tried = [verdict(effect="external", policy=policy, failures=n) for n in range(1, 5)]
    assert tried == [(Verdict.RETRY, 2000), (Verdict.RETRY, 4000), (Verdict.RETRY, 5000), (Verdict.FAIL, 0)]
    assert verdict(Failure("Never", "", non_retryable=False), policy=policy)[0] is Verdict.FAIL
    assert verdict(Failure("E", "", non_retryable=False, next_delay=timedelta(seconds=9)), policy=policy) == (Verdict.RETRY, 9000)
    assert verdict(policy=RetryPolicy(), failures=10_000)[0] is Verdict.RETRY
    assert verdict(policy=policy, elapsed_ms=9000, limit_ms=10_000) == (Verdict.FAIL, 0)


def test_errors_are_classified_without_their_values() -> None:
    assert failure_of(ApplicationError("text", type="A", non_retryable=True)) == Failure("A", "text", non_retryable=True)
    assert failure_of(ValueError("x")).non_retryable
    assert not failure_of(OSError("x")).non_retryable
    with pytest.raises(ValueError, match="amount") as error:
        Model.model_validate({"amount": "CANARY"})
    failure = failure_of(error.value)
    assert (failure.type, failure.non_retryable, "CANARY" in failure.message) == ("ValidationError", True, False)


@given(st.text())
def test_a_class_of_error_is_a_bounded_word(name: str) -> None:
    cleaned = error_class(name)
    assert 0 < len(cleaned) <= 64
    assert all(c.isascii() and (c.isalnum() or c in "_.") for c in cleaned)


# -- gates, options, names -------------------------------------------------------------------------


def test_a_correction_is_only_offered_where_the_gate_takes_one() -> None:
    def actions(config: Any) -> list[str]:
        return gates.actions_of("review", {"display_hint": {"component": "X", "config": config}})

    assert actions({"allow_corrections": True}) == ["approve", "reject", "correct"]
    for config in ({}, {"allow_corrections": False}, {"allow_corrections": "yes"}, None):
        assert actions(config) == ["approve", "reject"]
    assert gates.actions_of("submission", {}) == ["submit"]


def test_options_of_a_call() -> None:
    call = activity_call(
        print, "p", None, {"args": [None], "start_to_close_timeout": timedelta(minutes=1), "schedule_to_close_timeout": 2.5}
    )
    assert (call.args, call.timeout_ms, call.limit_ms) == ((None,), 60_000, 2500)
    assert activity_call(print, "p", None, {}).args == ()
    assert activity_call(print, "p", 0, {"summary": "s", "priority": 1, "activity_id": None, "cancellation_type": 0}).args == (0,)
    call = activity_call(print, "p", None, {"task_queue": "q", "result_type": int, "heartbeat_timeout": 1, "activity_id": 7}, queues=["q"])
    assert (call.result_type, call.silence_ms, call.given_id) == (int, 1000, "7")
    assert activity_call(print, "p", None, {"task_queue": ""}).args == ()
    wrong: tuple[dict[str, Any], ...] = ({"args": "text"}, {"retry_policy": {}}, {"anything": 1}, {"start_to_close_timeout": True})
    wrong += ({"heartbeat_timeout": "1 s"},)
    for options in wrong:
        with pytest.raises(SdkMisuse):
            activity_call(print, "p", None, options)
    assert milliseconds(0.0004, "x") == 0


def test_the_nearer_limit_of_an_attempt() -> None:
    scheduled = {"seq": 1, "time": "2026-10-01T00:00:00.000000Z"}
    state = ActivityState(0, "p", "none", scheduled)
    later = time_of(scheduled) + timedelta(seconds=2)

    def limit(**options: float) -> TimeLimit | None:
        return limit_of_attempt(state, activity_call(print, "p", None, options), later)

    assert limit() is None
    assert limit(start_to_close_timeout=3) == TimeLimit(3, "start_to_close_timeout")
    assert limit(start_to_close_timeout=3, schedule_to_close_timeout=4) == TimeLimit(2, "schedule_to_close_timeout")
    assert limit(start_to_close_timeout=1, schedule_to_close_timeout=4) == TimeLimit(1, "start_to_close_timeout")
    assert limit(schedule_to_close_timeout=1) == TimeLimit(0, "schedule_to_close_timeout")
    assert out_of_time(state, activity_call(print, "p", None, {"schedule_to_close_timeout": 2}), later)
    assert not out_of_time(state, activity_call(print, "p", None, {"schedule_to_close_timeout": 2.1}), later)


def test_an_attempt_that_waits_for_us_is_not_silent() -> None:
    pulse = Pulse()
    running = Running(cast(Any, SimpleNamespace(pulse=pulse)), cast(Any, None), pulse.at + 9, "start_to_close_timeout", silence_s=2)
    assert [running.passed(pulse.at + seconds) for seconds in (1, 2, 9)] == [None, SILENCE, "start_to_close_timeout"]
    begun = pulse.at
    with pulse.answering():
        assert [running.passed(begun + seconds) for seconds in (8, 9)] == [None, "start_to_close_timeout"]
    assert begun <= pulse.at < begun + 60


def test_names_of_files() -> None:
    assert file_name("a/./b.json") == "a/b.json"
    for wrong in ("", "/etc/passwd", "../x", "a/../../x", "x" * 256, "a\0b"):
        with pytest.raises(ValueError, match="path"):
            file_name(wrong)


def test_names_of_bundles() -> None:
    assert class_name("nav-monthly") == "NavMonthlyWorkflow"


# -- the journal as known --------------------------------------------------------------------------


def test_entries_are_taken_once_and_in_order() -> None:
    journal = Journal()
    entries = [{"seq": n, "hash": "", "type": "timerFired", "target": 0} for n in range(4)]
    assert len(journal.extend(entries[:3])) == 3
    assert journal.extend(entries[1:]) == [entries[3]]
    assert [e["seq"] for e in journal.undelivered] == [0, 1, 2, 3]
    with pytest.raises(ValueError, match="entry 9 follows entry 3"):
        journal.extend([{"seq": 9, "type": "x"}])


def test_failures_are_counted_from_the_last_retry_of_a_person() -> None:
    journal = Journal()
    failed = {"type": "activityAttemptFailed", "target": 0, "attempt": 1, "error": {"type": "E"}}
    entries: list[dict[str, Any]] = [
        {"type": "activityScheduled", "command": 0, "seenUpto": 0, "activity": "a", "effect": "external"},
        {"type": "activityStarted", "target": 0, "attempt": 1},
        failed,
    ]
    journal.extend({**entry, "seq": n, "hash": ""} for n, entry in enumerate(entries))
    assert (journal.activities[0].failures, journal.activities[0].attempt) == (1, 1)
    journal.extend([{"seq": 3, "hash": "", "type": "retryRequested", "repeatEffects": []}])
    assert (journal.activities[0].failures, journal.activities[0].failed_attempt) == (0, 1)


# -- every place that has to know a type of entry -------------------------------------------------------------------------------


def test_every_type_of_entry_is_known_to_the_journal() -> None:
    for kind in entries.RECORDS | entries.DELIVERIES | set(entries.COMMANDS):
        assert (kind in WITHOUT_EFFECT) != hasattr(Journal, f"_on_{kind}"), kind
    with pytest.raises(ValueError, match="unknown type: 'probe'"):
        Journal().extend([{"seq": 0, "hash": "", "type": "probe"}])


def test_every_command_can_be_described() -> None:
    entry = {"activity": "a", "step": "s", "kind": "review", "durationMs": 1, "steps": [], "target": 0}
    for kind in entries.COMMANDS:
        assert describe({**entry, "type": kind})
    with pytest.raises(ValueError, match="not a command: 'probe'"):
        describe({"type": "probe"})


def test_every_delivery_is_handed_to_workflow_code() -> None:
    # A cancellation is not: the process leaves instead.
    assert set(PREPARE) | {"cancelRequested"} == entries.DELIVERIES


def test_the_message_of_a_failure_can_be_written_whatever_it_holds() -> None:
    assert encode(failure_of(LookupError("half a pair: \ud800")).message, "it") == '"half a pair: \\\\ud800"'


@pytest.mark.parametrize("running", [0, MAX_RUNNING - 1, MAX_RUNNING])
def test_what_waits_for_a_place_is_not_asked_about_again_and_again(running: int) -> None:
    states = [SimpleNamespace(command=n, attempt=1, failed_attempt=0, failures=0, last_failure=None) for n in range(3 * MAX_RUNNING)]
    session = SimpleNamespace(journal=SimpleNamespace(open_activities=lambda: states))
    nothing: Any = None
    attempts = Attempts(cast(Any, session), nothing, nothing, nothing, nothing)
    attempts.wanted = {state.command: nothing for state in states}
    for n in range(running):
        attempts.running.add(Running(cast(Any, SimpleNamespace(command=n)), cast(Any, None), None))
    assert attempts.next_deadline() == (None if running == MAX_RUNNING else 0)


def test_no_policy_makes_a_loop_without_a_pause() -> None:
    failure = failure_of(RuntimeError())
    eager = RetryPolicy(initial_interval=timedelta(0))
    at_once = dataclasses.replace(failure, next_delay=timedelta(0))
    for it in (failure, at_once):
        step = decide_retry(it, effect="none", policy=eager, failures=1, elapsed_ms=0, limit_ms=None)
        assert (step.verdict, step.delay_ms) == (Verdict.RETRY, MIN_DELAY_MS)
