"""A run that is cancelled: workflow code is told once, where it waits, and has its grace to undo what it has done."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness import Run
from journal_server import Json, Server
from segment_process import KILLED
from test_workflows import POSTING, REVIEW
from test_workflows import make as make

Make = Callable[..., Run]

UNDO = """
@activity.defn
def undo() -> int:
    return effect("undo")

@activity.defn
async def hang() -> None:
    effect("hang")
    await asyncio.sleep(60)
"""
EFFECTS = {"undo": "external", "hang": "none", "post": "external"}
COMPENSATING = """
    await runbook.execute_activity(post, args=[0])
    try:
        WAIT
    except asyncio.CancelledError:
        await runbook.execute_activity(undo)
        raise
    return "done"
"""
GATE = COMPENSATING.replace("WAIT", REVIEW)


@pytest.fixture
def server(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Server]:
    """With a grace that a busy machine does not use up, unless the test says so many milliseconds."""
    it = Server(tmp_path / "server", "--linger-ms", "0", "--cancel-grace-ms", str(getattr(request, "param", 120_000)))
    yield it
    it.close()


def cancel_when(started: str) -> Callable[[Run], None]:
    """Somebody cancels once that activity has begun."""

    def look(run: Run) -> None:
        state = run.state()
        if not state["cancelRequested"] and any(it["activity"] == started and it["attempt"] for it in state["activities"]):
            run.server.ask("cancel", run=run.id)

    return look


def cancel_parked(run: Run) -> None:
    run.answer = lambda _gate: None
    assert run.drive() == "Waiting"
    assert run.server.ask("cancel", run=run.id)["outcome"] == "Applied"


def kinds(run: Run, *kinds: str) -> list[str]:
    return [entry["type"] for entry in run.entries(*kinds)]


def test_code_is_told_where_it_waits_and_undoes_what_it_has_done(make: Make) -> None:
    body = COMPENSATING.replace("WAIT", "await runbook.execute_activity(hang)")
    run = make(body, POSTING + UNDO, effects=EFFECTS, meanwhile=cancel_when("hang"))
    assert run.drive() == "Cancelled"
    assert run.effect_counts() == {"post": 1, "posted": 1, "hang": 1, "undo": 1}
    said = ["cancelRequested", "activityCancelRequested", "activityCompleted", "released", "runCancelled"]
    assert kinds(run, *said) == ["activityCompleted", *said]
    assert run.entries("released")[-1]["cause"] == "cancelled"


def test_a_run_that_waits_is_told_only_if_its_runbook_asks_for_it(make: Make) -> None:
    run = make(GATE, POSTING + UNDO, effects=EFFECTS)
    cancel_parked(run)
    assert run.drive() == "Cancelled"
    assert run.effect_counts() == {"post": 1, "posted": 1}
    assert len(run.entries("attached")) == 1


def test_a_run_that_waits_gets_another_segment_in_which_it_is_told(make: Make) -> None:
    run = make(GATE, POSTING + UNDO, effects=EFFECTS, handles_cancel=True)
    cancel_parked(run)
    # Its time runs from when a pod attaches.
    run.server.ask("advance", ms=3_600_000)
    assert run.drive() == "Cancelled"
    assert run.effect_counts() == {"post": 1, "posted": 1, "undo": 1}
    assert len(run.entries("attached")) == 2
    assert run.entries("gateClosed")[0]["cause"] == "abandoned"


@pytest.mark.parametrize("kill_at", range(1, 36, 3))
def test_a_segment_that_dies_in_the_middle_is_made_up_for(make: Make, kill_at: int) -> None:
    run = make(GATE, POSTING + UNDO, effects={**EFFECTS, "undo": "idempotent"}, handles_cancel=True)
    cancel_parked(run)
    passed = len(run.points.read_text().splitlines())
    run.kill_at = passed + kill_at
    assert run.drive() == "Cancelled"
    points = run.points.read_text().splitlines()
    assert KILLED in run.exits or len(points) < run.kill_at
    assert run.effect_counts()["undo"] <= 2 and run.effect_counts()["posted"] == 1
    assert kinds(run, "runCancelled") == ["runCancelled"]


OUTCOMES = {
    "a result": ("return 7", "Succeeded", None),
    "a failure": ("raise ApplicationError('no way back')", "Failed", None),
    "a defect": ("return 1 / 0", "Cancelled", "CodeError"),
    "a failure that the cancellation caused": ("raise ActivityError() from temporal_cancelled()", "Cancelled", None),
}


@pytest.mark.parametrize("end", OUTCOMES)
def test_the_code_says_how_a_cancelled_run_ends(make: Make, end: str) -> None:
    last, phase, code = OUTCOMES[end]
    body = f"try:\n    {REVIEW}\nexcept asyncio.CancelledError:\n    {last}"
    more = "def temporal_cancelled():\n    from temporalio.exceptions import CancelledError\n    return CancelledError()\n"
    run = make(body, more, handles_cancel=True)
    cancel_parked(run)
    assert run.drive() == phase
    assert [entry["code"] for entry in run.entries("blocked")] == ([code] if code else [])


WAITS = [(REVIEW, 120_000), ("await asyncio.Event().wait()", 120_000), ("await asyncio.sleep(3600)", 500)]


@pytest.mark.parametrize(("again", "server"), WAITS, indirect=["server"])
def test_who_waits_on_after_it_was_told_is_ended(make: Make, again: str) -> None:
    run = make(f"try:\n    {REVIEW}\nexcept asyncio.CancelledError:\n    {again}", handles_cancel=True)
    cancel_parked(run)
    assert run.drive() == "Cancelled"
    assert run.entries("released")[-1]["cause"] == "cancelled"
    assert len(run.entries("attached")) == 2


def test_an_undo_may_take_its_time(make: Make) -> None:
    undo = "await asyncio.sleep(0.2)\n    await runbook.execute_activity(undo)\n    raise"
    body = f"try:\n    {REVIEW}\nexcept asyncio.CancelledError:\n    {undo}"
    run = make(body, UNDO, effects=EFFECTS, handles_cancel=True, meanwhile=lambda run: run.server.ask("advance", ms=20))
    cancel_parked(run)
    assert run.drive() == "Cancelled"
    assert run.effect_counts() == {"undo": 1}


def test_what_was_wanted_before_the_code_was_told_does_not_begin(make: Make) -> None:
    run = make(f"{REVIEW}\nawait runbook.execute_activity(post, args=[0])", POSTING, effects=EFFECTS, handles_cancel=True)
    run.answer = lambda _gate: None
    assert run.drive() == "Waiting"
    gate: Json = run.state()["gates"][0]
    assert run.decide(gate=gate["id"], revision=gate["revision"], verb="approve", actor="alice")["outcome"] == "Applied"
    assert run.server.ask("cancel", run=run.id)["outcome"] == "Applied"
    assert run.drive() == "Cancelled"
    assert kinds(run, "activityScheduled", "activityStarted", "activityCancelRequested") == ["activityScheduled", "activityCancelRequested"]
    assert run.effect_counts() == {}


def test_an_effect_under_way_is_not_cut_short_and_its_end_is_recorded(make: Make) -> None:
    run = make("await runbook.execute_activity(post, args=[0.3])", POSTING, effects=EFFECTS, meanwhile=cancel_when("post"))
    assert run.drive() == "Cancelled"
    assert run.effect_counts() == {"post": 1, "posted": 1}
    assert kinds(run, "activityCompleted", "runCancelled") == ["activityCompleted", "runCancelled"]


def test_a_cancellation_that_the_pod_does_not_know_of_yet_lets_nothing_begin(make: Make) -> None:
    def look(run: Run) -> None:
        state = run.state()
        if state["holder"] is not None and not state["cancelRequested"]:
            run.server.ask("cancel", run=run.id)

    run = make("await runbook.execute_activity(post, args=[0])", POSTING + "\ntime.sleep(0.7)\n", effects=EFFECTS, meanwhile=look)
    assert run.drive() == "Cancelled"
    assert run.effect_counts() == {}
    assert kinds(run, "activityStarted") == []


def test_what_other_tasks_wanted_does_not_begin_either(make: Make) -> None:
    methods = "@runbook.signal\nasync def pay(self) -> None:\n    await runbook.execute_activity(post, args=[0])\n"
    body = f"try:\n    {REVIEW}\nexcept asyncio.CancelledError:\n    await runbook.execute_activity(undo)\n    raise"
    run = make(body, POSTING + UNDO, methods, effects=EFFECTS, handles_cancel=True)
    run.answer = lambda _: None
    assert run.drive() == "Waiting"
    run.signal("pay")
    run.server.ask("cancel", run=run.id)
    assert run.drive() == "Cancelled"
    assert run.effect_counts() == {"undo": 1}


def test_the_undo_comes_after_what_it_undoes(make: Make) -> None:
    undo = "except asyncio.CancelledError:\n    await runbook.execute_activity(undo)\n    raise"
    body = f"try:\n    await runbook.execute_activity(post, args=[0.3])\n{undo}"
    run = make(body, POSTING + UNDO, effects=EFFECTS, meanwhile=cancel_when("post"))
    assert run.drive() == "Cancelled"
    assert run.effects.read_text().split() == ["post", "posted", "undo"]
    assert kinds(run, "activityCancelRequested") == []


def test_a_failure_after_the_cancellation_is_recorded(make: Make) -> None:
    more = "@activity.defn\ndef pay() -> int:\n    time.sleep(0.3)\n    raise ApplicationError('no', non_retryable=True)\n"
    run = make("await runbook.execute_activity(pay)", more, effects={"pay": "external"}, meanwhile=cancel_when("pay"))
    assert run.drive() == "Cancelled"
    assert len(run.entries("activityFailed")) == 1
