"""Kill -9 the runner, or delete what belongs to a run: it ends Succeeded and every effect happened once."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from kit.cluster import wait_for
from kit.outside import Outside
from kit.probe import Probe, finish, finish_repeated, no_two_jobs_at_once, once
from kit.tenants import Tenant


def test_runner_dies_mid_idempotent_activity(probe: Probe, outside: Outside, fresh_name: Callable[[str], str]) -> None:
    hold = fresh_name("h")
    run, key = probe(f"hold_prepare={hold}")
    outside.wait_reached(hold)
    run.kill()
    outside.release(hold)
    finish_repeated(run, key, outside)


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
    finish_repeated(run, key, outside)


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
    """Over everything the tests above did."""
    no_two_jobs_at_once(tenant)
