"""Kill -9 the operator at any point: the run ends Succeeded and every effect happened once."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from kit.cluster import wait_for
from kit.operator import LEASE_MS, Operator
from kit.outside import Outside
from kit.probe import Make, Probe, finish, no_two_jobs_at_once, once
from kit.schedules import cron, next_minute, slot_of, status
from kit.tenants import Run, Tenant

pytestmark = pytest.mark.alone


POINTS_BEFORE_GATE = ["run-created", "job-create-before", "job-create-after", "attach-after", "append-before-commit", "append-after-commit"]


@pytest.mark.parametrize("point", POINTS_BEFORE_GATE)
def test_operator_dies(point: str, probe: Probe, operator: Operator, outside: Outside) -> None:
    armed = operator.arm(point)
    run, key = probe()
    wait_for(f"the operator died at {point}", lambda: not armed.exists(), timeout=60)
    finish(run, key, outside)


@pytest.mark.parametrize("point", ["user-action-journaled", "job-create-before", "job-create-after"])
def test_operator_dies_after_an_act(point: str, probe: Probe, operator: Operator, outside: Outside) -> None:
    run, key = probe()
    run.reach("Waiting")
    wait_for("the pod is gone", lambda: not run.running_pods())
    armed = operator.arm(point)
    run.approve()
    wait_for(f"the operator died at {point}", lambda: not armed.exists(), timeout=60)
    run.reach("Succeeded", timeout=180)
    once(key, outside)


def test_operator_dies_before_and_at_a_slot(tenant: Tenant, make: Make, operator: Operator, outside: Outside) -> None:
    before = operator.arm("run-precreated")
    due = next_minute(50)
    name = make(schedule=cron(due))
    run = Run(tenant, slot_of(name, due))
    wait_for("the operator died when it had made the object", lambda: not before.exists(), timeout=120)
    at_the_slot = operator.arm("run-created")
    assert datetime.now(UTC) < due, "the slot came before the operator died"
    made = run.object()["metadata"]["uid"]
    wait_for("the operator died when it had begun the run", lambda: not at_the_slot.exists(), timeout=120)
    run.reach("Succeeded", timeout=180)
    assert run.object()["metadata"]["uid"] == made
    assert outside.effects(f"{name}/") == [f"{name}/prepare"]


def test_a_slot_after_an_edit_that_nobody_was_there_to_see(tenant: Tenant, make: Make, operator: Operator, outside: Outside) -> None:
    """The edit counts from when it was made: what was due before it never starts, what was due after it does."""
    name = make(schedule="0 0 1 1 *")
    wait_for("its schedule was seen", lambda: status(tenant, name).get("scheduleObserved"))
    operator.away()
    due = next_minute(5)
    schedules = [cron(due - timedelta(minutes=3)), cron(due)]
    patch = {"spec": {"schedule": None, "schedules": schedules, "missedRunPolicy": "All"}}
    tenant.kubectl("patch", "nwf", name, "--type=merge", "-p", json.dumps(patch)).ok()
    wait_for("the slot has passed", lambda: datetime.now(UTC) > due + timedelta(seconds=2), timeout=120)
    operator.back()
    Run(tenant, slot_of(name, due)).reach("Succeeded", timeout=180)
    wait_for("its status says so", lambda: status(tenant, name).get("lastScheduleTime") == f"{due:%Y-%m-%dT%H:%M:00Z}")
    assert "missed" not in status(tenant, name)
    assert outside.effects(f"{name}/") == [f"{name}/prepare"]


def test_operator_dies_mid_activity(probe: Probe, operator: Operator, outside: Outside, fresh_name: Callable[[str], str]) -> None:
    hold = fresh_name("h")
    run, key = probe(f"hold_prepare={hold}")
    outside.wait_reached(hold)
    operator.kill()
    outside.release(hold)
    finish(run, key, outside)
    assert run.status()["attempts"] == 0


def test_operator_away_for_three_leases_mid_activity(probe: Probe, operator: Operator, outside: Outside, fresh_name: Callable[[str], str]) -> None:
    away_for(3 * LEASE_MS / 1000, probe, operator, outside, fresh_name("h"))


@pytest.mark.long
def test_operator_away_for_five_minutes_mid_activity(probe: Probe, operator: Operator, outside: Outside, fresh_name: Callable[[str], str]) -> None:
    away_for(300, probe, operator, outside, fresh_name("h"))


def away_for(seconds: float, probe: Probe, operator: Operator, outside: Outside, hold: str) -> None:
    run, key = probe(f"hold_post={hold}")
    run.reach("Waiting")
    run.approve()
    outside.wait_reached(hold)
    segment = run.status()["segment"]
    operator.away()
    try:
        time.sleep(seconds)  # the length of the outage is what is tested
        outside.release(hold)
        wait_for("the effect happened while the operator was away", lambda: outside.effects(f"{key}/post"))
    finally:
        operator.back()
    status = run.reach("Succeeded", timeout=180)
    once(key, outside)
    assert (status["segment"], status["attempts"]) == (segment, 0), "the same pod went on"


def test_an_act_made_while_the_operator_is_away(probe: Probe, tenant: Tenant, operator: Operator, outside: Outside) -> None:
    run, key = probe()
    run.reach("Waiting")
    gate = run.gate()
    operator.away()
    try:
        made = tenant.ntro("gate", "approve", gate, "--timeout", "3s", person=tenant.approver)
        assert made.code == 124, made
    finally:
        operator.back()
    run.reach("Succeeded", timeout=180)
    once(key, outside)


def test_runner_dies_before_attach(probe: Probe, operator: Operator, outside: Outside, tenant: Tenant) -> None:
    operator.arm("attach-before")
    run, key = probe()
    run.kill()
    finish(run, key, outside)


def test_no_two_jobs_of_a_run_were_ever_alive_at_once(tenant: Tenant) -> None:
    """Over everything the tests above did."""
    no_two_jobs_at_once(tenant)
