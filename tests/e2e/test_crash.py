"""Kill -9 anything at any point: the run ends Succeeded and every effect happened once."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from conftest import LEASE_MS
from harness import BUNDLES, Operator, Outside, Run, Tenant, kubectl, wait_for


@pytest.fixture(scope="module")
def probe(tenant: Tenant, outside: Outside, fresh_name: Callable[[str], str]) -> Callable[..., tuple[Run, str]]:
    """Starts a run of the probe runbook with a key of its own."""

    def start(*more: str) -> tuple[Run, str]:
        key = fresh_name("k")
        flags = [f for pair in (f"url={outside.url}", f"key={key}", *more) for f in ("--set", pair)]
        tenant.workflow(BUNDLES / "probe", "probe", "--name", key, *flags).ok()
        return tenant.start(key), key

    return start


Probe = Callable[..., tuple[Run, str]]


def finish(run: Run, key: str, outside: Outside) -> None:
    run.approve()
    run.reach("Succeeded", timeout=180)
    once(key, outside)


def once(key: str, outside: Outside) -> None:
    assert sorted(outside.effects(key)) == [f"{key}/post", f"{key}/prepare"]


POINTS_BEFORE_GATE = ["run-created", "job-create-before", "job-create-after", "attach-after", "append-before-commit", "append-after-commit"]


@pytest.mark.parametrize("point", POINTS_BEFORE_GATE)
def test_operator_dies(point: str, probe: Probe, operator: Operator, outside: Outside) -> None:
    armed = operator.arm(point)
    run, key = probe()
    wait_for(f"the operator died at {point}", lambda: not armed.exists(), timeout=60)
    finish(run, key, outside)


@pytest.mark.parametrize("point", ["act-journaled", "job-create-before", "job-create-after"])
def test_operator_dies_after_an_act(point: str, probe: Probe, operator: Operator, outside: Outside) -> None:
    run, key = probe()
    run.reach("Waiting")
    wait_for("the pod is gone", lambda: not run.running_pods())
    armed = operator.arm(point)
    run.approve()
    wait_for(f"the operator died at {point}", lambda: not armed.exists(), timeout=60)
    run.reach("Succeeded", timeout=180)
    once(key, outside)


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


def test_runner_dies_mid_idempotent_activity(probe: Probe, outside: Outside, fresh_name: Callable[[str], str]) -> None:
    hold = fresh_name("h")
    run, key = probe(f"hold_prepare={hold}")
    outside.wait_reached(hold)
    run.kill()
    outside.release(hold)
    run.reach("Waiting", timeout=180)
    run.approve()
    run.reach("Succeeded", timeout=180)
    assert set(outside.effects(key)) == {f"{key}/post", f"{key}/prepare"}
    assert len(outside.effects(f"{key}/post")) == 1


def test_runner_dies_mid_external_activity_and_a_person_is_asked(
    probe: Probe, tenant: Tenant, outside: Outside, fresh_name: Callable[[str], str]
) -> None:
    hold = fresh_name("h")
    run, key = probe(f"hold_post={hold}")
    run.reach("Waiting")
    run.approve()
    outside.wait_reached(hold)
    run.kill()
    status = run.reach("Blocked")
    assert (status["blocked"]["code"], status["blocked"]["activity"]) == ("EffectUnknown", "probe.post")
    assert outside.effects(f"{key}/post") == []
    outside.release(hold)
    tenant.ntro("run", "retry", run.name, person=tenant.runner).ok()
    wait_for("it succeeded", lambda: run.phase() == "Succeeded", timeout=180)
    once(key, outside)


def test_runner_dies_while_it_lingers(probe: Probe, outside: Outside) -> None:
    run, key = probe()
    run.reach("Waiting")
    if run.processes():
        run.kill()
    finish(run, key, outside)


@pytest.mark.parametrize("kind", ["job", "pod"])
def test_somebody_deletes_job_or_pod(kind: str, probe: Probe, tenant: Tenant, outside: Outside, fresh_name: Callable[[str], str]) -> None:
    hold = fresh_name("h")
    run, key = probe(f"hold_prepare={hold}")
    outside.wait_reached(hold)
    tenant.kubectl("delete", kind, "-l", f"ntro.dev/run={run.name}", "--grace-period=0", "--force").ok()
    outside.release(hold)
    run.reach("Waiting", timeout=180)
    run.approve()
    run.reach("Succeeded", timeout=180)
    assert set(outside.effects(key)) == {f"{key}/post", f"{key}/prepare"}
    assert len(outside.effects(f"{key}/post")) == 1


@pytest.mark.parametrize("kind", ["gate", "nrun"])
def test_somebody_deletes_gate_or_run_while_it_waits(kind: str, probe: Probe, tenant: Tenant, outside: Outside) -> None:
    run, key = probe()
    run.reach("Waiting")
    before = tenant.get("gate", run.gate())
    run_id = run.status()["runId"]
    name = before["metadata"]["name"] if kind == "gate" else run.name
    uid = tenant.get(kind, name)["metadata"]["uid"]
    tenant.kubectl("delete", kind, name).ok()
    wait_for(f"the {kind} is made again", lambda: tenant.get(kind, name)["metadata"]["uid"] != uid)
    run.reach("Waiting")
    after = tenant.get("gate", run.gate())
    assert after["spec"]["gateId"] == before["spec"]["gateId"]
    assert run.status()["runId"] == run_id
    finish(run, key, outside)


def test_deleting_the_workflow_does_not_cascade_to_an_unfinished_run(probe: Probe, tenant: Tenant, outside: Outside) -> None:
    run, key = probe()
    run.reach("Waiting")
    tenant.kubectl("delete", "nwf", key).ok()
    finish(run, key, outside)


def test_no_two_jobs_of_a_run_were_ever_alive_at_once(tenant: Tenant) -> None:
    """Over everything the tests above did: segments are disjoint in time, by what the API server recorded."""
    runs: dict[str, list[tuple[str, str]]] = {}
    for job in tenant.items("job"):
        started = job["status"].get("startTime")
        ended = job["status"].get("completionTime") or next(
            (c["lastTransitionTime"] for c in job["status"].get("conditions", []) if c["type"] == "Failed"), None
        )
        if started and ended:
            runs.setdefault(job["metadata"]["labels"]["ntro.dev/run"], []).append((started, ended))
    for name, spans in runs.items():
        spans.sort()
        assert all(a[1] <= b[0] for a, b in zip(spans, spans[1:], strict=False)), (name, spans)
    assert kubectl("get", "ns", tenant.slug).code == 0
