"""The pure parts of the soak: its plan, its people, and a checker that finds what it is there for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from faults.people import answer_at
from faults.plan import KINDS, plan
from faults.verdict import Facts, verdict
from kit.objects import GATE_ID, Object

SLOT = "2026-10-31T08:01:00Z"


def run(name: str, phase: str, slot: str | None = None, **status: Any) -> Object:
    trigger = {"kind": "Schedule", "scheduledTime": slot} if slot else {"kind": "Manual"}
    request = {"workflowRef": {"name": "tick" if slot else "due"}, "trigger": trigger}
    return {"metadata": {"name": name}, "spec": {"request": request}, "status": {"phase": phase, **status}}


def action(made: str = "2026-10-31T08:00:25Z", outcome: str | None = "Accepted", reason: str = "Accepted") -> Object:
    spec = {"verb": "approve", "run": "due-1", "gate": {"gateId": GATE_ID}}
    status = {"outcome": outcome, "reason": reason} if outcome else {}
    return {"metadata": {"name": "a", "uid": "uid-a", "creationTimestamp": made}, "spec": spec, "status": status}


def good() -> Facts:
    entries = [
        {"type": "activityScheduled", "command": 1, "effect": "external"},
        {"type": "gateDecided", "target": 0, "userAction": "uid-a"},
        {"type": "activityStarted", "target": 1, "attempt": 1},
        {"type": "runCompleted"},
    ]
    job = {"metadata": {"labels": {"ntro.dev/run": "due-1"}}, "status": {"startTime": "08:00:00", "completionTime": "08:00:10"}}
    next_job = {**job, "status": {"startTime": "08:00:10", "completionTime": "08:00:20"}}
    return Facts(
        runs=[run("due-1", "Succeeded"), run("tick-1", "Succeeded", SLOT), run("due-2", "Blocked", blocked={"code": "EffectUnknown"})],
        gates=[{"spec": {"gateId": GATE_ID, "due": "2026-10-31T08:00:25Z"}}],
        actions=[action()],
        workflows=[{"metadata": {"name": "tick"}, "status": {}}],
        jobs=[job, next_job],
        journals={"1": entries, "2": [], "3": []},
        names={"1": "due-1", "2": "tick-1", "3": "due-2"},
        started=["due-1", "due-2"],
        slots={"tick": [SLOT]},
        effects=["1/prepare", "1/prepare", "1/post"],
    )


def changed(**parts: Any) -> Callable[[Facts], Facts]:
    return lambda facts: replace(facts, **parts)


def sleeps(facts: Facts) -> Facts:
    """A run whose timer is due at 08:11."""
    timer = {"type": "timerStarted", "command": 2, "firesAt": "2026-10-31T08:11:00.000000Z"}
    return more(replace(facts, runs=[*facts.runs[1:], run("due-1", "Waiting")]), timer)


def more(facts: Facts, entry: Object) -> Facts:
    return replace(facts, journals={**facts.journals, "1": [*facts.journals["1"], entry]})


BAD: list[tuple[str, Callable[[Facts], Facts]]] = [
    ("lost", changed(started=["due-1", "due-2", "due-3"])),
    ("lost", changed(actions=[action(outcome=None)])),
    ("lost", lambda facts: replace(facts, journals={**facts.journals, "1": []})),
    ("lost", changed(slots={"tick": [SLOT, "2026-10-31T08:02:00Z"]})),
    ("doubled", lambda facts: replace(facts, runs=[*facts.runs, run("tick-2", "Succeeded", SLOT)])),
    ("doubled", changed(names={"1": "due-1", "2": "tick-1", "3": "due-1", "4": "due-2"})),
    ("doubled", lambda facts: more(facts, {"type": "activityStarted", "target": 1, "attempt": 2})),
    ("doubled", lambda facts: more(facts, {"type": "gateDecided", "target": 0, "userAction": "x"})),
    ("doubled", changed(effects=["1/post", "1/post"])),
    ("doubled", lambda facts: replace(facts, jobs=[*facts.jobs, facts.jobs[0]])),
    ("stuck", lambda facts: replace(facts, runs=[*facts.runs[1:], run("due-1", "Waiting")])),
    ("stuck", lambda facts: sleeps(replace(facts, read_at="2026-10-31T08:20:00Z"))),
    ("stuck", lambda facts: replace(facts, runs=[*facts.runs[1:], run("due-1", "Blocked", blocked={"code": "Divergence"})])),
    ("refusedInTime", changed(actions=[action(outcome="Refused", reason="Expired")], journals={"1": [{"type": "x", "userAction": "uid-a"}]})),
    ("expiredEarly", changed(early=["gate"])),
]


def test_all_is_well() -> None:
    assert not any(verdict(good()).values()), verdict(good())


def test_an_answer_that_came_late_may_be_refused() -> None:
    late = action("2026-10-31T08:00:26Z", "Refused", "Expired")
    assert verdict(replace(good(), actions=[late]))["refusedInTime"] == []


def test_a_run_whose_timer_is_not_due_yet_is_not_stuck() -> None:
    assert verdict(sleeps(replace(good(), read_at="2026-10-31T08:10:00Z")))["stuck"] == []


@pytest.mark.parametrize(("what", "spoil"), BAD)
def test_the_checker_finds(what: str, spoil: Callable[[Facts], Facts]) -> None:
    found = verdict(spoil(good()))
    assert found[what], found


def test_the_plan_is_a_function_of_the_seed_and_holds_every_kind() -> None:
    assert plan(7, 30) == plan(7, 30) != plan(8, 30)
    assert {fault.kind for fault in plan(7, 3)} == set(KINDS)
    for kind in KINDS:
        mine = [fault for fault in plan(7, 30) if fault.kind == kind]
        assert all(a.end < b.at for a, b in zip(mine, mine[1:], strict=False)), "none overlaps itself"
        assert all(fault.end <= 30 * 60 for fault in mine)


def test_people_answer_around_the_deadline() -> None:
    made, due = "2026-10-31T08:00:00Z", "2026-10-31T08:00:25Z"
    gates = [{"metadata": {"creationTimestamp": made}, "spec": {"runId": str(n), "due": due}} for n in range(200)]
    manners = {manner: [at - 1793433600 for m, at in (answer_at(gate, 1) for gate in gates) if m == manner] for manner in ("soon", "near", "silent")}
    assert min(manners["near"]) < 25 < max(manners["near"]) <= 27
    assert all(1 <= at <= 20 for at in manners["soon"]) and set(manners["silent"]) == {float("inf")}
