"""What workflow code may do and what follows, against the journal's own server."""

from __future__ import annotations

import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness import Run
from journal_server import Json, Server
from segment_process import KILLED

HEAD = """
import asyncio, contextvars, dataclasses, datetime, logging, os, pathlib, random, secrets, socket, subprocess, threading, time, uuid
from datetime import date, timedelta
from decimal import Decimal
from pydantic import BaseModel
from ntro.capabilities import storage
from ntro.workflow import NtroWorkflow, WorkflowError, activity, runbook
from ntro.workflow.exceptions import ActivityError, ApplicationError
from temporalio import workflow as temporal
from temporalio.common import RetryPolicy

def effect(name):
    with open(os.environ["STUB_EFFECTS"], "a") as file:
        file.write(name + "\\n")
    with open(os.environ["STUB_EFFECTS"]) as file:
        return file.read().split().count(name)

@activity.defn
async def echo(value: object) -> object:
    return value
"""
REVIEW = 'await self.wait_for_action(payload={"n": 1}, display_hint={"component": "DATA_TABLE", "config": {"allow_corrections": True}})'
Make = Callable[..., Run]


def source(body: str, more: str = "", methods: str = "") -> str:
    """A workflow whose `run(self, input)` has this body. The first line of the body is line `FIRST`."""
    head = HEAD + textwrap.dedent(more)
    run = "    @runbook.run\n    async def run(self, input):\n" + textwrap.indent(textwrap.dedent(body).strip("\n"), " " * 8)
    return head + f"\n@runbook.defn\nclass ProbeWorkflow(NtroWorkflow):\n{textwrap.indent(textwrap.dedent(methods), '    ')}\n{run}\n"


def line_of(text: str, part: str) -> int:
    return next(n for n, line in enumerate(text.splitlines(), start=1) if part in line)


@pytest.fixture
def make(server: Server, tmp_path: Path, bundle: Callable[..., Path]) -> Make:
    def build(body: str, more: str = "", methods: str = "", *, effects: Json | None = None, input: Any = None, **options: Any) -> Run:
        text = source(body, more, methods)
        root = bundle(text)
        activities = {"echo": {"effect": "none"}, **{name: {"effect": effect} for name, effect in (effects or {}).items()}}
        return Run(server, tmp_path / "run", root, input if input is not None else {"period": "2026-10"}, activities, **options)

    return build


def rewrite(run: Run, body: str, more: str = "", methods: str = "") -> None:
    """Another version of the code, as if the bundle had been repaired."""
    (run.bundle / "templates" / "workflow.py").write_text(source(body, more, methods))


def workflow_text(run: Run) -> str:
    return (run.bundle / "templates" / "workflow.py").read_text()


def assert_blocked(run: Run, code: str, message: str, at: str | None) -> None:
    assert run.drive() == "Blocked", run.entries()[-3:]
    entry = run.entries("blocked")[-1]
    found_code, found_message = run.blocked()
    assert (found_code, message in found_message) == (code, True), found_message
    if at is not None:
        assert entry["site"] == {"file": "templates/workflow.py", "line": line_of(workflow_text(run), at)}
    assert run.exits[-1] == 70
    assert run.entries("released")[-1]["cause"] == "blocked"


# -- gates -----------------------------------------------------------------------------------------


def test_an_answer_says_the_same_in_every_published_spelling(make: Make) -> None:
    said: list[Json] = [
        {"verb": "approve", "actor": "alice", "comment": "fine"},
        {"verb": "reject", "actor": "bob", "comment": "no\nway"},
        {"verb": "correct", "actor": "carol", "correction": {"corrections": [{"line": 1}]}},
        {"verb": "correct", "actor": "carol", "correction": [1, 2]},
    ]
    answers = iter(said)
    run = make(f"return [{REVIEW} for _ in range(4)]", answer=lambda _: next(answers))
    assert run.drive() == "Succeeded"
    assert run.result() == [
        {"kind": "approve", "type": "approved", "action": "approve", "actor": "alice", "comments": "fine"},
        {"kind": "reject", "type": "rejected", "action": "reject", "actor": "bob", "comments": "no\nway"},
        {"kind": "correct", "type": "corrected", "action": "correct", "actor": "carol"}
        | {"corrections": [{"line": 1}], "payload": {"corrections": [{"line": 1}]}},
        {"kind": "correct", "type": "corrected", "action": "correct", "actor": "carol"}
        | {"corrections": [1, 2], "payload": {"corrections": [1, 2]}},
    ]
    assert [e["actions"] for e in run.entries("gateOpened")] == [["approve", "reject", "correct"]] * 4


def test_a_gate_that_does_not_say_so_takes_no_correction(make: Make) -> None:
    run = make("return (await self.wait_for_action(payload={}))['kind']")
    assert run.drive() == "Succeeded"
    gate = run.entries("gateOpened")[0]
    assert (gate["actions"], gate["component"], gate["kind"]) == (["approve", "reject"], "APPROVAL_FORM", "review")


@pytest.mark.parametrize(
    "body",
    [
        "await asyncio.gather(self.wait_for_action(payload=1), self.wait_for_action(payload=2))  # second",
        """
        await asyncio.gather(
            self.wait_for_action(payload=1),
            self.await_signal_with_action(predicate=lambda: False, action={"kind": "submit_file"}),  # second
        )
        """,
    ],
)
def test_two_gates_of_one_instance_block_the_run(make: Make, body: str) -> None:
    run = make(body)
    assert_blocked(run, "GateOverlap", "a second gate was opened", "# second")
    # Nothing of the turn that went wrong was written.
    assert not run.entries("gateOpened")


def test_an_answer_never_closes_another_gate(make: Make) -> None:
    body = """
    first = await self.wait_for_action(payload=1)
    second = await self.wait_for_action(payload=2)
    return [first["actor"], second["actor"]]
    """
    run = make(body)
    assert run.fork() == 0
    gate = run.state()["gates"][0]
    assert run.signal("user_action", {"kind": "approve", "actor": "mallory"})["outcome"] == "Refused"
    run.decide(gate=gate["id"], verb="approve", actor="alice")
    assert run.decide(gate=gate["id"], verb="approve", actor="mallory")["outcome"] == "Refused"
    assert run.fork() == 0
    assert [g["state"] for g in run.state()["gates"]] == ["Decided", "Open"]
    run.decide(verb="approve", actor="bob")
    assert run.drive() == "Succeeded"
    assert run.result() == ["alice", "bob"]


SUBMISSION = """
self.document = None
await self.await_signal_with_action(
    predicate=lambda: self.document is not None,
    action={"kind": "submit_file", "args": {"source": "tb", "signal_name": "document_submitted"}},
    timeout=timedelta(hours=24),
)
return self.document
"""
HANDLER = """
@runbook.signal
async def document_submitted(self, document: dict) -> None:
    checked = await runbook.execute_activity(echo, document)
    if checked["ok"]:
        self.document = checked
"""


def test_what_is_handed_in_goes_to_the_signal_and_the_gate_opens_again_until_it_satisfies(make: Make) -> None:
    answers = iter([{"verb": "submit", "correction": {"ok": False}}, {"verb": "submit", "correction": {"ok": True, "n": 2}}])
    run = make(SUBMISSION, methods=HANDLER, answer=lambda _: next(answers))
    assert run.drive() == "Succeeded"
    assert run.result() == {"ok": True, "n": 2}
    first, second = run.entries("gateOpened")
    assert (first["kind"], first["actions"], first["component"]) == ("submission", ["submit"], "FILE_UPLOAD")
    assert first["dueMs"] == second["dueMs"] == 24 * 3600 * 1000
    assert len(run.entries("timerStarted")) == len(run.entries("timerCancelled")) == 1


def test_a_signal_can_satisfy_a_submission_gate(make: Make) -> None:
    run = make(SUBMISSION, methods=HANDLER, answer=lambda _: None)
    assert run.fork() == 0
    run.signal("nobody_listens", 1)
    run.signal("document_submitted", 1, 2, 3)  # does not fit: refused, not fatal
    assert run.fork() == 0
    run.signal("document_submitted", {"ok": True})
    assert run.drive() == "Succeeded"
    unknown, unfit, _ = run.entries("signalReceived")
    # Once each, however often they are replayed.
    ignored = [(e["signal"], e["reason"]) for e in run.entries("signalIgnored")]
    assert ignored == [(unknown["seq"], "UnknownName"), (unfit["seq"], "ArgumentsDoNotFit")]
    assert [e["cause"] for e in run.entries("gateClosed")] == ["satisfied"]


def test_a_gate_expires(make: Make) -> None:
    body = SUBMISSION.replace("timedelta(hours=24)", "0.05")
    run = make(
        f"try:\n{textwrap.indent(body, '    ')}\nexcept asyncio.TimeoutError:\n    return 'late'", methods=HANDLER, answer=lambda _: None
    )
    assert run.drive() == "Succeeded"
    assert run.result() == "late"
    assert run.entries("gateOpened")[0]["dueMs"] == 50
    assert [e["cause"] for e in run.entries("gateClosed")] == ["expired"]


def test_a_wait_nobody_ended_in_time_fails_the_run(make: Make) -> None:
    run = make("await runbook.wait_condition(lambda: False, timeout=timedelta(milliseconds=20))")
    assert run.drive() == "Failed"
    assert run.state()["error"] == "TimeoutError"


def test_whatever_changes_what_is_shown_is_a_new_revision(make: Make) -> None:
    methods = """
    @runbook.signal
    def note(self, text: str) -> None:
        self.set_user_feedback(kind="note", payload={"text": text})
    """
    run = make("return (await self.wait_for_action(payload={}))['kind']", methods=methods)
    assert run.fork() == 0
    run.signal("note", "look again")
    assert run.fork() == 0
    assert run.decide(verb="approve", revision=1)["outcome"] == "Refused"
    assert run.decide(verb="reject", revision=2)["outcome"] == "Applied"
    assert run.drive() == "Succeeded"
    assert run.result() == "reject"
    assert "look again" in run.payload(run.entries("gateRevised")[0]["content"])["feedback"]["payload"]["text"]


def test_checks_beside_a_gate_are_advisory(make: Make) -> None:
    body = """
    spec = {"id": "journal_balanced", "title": "Balanced", "prompt": "", "evaluator": "code"}
    broken = {**spec, "id": "nobody knows it"}
    answer = await self.wait_for_action(payload={"lines": []}, checks_spec=[spec, broken])
    return answer["kind"]
    """
    run = make(body, effects={"run_quality_check": "none"})
    assert run.drive() == "Succeeded"
    contents = [run.payload(e["content"]) for e in run.entries("gateOpened", "gateRevised")]
    assert [c["checks"]["status"] for c in contents] == ["running", "running", "fail"]


# -- defects of code -------------------------------------------------------------------------------


def test_a_defect_blocks_and_a_repaired_bundle_goes_on(make: Make) -> None:
    run = make(f"value = await runbook.execute_activity(echo, 1)\nanswer = {REVIEW}\nreturn missing_name + value  # defect")
    assert_blocked(run, "CodeError", "NameError: name 'missing_name' is not defined", "# defect")
    rewrite(run, f"value = await runbook.execute_activity(echo, 1)\nanswer = {REVIEW}\nreturn answer['kind'], value")
    run.server.ask("retry", run=run.id)
    assert run.drive() == "Succeeded"
    assert run.result() == ["approve", 1]
    assert len(run.entries("activityScheduled")) == 1


ECHO = "await runbook.execute_activity(echo, 1)"
WAS = "the journal has activity 'echo', the code now gives"
COURSES = {
    "other arguments": ("await runbook.execute_activity(echo, 2)  # now", "ArgsDrift", "its args differ", "# now"),
    "another command": ("await asyncio.sleep(5)  # now", "Divergence", f"{WAS} timer of 5000 ms", "# now"),
    "left out": ("pass", "Divergence", f"{WAS} review gate of step 'gate'", "wait_for_action"),
    "ends": ("return", "Divergence", f"{WAS} runCompleted", None),
    "missing": ("await runbook.wait_condition(lambda: False)", "Divergence", f"{WAS} nothing", None),
}


@pytest.mark.parametrize(("after", "code", "message", "at"), COURSES.values(), ids=COURSES)
def test_another_course_on_replay_is_divergence(make: Make, after: str, code: str, message: str, at: str | None) -> None:
    run = make(f"{ECHO}\n{REVIEW}")
    assert run.fork() == 0
    rewrite(run, f"{after}\n{REVIEW}")
    run.decide(verb="approve")
    length = run.state()["length"]
    assert_blocked(run, code, message, at)
    assert {e["type"] for e in run.entries()[length:]} <= {"attached", "blocked", "released"}


MISUSES = {
    "time.time()": "time.time() in workflow code is not reproducible: use runbook.now()",
    "time.sleep(1)": "asyncio.sleep()",
    "datetime.datetime.now()": "datetime.now() in workflow code",
    "date.today()": "date.today() in workflow code",
    "random.random()": "random.random()",
    "random.choice([1])": "random.choice()",
    "uuid.uuid4()": "uuid.uuid4()",
    "secrets.token_hex()": "secrets.token_hex()",
    "os.urandom(1)": "os.urandom()",
    "open('/etc/hostname')": "open() in workflow code",
    "pathlib.Path('/etc').iterdir()": "Path.iterdir()",
    "socket.socket()": "socket.socket",
    "subprocess.run(['true'])": "subprocess.run()",
    "threading.Thread(target=print).start()": "Thread.start()",
    "await asyncio.to_thread(print)": "asyncio.to_thread()",
    "await asyncio.get_running_loop().run_in_executor(None, print)": "run_in_executor() is not possible in workflow code",
    "await asyncio.open_connection('localhost', 1)": "not possible in workflow code",
    "await runbook.execute_activity(echo, 1, retries=3)": "unknown option of activity 'echo': retries",
    "await runbook.execute_activity(echo, 1, schedule_to_start_timeout=1)": "schedule_to_start_timeout of activity 'echo' is not",
    "await runbook.execute_activity(echo, 1, cancellation_type=1)": "cancellation_type of activity 'echo' can only be TRY_CANCEL: ",
    "await runbook.execute_activity(echo, 1, versioning_intent=1)": "versioning_intent of activity 'echo' is not supported: ",
    "await runbook.execute_activity(echo, 1, task_queue='other')": "task_queue of activity 'echo' can only be runbook.info().task_queue",
    "await temporal.execute_activity(echo, 1, schedule_to_start_timeout=1)": "schedule_to_start_timeout of activity 'echo' is not",
    "await temporal.start_activity(echo, 1, versioning_intent=1)": "versioning_intent of activity 'echo' is not supported: ",
    "await runbook.execute_activity(echo, 1, args=[2])": "both an argument and args",
    "await runbook.execute_activity(echo, args=[1, 2])": "'echo' takes 1 arguments, not 2",
    "await runbook.execute_activity(echo)": "'echo' needs 1 arguments, not 0",
    "await runbook.execute_activity(echo, object())": "argument 1 of activity 'echo' cannot be written as JSON",
    "await runbook.execute_activity('nobody')": "no activity is named 'nobody'",
    "await runbook.wait_condition(lambda: True, poll=1)": "unknown option of wait_condition: poll",
    "await runbook.wait_condition(lambda: True, timeout='1s')": "timeout must be a timedelta or a number of seconds",
    "await runbook.execute_activity(lambda: 1)": "activity '<lambda>' was made by workflow code: define it at the top of a file",
    "await self.run_child_workflow(slug='other', input={})": "child workflows are not supported yet (runbook 'other')",
    "await storage.write(path='x', content=b'')": "ntro.capabilities.storage can only be used in an activity",
}


@pytest.mark.parametrize("statement", MISUSES)
def test_misuse_is_named_with_its_line(make: Make, statement: str) -> None:
    run = make(f"pass\nawait runbook.execute_activity(echo, 1)\n{statement}  # here")
    assert_blocked(run, "SdkMisuse", MISUSES[statement], "# here")


def test_options_that_mean_something_here_work(make: Make) -> None:
    body = """
    queue = runbook.info().task_queue
    given = await runbook.execute_activity(echo, "2026-10-31", result_type=date, task_queue=queue)
    more = {"cancellation_type": temporal.ActivityCancellationType.TRY_CANCEL, "summary": "the last day", "priority": 5}
    given2 = await runbook.execute_activity("echo", "2026-10-31", result_type=str, **more)
    try:
        await runbook.execute_activity(named, activity_id="the one", retry_policy=RetryPolicy(maximum_attempts=1))
    except ActivityError as error:
        ids = [error.activity_id, str(error.cause)]
    return [type(given).__name__, type(given2).__name__, *ids]
    """
    more = """
    @activity.defn
    def named() -> None:
        raise RuntimeError(activity.info().activity_id)
    """
    run = make(body, more)
    assert run.drive() == "Succeeded"
    assert run.result() == ["date", "str", "the one", "RuntimeError: the one"]


def test_what_is_reproducible_is_allowed(make: Make) -> None:
    body = """
    import colorsys
    runbook.logger.info("at %s", runbook.now())
    logging.getLogger("mine").warning("w")
    drawn = random.Random(7).random()
    name = uuid.uuid5(uuid.NAMESPACE_URL, "x")
    started = runbook.now()
    await asyncio.sleep(0.03)
    assert runbook.now() - started >= timedelta(milliseconds=30)
    assert datetime.datetime(2026, 1, 1) < datetime.datetime(2027, 1, 1)
    return [drawn, str(name), runbook.info().workflow_id == runbook.info().run_id, runbook.info().attempt]
    """
    run = make(body)
    assert run.drive() == "Succeeded"
    import random
    import uuid

    assert run.result() == [random.Random(7).random(), str(uuid.uuid5(uuid.NAMESPACE_URL, "x")), True, 1]


@pytest.mark.parametrize(
    ("body", "message", "at"),
    [
        ("await asyncio.get_running_loop().create_future()", "waits for something that can never happen", None),
        ("raise SystemExit(3)  # here", "SystemExit: 3", "# here"),
        ("asyncio.current_task().cancel()\nawait asyncio.sleep(1)", "cancelled by its own code", None),
        ("await runbook.wait_condition(lambda: 1 / 0)  # here", "ZeroDivisionError", "# here"),
    ],
)
def test_other_defects(make: Make, body: str, message: str, at: str | None) -> None:
    assert_blocked(make(body), "CodeError", message, at)


def test_a_predicate_that_raises_later_fails_only_its_own_wait(make: Make) -> None:
    body = """
    self.ready = False
    def predicate():
        if self.ready:
            raise WorkflowError("told you")
        return False
    async def set_ready():
        await asyncio.sleep(0.01)
        self.ready = True
    task = asyncio.create_task(set_ready())
    try:
        await runbook.wait_condition(predicate)
    except WorkflowError as error:
        return [str(error), task.done()]
    """
    run = make(body)
    assert run.drive() == "Succeeded"
    assert run.result() == ["told you", True]


def test_an_input_that_does_not_fit_is_a_defect_with_the_line_of_run(make: Make) -> None:
    more = """
    class Input(BaseModel):
        period: int
    """
    run = make("return 1", more)
    path = run.bundle / "templates" / "workflow.py"
    path.write_text(path.read_text().replace("def run(self, input)", "def run(self, input: Input)"))
    assert_blocked(run, "CodeError", "argument 1 of the workflow does not fit its annotation: period", "@runbook.run")


# -- failures --------------------------------------------------------------------------------------

FLAKY = """
@activity.defn
async def flaky(fail: int, kind: str) -> int:
    n = effect("flaky")
    if n <= fail:
        raise {"runtime": RuntimeError, "value": ValueError, "workflow": WorkflowError}[kind](f"try {n}")
    return n

FAST = dict(initial_interval=timedelta(milliseconds=1), maximum_interval=timedelta(milliseconds=2))
"""


@pytest.mark.parametrize("error", ["WorkflowError('no', type='Rejected')", "ApplicationError('no', type='Rejected')"])
def test_a_failure_the_code_means_fails_the_run(make: Make, error: str) -> None:
    run = make(f"raise {error}  # here")
    assert run.drive() == "Failed"
    assert run.state()["error"] == "Rejected"
    detail = run.payload(run.entries("runFailed")[0]["detail"])
    assert detail["site"] == f"templates/workflow.py:{line_of(workflow_text(run), '# here')}"


def test_a_final_error_of_an_activity_reaches_the_code_as_its_cause(make: Make) -> None:
    body = """
    try:
        await runbook.execute_activity(flaky, args=[1, "value"])
    except ActivityError as error:
        assert not isinstance(error, WorkflowError)
        return [error.cause.type, error.cause.message, error.cause.non_retryable, error.activity_type]
    """
    run = make(body, FLAKY, effects={"flaky": "none"})
    assert run.drive() == "Succeeded"
    assert run.result() == ["ValueError", "try 1", True, "flaky"]
    assert run.effect_counts() == {"flaky": 1}


def test_an_activity_that_failed_fails_the_run_if_the_code_lets_it(make: Make) -> None:
    run = make("await runbook.execute_activity(flaky, args=[9, 'value'])", FLAKY, effects={"flaky": "external"})
    assert run.drive() == "Failed"
    assert run.state()["error"] == "ValueError"


def test_what_may_be_repeated_is_tried_again(make: Make) -> None:
    run = make("return await runbook.execute_activity(flaky, args=[1, 'runtime'])", FLAKY, effects={"flaky": "idempotent"})
    assert run.drive() == "Succeeded"
    assert run.result() == 2
    failed = run.entries("activityAttemptFailed")
    assert [(e["attempt"], e["error"]["type"], e["retryAfterMs"]) for e in failed] == [(1, "RuntimeError", 1000)]
    assert [(e["attempt"], e.get("cause")) for e in run.entries("activityStarted")] == [(1, None), (2, "failure")]


@pytest.mark.parametrize("effect", ["external", "undeclared"])
def test_an_effect_that_failed_waits_for_a_person(make: Make, effect: str) -> None:
    body = "return await runbook.execute_activity(flaky, args=[1, 'workflow'])  # call"
    run = make(body, FLAKY, effects={} if effect == "undeclared" else {"flaky": effect})
    assert_blocked(run, "ActivityRetriesExhausted", "activity 'flaky' failed in attempt 1: WorkflowError: try 1", "raise {")
    assert run.entries("blocked")[0]["activity"] == "flaky"
    run.server.ask("retry", run=run.id)
    assert run.drive() == "Succeeded"
    assert run.result() == 2


def test_a_policy_of_its_own_is_honoured(make: Make) -> None:
    body = """
    try:
        await runbook.execute_activity(flaky, args=[9, "runtime"], retry_policy=RetryPolicy(maximum_attempts=3, **FAST))
    except ActivityError as error:
        return error.cause.message
    """
    run = make(body, FLAKY, effects={"flaky": "external"})
    assert run.drive() == "Succeeded"
    assert run.result() == "try 3"
    assert [e["attempt"] for e in run.entries("activityStarted")] == [1, 2, 3]


def test_an_attempt_that_takes_too_long_is_given_up(make: Make) -> None:
    more = """
    @activity.defn
    async def slow() -> int:
        if effect("slow") == 1:
            await asyncio.sleep(30)
        return 1

    @activity.defn
    def slow_thread() -> int:
        if effect("thread") == 1:
            time.sleep(2)
        return 1
    """
    once = "start_to_close_timeout=timedelta(seconds=0.2), retry_policy=RetryPolicy(initial_interval=timedelta(milliseconds=1))"
    body = f"return [await runbook.execute_activity(slow, {once}), await runbook.execute_activity(slow_thread, {once})]"
    run = make(body, more, effects={"slow": "none", "slow_thread": "none"})
    assert run.drive() == "Succeeded"
    assert [e["error"]["type"] for e in run.entries("activityAttemptFailed")] == ["TimeoutError", "TimeoutError"]


POSTING = """
@activity.defn
def post(seconds: float) -> int:
    again = effect("post") > 1
    time.sleep(0 if again else seconds)
    effect("posted")
    return 1
"""
IMPATIENT = "start_to_close_timeout=timedelta(seconds=0.05), retry_policy=RetryPolicy(maximum_attempts=3)"


@pytest.mark.parametrize("effect", ["external", "undeclared"])
def test_an_effect_that_takes_too_long_is_unknown_and_begins_once(make: Make, effect: str) -> None:
    body = f"return await runbook.execute_activity(post, args=[60], {IMPATIENT})"
    run = make(body, POSTING, effects={} if effect == "undeclared" else {"post": effect})
    assert_blocked(run, "EffectUnknown", "took longer than start_to_close_timeout and may have its effect yet", "runbook.execute_activity")
    assert run.effect_counts() == {"post": 1}
    assert run.server.ask("retry", run=run.id)["reason"] == "EffectUnknown"
    assert run.server.ask("retry", run=run.id, repeatEffects=[0])["outcome"] == "Applied"
    assert run.drive() == "Succeeded"
    assert run.effect_counts() == {"post": 2, "posted": 1}


def test_an_effect_that_ends_within_the_grace_of_its_timeout_is_known(make: Make) -> None:
    run = make(f"return await runbook.execute_activity(post, args=[0.2], {IMPATIENT})", POSTING, effects={"post": "external"})
    assert run.drive() == "Succeeded"
    assert run.effect_counts() == {"post": 1, "posted": 1}
    assert run.entries("activityAttemptFailed", "blocked") == []


LIMITED = "schedule_to_close_timeout=timedelta(seconds=0.3), retry_policy=RetryPolicy(initial_interval=timedelta(milliseconds=1))"
SLOW = """
@activity.defn
def slow() -> int:
    effect("slow")
    time.sleep(4)
    return 1

@activity.defn
async def slow_coroutine() -> int:
    effect("slow_coroutine")
    await asyncio.sleep(4)
    return 1
"""


@pytest.mark.parametrize("name", ["slow", "slow_coroutine"])
def test_the_time_of_all_attempts_bounds_the_one_under_way(make: Make, name: str) -> None:
    body = f"""
    try:
        await runbook.execute_activity({name}, {LIMITED})
    except ActivityError as error:
        return [error.cause.type, error.cause.message]
    """
    run = make(body, SLOW, effects={name: "none"})
    began = time.monotonic()
    assert run.drive() == "Succeeded"
    # Long before it would have ended by itself.
    assert time.monotonic() - began < 3
    assert run.result() == ["TimeoutError", "the attempt took longer than schedule_to_close_timeout"]
    assert run.effect_counts() == {name: 1}


def test_an_effect_that_outlasts_the_time_of_all_attempts_is_unknown(make: Make) -> None:
    # Enough for the second attempt to begin in on a busy machine.
    limit = IMPATIENT.replace("start_to", "schedule_to").replace("0.05", "3")
    body = f"return await runbook.execute_activity(post, args=[60], {limit})"
    run = make(body, POSTING, effects={"post": "external"})
    message = "took longer than schedule_to_close_timeout and may have its effect yet"
    assert_blocked(run, "EffectUnknown", message, "runbook.execute_activity")
    # What a person has repeated has its time once more, or it could never begin.
    assert run.server.ask("retry", run=run.id, repeatEffects=[0])["outcome"] == "Applied"
    run.server.ask("advance", ms=60_000)
    assert run.drive() == "Succeeded"
    assert run.effect_counts() == {"post": 2, "posted": 1}


# Points of a process: around the turn, the append of the activity, its start and end, the append of its failure.
@pytest.mark.parametrize(("at", "reported"), [(5, 0), (8, 1)], ids=["interrupted", "due again"])
def test_no_attempt_begins_after_the_time_of_all_of_them(make: Make, at: int, reported: int) -> None:
    body = """
    try:
        await runbook.execute_activity(flaky, args=[9, "runtime"], schedule_to_close_timeout=timedelta(hours=1))
    except ActivityError as error:
        return error.cause.message
    """
    run = make(body, FLAKY, effects={"flaky": "none"})
    run.kill_at = at
    assert run.fork() == KILLED
    run.server.ask("holderGone", run=run.id)
    begun = len(run.entries("activityStarted"))
    assert (begun, len(run.entries("activityAttemptFailed"))) == (1, reported)
    run.server.ask("advance", ms=2 * 3600 * 1000)
    run.kill_at = None
    assert run.drive() == "Succeeded"
    assert run.result() == "schedule_to_close_timeout passed before another attempt began"
    assert len(run.entries("activityStarted")) == begun


def test_a_run_that_is_blocked_lets_effects_under_way_end(make: Make) -> None:
    body = "return await asyncio.gather(runbook.execute_activity(post, args=[0.2]), runbook.execute_activity(flaky, args=[1, 'runtime']))"
    run = make(body, FLAKY + POSTING, effects={"post": "external", "flaky": "external"})
    assert_blocked(run, "ActivityRetriesExhausted", "activity 'flaky' failed", None)
    assert run.effect_counts() == {"post": 1, "posted": 1, "flaky": 1}
    assert run.server.ask("retry", run=run.id)["outcome"] == "Applied"
    assert run.drive() == "Succeeded"
    assert run.effect_counts() == {"post": 1, "posted": 1, "flaky": 2}


def test_an_entry_that_is_refused_lets_effects_under_way_end(make: Make) -> None:
    body = """
    late = asyncio.ensure_future(runbook.execute_activity(post, args=[0.3]))
    await runbook.execute_activity(echo, args=[1])
    await asyncio.sleep(200 * 366 * 86400)
    """
    run = make(body, POSTING, effects={"post": "external"})
    assert_blocked(run, "SdkMisuse", "years", None)
    assert run.effect_counts() == {"post": 1, "posted": 1}
    assert len(run.entries("activityCompleted")) == 2


@pytest.mark.parametrize("effect", ["none", "external"])
def test_the_end_of_the_code_waits_only_for_what_must_end(make: Make, effect: str) -> None:
    body = """
    late = asyncio.ensure_future(runbook.execute_activity(post, args=[SECONDS]))
    await runbook.execute_activity(echo, args=[1])
    late.cancel()
    return 7
    """
    run = make(body.replace("SECONDS", "30" if effect == "none" else "0.2"), POSTING, effects={"post": effect})
    assert run.drive() == "Succeeded"
    assert run.result() == 7
    assert run.effect_counts().get("posted", 0) == (1 if effect == "external" else 0)
    assert [e["type"] for e in run.entries("activityCancelRequested", "activityCompleted", "runCompleted")][-1] == "runCompleted"


def test_a_result_that_does_not_fit_its_annotation_is_a_failure_that_code_can_handle(make: Make) -> None:
    more = """
    @activity.defn
    def count() -> int:
        effect("count")
        return "many"
    """
    body = """
    try:
        return await runbook.execute_activity(count)
    except ActivityError as error:
        return [error.cause.type, error.cause.non_retryable]
    """
    run = make(body, more, effects={"count": "external"})
    assert run.drive() == "Succeeded"
    assert run.result() == ["ResultTypeMismatch", True]
    assert run.effect_counts() == {"count": 1}


REFUSED = {
    "await asyncio.sleep(200 * 366 * 86400)": ("SdkMisuse", "years"),
    "await runbook.execute_activity(hoard)": ("TooLarge", ""),
}


@pytest.mark.parametrize("statement", REFUSED)
def test_what_the_journal_does_not_take_blocks_the_run_at_once_and_says_why(make: Make, statement: str) -> None:
    more = """
    @activity.defn
    async def hoard() -> None:
        effect("hoard")
        for n in range(4000):
            await storage.write(path=f"file-with-quite-a-long-name-{n}.txt", content=b"", content_type="text/plain")
    """
    run = make(statement, more, effects={"hoard": "external"})
    code, message = REFUSED[statement]
    assert_blocked(run, code, message, None)
    assert len(run.exits) == 1
    assert run.effect_counts().get("hoard", 0) <= 1


def test_a_result_that_cannot_travel_is_misuse(make: Make) -> None:
    more = """
    @activity.defn
    async def bad():  # here
        return object()
    """
    run = make("await runbook.execute_activity(bad)", more, effects={"bad": "external"})
    assert_blocked(run, "SdkMisuse", "the result of activity 'bad' cannot be written as JSON", None)


def test_an_activity_whose_gate_was_not_approved_is_not_executed(make: Make) -> None:
    run = make("await runbook.execute_activity(flaky, args=[0, ''])", FLAKY)
    run.server.ask("create", name="other", run=(other := "22222222-2222-4222-8222-222222222222"), input={}, requestHash="y",
                   pin={"runbook": {"name": "probe"}, "activities": {"flaky": {"effect": "external", "requires": "review"}}})  # fmt: skip
    run.id = other
    assert run.drive() == "Blocked"
    assert run.blocked()[0] == "RequirementNotMet"
    assert run.exits == [70]
    assert run.effect_counts() == {}


# -- the rest of the SDK ---------------------------------------------------------------------------


def test_arguments_and_results_are_fresh_copies_of_their_annotated_types(make: Make) -> None:
    more = """
    class Line(BaseModel):
        amount: Decimal
        on: date

    @dataclasses.dataclass
    class Pair:
        left: Line
        data: bytes

    @activity.defn
    def double(line: Line, pairs: list[Pair]) -> tuple[Line, list[Pair]]:
        assert isinstance(line.amount, Decimal) and isinstance(pairs[0].left.on, date)
        line.amount *= 2
        return line, pairs
    """
    body = """
    line = Line(amount="1.10", on="2026-10-31")
    doubled, pairs = await runbook.execute_activity(double, args=[line, [Pair(line, b"abc")]])
    assert type(doubled) is Line and doubled.amount == Decimal("2.20") and line.amount == Decimal("1.10")
    assert type(pairs[0]) is Pair and pairs[0].data == b"abc"
    return doubled
    """
    run = make(body, more, effects={"double": "none"})
    assert run.drive() == "Succeeded"
    assert run.result() == {"amount": "2.20", "on": "2026-10-31"}


def test_large_values_travel_as_blobs(make: Make) -> None:
    body = f"big = await runbook.execute_activity(echo, 'x' * 100_000)\n{REVIEW}\nreturn big + '!'"
    run = make(body)
    assert run.drive() == "Succeeded"
    assert "blob" in run.entries("activityScheduled")[0]["args"]
    assert "blob" in run.entries("activityCompleted")[0]["result"]
    assert run.result() == "x" * 100_000 + "!"


def test_what_workflow_code_prints_is_not_said_again_by_a_replay(make: Make, capfd: pytest.CaptureFixture[str]) -> None:
    more = """
    import sys
    kept = sys.stdout

    @activity.defn
    def loud() -> int:
        print("said by the activity", activity.info().attempt, flush=True)
        if effect("loud") == 1:
            raise RuntimeError
        return activity.info().attempt
    """
    body = """
    print("said before")
    print("said to stderr", file=sys.stderr)
    kept.writelines(["said to what was kept\\n"])
    logging.getLogger("mine").warning("said to a log of its own")
    print("said after replay", await runbook.execute_activity(loud, retry_policy=RetryPolicy(**FAST)))
    await self.wait_for_action(payload={})
    print("said last")
    """
    run = make(body, FLAKY + textwrap.dedent(more), effects={"loud": "none"})
    assert run.drive(run.spawn) == "Succeeded"
    assert run.exits == [0, 0]
    said = "".join(capfd.readouterr())
    sayings = ["before", "to stderr", "to what was kept", "to a log of its own", "after replay 2", "last"]
    sayings += ["by the activity 1", "by the activity 2"]
    assert {saying: said.count(f"said {saying}\n") for saying in sayings} == dict.fromkeys(sayings, 1)


@pytest.mark.parametrize("dies", [False, True])
def test_the_attempt_that_code_is_told_is_its_own(make: Make, dies: bool) -> None:
    more = f"""
    @activity.defn
    def third() -> list[int]:
        seen = [activity.info().attempt, runbook.info().attempt, temporal.info().attempt]
        if effect("third") < 3:
            {"os.kill(os.getppid(), 9)" if dies else "pass"}
            raise RuntimeError
        return seen
    """
    body = f"""
    before = runbook.info().attempt
    told = await runbook.execute_activity(third, retry_policy=RetryPolicy(**FAST))
    {REVIEW}
    return [before, *told, runbook.info().attempt, temporal.info().attempt]
    """
    run = make(body, FLAKY + textwrap.dedent(more), effects={"third": "none"})
    assert run.drive() == "Succeeded"
    assert len(run.exits) == (4 if dies else 2)
    assert run.result() == [1, 3, 3, 3, 1, 1]


def test_what_goes_wrong_in_a_replay_is_said(make: Make, capfd: pytest.CaptureFixture[str]) -> None:
    run = make(f"print('said')\n{REVIEW}")
    assert run.spawn() == 0
    rewrite(run, f"print('said')\nawait asyncio.sleep(1)\n{REVIEW}")
    run.decide(verb="approve")
    assert run.drive(run.spawn) == "Blocked"
    said = "".join(capfd.readouterr())
    assert said.count("said\n") == 1
    assert "run blocked: Divergence" in said


def test_activities_have_a_context_of_their_own(make: Make) -> None:
    more = """
    leak = contextvars.ContextVar("leak", default="clean")

    @activity.defn(name="probe.sync")
    def in_worker() -> list:
        before = leak.get()
        leak.set("dirty")
        info = activity.info()
        return [before, info.activity_type, info.attempt, threading.current_thread() is threading.main_thread()]

    @activity.defn(name="probe.async")
    async def in_loop() -> list:
        before = leak.get()
        leak.set("dirty")
        await asyncio.sleep(0.001)
        return [before, activity.info().idempotency_key]
    """
    body = """
    leak.set("workflow")
    pairs = [await runbook.execute_activity(f) for f in (in_worker, in_loop, in_worker, in_loop)]
    by_name = await runbook.execute_activity("probe.sync")
    return [pairs, by_name, leak.get()]
    """
    run = make(body, more, effects={"probe.sync": "none", "probe.async": "none"})
    assert run.drive() == "Succeeded"
    pairs, by_name, after = run.result()
    sync = ["clean", "probe.sync", 1, True]
    assert pairs[0] == pairs[2] == by_name == sync
    assert (pairs[1][0], pairs[3][0], after) == ("clean", "clean", "workflow")
    keys = [pairs[1][1], pairs[3][1]]
    assert len(set(keys)) == 2
    assert all(key.startswith(run.id + "/") for key in keys)


def test_files_of_the_run(make: Make) -> None:
    more = """
    @activity.defn
    async def write() -> list:
        await storage.write(path="a/one.txt", content=b"1", content_type="text/plain")
        await storage.write_file("two.json", content=b"{}")
        await storage.write_table("rows", data=[{"n": 1}], period="2026-10")
        try:
            await storage.write(path="../x", content=b"")
        except ValueError as error:
            return [str(error), await storage.list_files("a/")]

    @activity.defn
    async def read() -> list:
        await storage.write_table("rows", data=[{"n": 2}], period="2026-10", mode="append")
        try:
            await storage.read(path="nothing")
        except FileNotFoundError:
            pass
        text = (await storage.read_file("a/one.txt")).decode()
        return [text, await storage.list_files(), await storage.read_table("rows", period="2026-10"), await storage.read_table("none")]
    """
    run = make(f"first = await runbook.execute_activity(write)\n{REVIEW}\nreturn [first, await runbook.execute_activity(read)]", more)
    assert run.drive() == "Succeeded", run.entries()[-2:]
    (error, listed), (text, names, rows, none) = run.result()
    assert "not a relative path" in error
    assert (listed, text, names) == (["a/one.txt"], "1", ["a/one.txt", "rows_2026-10.json", "two.json"])
    assert (rows, none) == ([{"n": 1}, {"n": 2}], [])
    assert [(o["name"], o["mediaType"]) for o in run.outputs()] == [
        ("a/one.txt", "text/plain"),
        ("rows_2026-10.json", "application/json"),
        ("two.json", "application/json"),
    ]


def test_capabilities_know_tenant_and_entity(make: Make) -> None:
    more = """
    @activity.defn
    def who() -> list:
        from ntro.capabilities import config
        it = config.get()
        return [it.tenant_id, it.tenant_slug, it.entity_id]
    """
    run = make("return await runbook.execute_activity(who)", more, input={"tenant_id": "t", "tenant_slug": "acme", "entity_id": "e"})
    assert run.drive() == "Succeeded"
    assert run.result() == ["t", "acme", "e"]


def test_nothing_of_the_sdks_samples_is_ever_returned(make: Make) -> None:
    body = """
    from ntro.workflow import agents, find_committed_document, task
    sample = "4-high-court-limited"
    found = [
        await self.load_previous_task(workflow_slug="nav-monthly", entity_id=sample),
        await task.previous(workflow_slug="nav-monthly", entity_id=sample),
        await self.find_committed_document(workflow_slug="mortgage-refi", entity_id=sample, source="x"),
        await find_committed_document(workflow_slug="mortgage-refi", entity_id=sample, source="x"),
        await runbook.execute_activity(task.load_previous_task_activity, task._LoadPreviousTaskInput(workflow_slug="x", entity_id=sample)),
    ]
    try:
        await agents.invoke("agent", input={})
    except WorkflowError as error:
        return [found, error.message]
    """
    run = make(body, "from ntro.workflow import task\n", effects={"load_previous_task": "none"})
    assert run.drive() == "Succeeded"
    assert run.result() == [[None, None, None, None, {"handle": None}], "agents are not available"]


def test_the_older_spelling_of_imports(make: Make) -> None:
    run = make("pass")
    (run.bundle / "templates" / "workflow.py").write_text(
        textwrap.dedent(
            """
            from datetime import timedelta
            from temporalio import activity, workflow
            from temporalio.common import RetryPolicy
            from temporalio.exceptions import ActivityError, ApplicationError

            with workflow.unsafe.imports_passed_through():
                import json

            @activity.defn(name="old")
            async def old(value):
                activity.heartbeat()
                if value is None:
                    raise ApplicationError("none", type="Nothing", non_retryable=True)
                return [value, activity.info().activity_id]

            @workflow.defn(name="Whatever", sandboxed=False)
            class ProbeWorkflow:
                def __init__(self):
                    self.seen = []

                @workflow.signal(name="seen")
                def on_seen(self, what):
                    self.seen.append(what)

                @workflow.run
                async def run(self, input):
                    await workflow.sleep(timedelta(milliseconds=5))
                    task = workflow.start_activity(old, 1, start_to_close_timeout=timedelta(seconds=5))
                    try:
                        await workflow.execute_activity(old, None, retry_policy=RetryPolicy(maximum_attempts=1))
                    except ActivityError as error:
                        kind = error.cause.type
                    workflow.logger.info("waiting")
                    await workflow.wait_condition(lambda: self.seen)
                    return [await task, kind, self.seen, workflow.info().workflow_id, workflow.now().year]
            """
        )
    )
    assert run.drive() == "Waiting"
    run.signal("seen", {"n": 1})
    assert run.drive() == "Succeeded"
    assert run.result() == [[1, "2"], "Nothing", [{"n": 1}], run.id, 2026]


def test_concurrency_is_reproducible(make: Make) -> None:
    body = """
    order = []
    async def one(name, seconds):
        await asyncio.sleep(seconds)
        order.append(name)
        return await runbook.execute_activity(echo, name)
    async with asyncio.TaskGroup() as group:
        for name in "abcdef":
            group.create_task(one(name, 0.01))
    tasks = {asyncio.create_task(one(name, 0.01)) for name in "ghijkl"}
    done, _ = await asyncio.wait(tasks)
    order.append("".join(task.result() for task in done))
    async def named(name):
        await asyncio.sleep(0.01)
        return name
    for next_one in asyncio.as_completed([named(name) for name in "mno"]):
        order.append((await next_one).upper())
    try:
        await asyncio.wait_for(asyncio.sleep(10), 0.01)
    except asyncio.TimeoutError:
        order.append("late")
    async def numbers():
        for n in range(3):
            await asyncio.sleep(0)
            yield n
    async for n in numbers():
        if n == 1:
            break
    return order
    """
    results = []
    run = make(body)
    assert run.drive() == "Succeeded"
    results.append((run.result(), run.commands()))
    for seed in (1, 2):
        run.id = f"{seed}" * 8 + "-2222-4222-8222-222222222222"
        pin = {"runbook": {"name": "probe"}, "activities": {"echo": {"effect": "none"}}}
        run.server.ask("create", name=f"n{seed}", run=run.id, input={}, requestHash=str(seed), pin=pin)
        assert run.drive(lambda seed=seed: run.spawn(PYTHONHASHSEED=str(seed))) == "Succeeded"  # type: ignore[misc]
        results.append((run.result(), run.commands()))
    assert results[0] == results[1] == results[2]


def test_a_signal_handler_that_fails_ends_the_run(make: Make) -> None:
    methods = """
    @runbook.signal
    async def stop(self) -> None:
        raise WorkflowError("stopped", type="Stopped")
    """
    run = make("await runbook.wait_condition(lambda: False)", methods=methods)
    assert run.fork() == 0
    run.signal("stop")
    assert run.drive() == "Failed"
    assert run.state()["error"] == "Stopped"


WAITS = {
    "event": "await self.event.wait()",
    "queue": "self.got = await self.queue.get()",
    "condition": "async with self.condition:\n    await self.condition.wait_for(lambda: self.got is not None)",
    "future": "self.got = await self.future",
    "a task beside": "await asyncio.gather(asyncio.create_task(self.event.wait()), self.queue.get())",
}


@pytest.mark.parametrize("wait", WAITS.values(), ids=WAITS)
def test_whatever_is_waited_for_a_signal_may_bring_it(make: Make, wait: str) -> None:
    methods = """
    def __init__(self):
        super().__init__()
        self.event, self.queue, self.condition = asyncio.Event(), asyncio.Queue(), asyncio.Condition()
        self.future, self.got = asyncio.get_running_loop().create_future(), None

    @runbook.signal
    async def put(self, value: int) -> None:
        async with self.condition:
            self.got = value
            self.condition.notify_all()
        self.queue.put_nowait(value)
        self.event.set()
        self.future.set_result(value)
    """
    run = make(f"{wait}\nreturn self.got", methods=methods)
    assert run.fork() == 0
    assert [e["waitingFor"] for e in run.entries("parked")] == [[{"kind": "signal"}]]
    assert run.drive() == "Waiting"
    run.signal("put", 7)
    assert run.drive() == "Succeeded"
    assert run.result() == 7


def abandoned(activity: str) -> str:
    """Workflow code that no longer wants this activity, and then waits for a person."""
    return f"""
    task = asyncio.create_task(runbook.execute_activity({activity}))
    await runbook.execute_activity(echo, 1)
    task.cancel()
    try:
        await task
    except asyncio.CancelledError:
        pass
    {REVIEW}
    return "done"
    """


def test_an_abandoned_activity_is_cancelled_in_the_journal(make: Make) -> None:
    more = """
    @activity.defn
    async def forever() -> None:
        await asyncio.sleep(3600)
    """
    run = make(abandoned("forever"), more)
    assert run.drive() == "Succeeded"
    assert [e["target"] for e in run.entries("activityCancelRequested")] == [1]
    # A cancelled activity is neither repeated nor asked about, although nothing declares its effect.
    assert sorted(e["target"] for e in run.entries("activityStarted")) == [0, 1]
    assert not run.entries("blocked")


def test_the_end_of_a_run_waits_for_effects_under_way(make: Make) -> None:
    more = """
    @activity.defn
    def late() -> str:
        time.sleep(0.3)
        effect("late")
        return "late"
    """
    body = """
    asyncio.create_task(runbook.execute_activity(late))
    await asyncio.sleep(0)
    await runbook.execute_activity(echo, 1)
    return "early"
    """
    run = make(body, more, effects={"late": "external"})
    assert run.drive() == "Succeeded"
    assert [e["target"] for e in run.entries("activityCompleted")] == [1, 0]
    assert run.effect_counts() == {"late": 1}


def test_an_answer_while_the_pod_lingers_goes_on_in_place(tmp_path: Path, bundle: Callable[..., Path]) -> None:
    import threading
    import time

    server = Server(tmp_path / "lingering", "--linger-ms", "20000", virtual=False)
    try:
        run = Run(
            server,
            tmp_path / "run",
            bundle(source(f"return [{REVIEW}['kind'], {REVIEW}['kind']]".replace("await", "(await", 2).replace(")['kind']", "))['kind']"))),
            {},
            {},
        )

        def answer() -> None:
            for _ in range(2):
                deadline = time.monotonic() + 20
                while time.monotonic() < deadline:
                    if any(gate["state"] == "Open" for gate in run.state()["gates"]) and run.entries("parked"):
                        run.decide(verb="approve")
                        break
                    time.sleep(0.01)

        answerer = threading.Thread(target=answer)
        answerer.start()
        assert run.fork() == 0
        answerer.join()
        assert run.result() == ["approve", "approve"]
        assert len(run.entries("attached")) == 1
    finally:
        server.close()


# -- what the bundle's own code makes of being called ------------------------------------------------------

DOCUMENT = """
from pydantic import model_validator
class Doc(BaseModel):
    total: int
    @model_validator(mode="before")
    @classmethod
    def check(cls, data):
        assert data["lines"] is not None
        return data
"""


def test_what_a_validator_cannot_take_is_a_signal_that_does_not_fit(make: Make) -> None:
    methods = "doc = None\n@runbook.signal\ndef hand_in(self, doc: Doc) -> None:\n    self.doc = doc\n"
    run = make("await runbook.wait_condition(lambda: self.doc is not None)", DOCUMENT, methods)
    assert run.drive() == "Waiting"
    run.signal("hand_in", {"total": 1})
    assert run.drive() == "Waiting"
    assert [entry["reason"] for entry in run.entries("signalIgnored")] == ["ArgumentsDoNotFit"]


RAISING = {
    "a predicate that asks a cancelled task": (
        "task = asyncio.ensure_future(asyncio.sleep(3600))\nawait runbook.execute_activity(echo, args=[1])\ntask.cancel()\n"
        "await runbook.wait_condition(lambda: task.done() and task.result())"
    ),
    "an error without words": "raise Wordless()",
    "an error with half a surrogate pair": "raise RuntimeError('\\udcff')",
}


@pytest.mark.parametrize("what", RAISING)
def test_whatever_the_code_raises_blocks_the_run_at_once(make: Make, what: str) -> None:
    more = "class Wordless(Exception):\n    def __str__(self):\n        raise ValueError('none')\n"
    run = make(RAISING[what], more)
    assert run.drive() == "Blocked"
    assert run.blocked()[0] == "CodeError"
    assert len(run.exits) == 1


def test_a_file_whose_name_is_no_unicode_is_refused(make: Make) -> None:
    more = """
    @activity.defn
    async def fetch() -> int:
        await storage.write(path="statement-\\udcff.csv", content=b"x")
        return 1
    """
    run = make("return await runbook.execute_activity(fetch)", more, effects={"fetch": "external"})
    assert run.drive() == "Failed"
    assert len(run.exits) == 1


def test_a_step_whose_name_is_no_unicode_blocks_the_run(make: Make) -> None:
    methods = "@runbook.step(name='half \\udcff', title='Half')\nasync def _half(self):\n    await asyncio.sleep(1)\n"
    run = make("await self._half()", "", methods)
    assert run.drive() == "Blocked"
    assert len(run.exits) == 1


def test_an_import_that_fails_without_words_blocks_the_run(make: Make) -> None:
    run = make("return 1", "class Wordless(Exception):\n    def __str__(self):\n        raise ValueError('none')\nraise Wordless()\n")
    assert run.drive() == "Blocked"
    assert run.blocked() == ("BundleInvalid", "importing the bundle failed: Wordless")
