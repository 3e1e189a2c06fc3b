"""Nothing is written while nothing happens, and little when something does."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from kit.audit import operator_writes
from kit.cluster import BUNDLES, wait_for
from kit.outside import Outside
from kit.probe import config, install
from kit.tenants import Tenant

pytestmark = pytest.mark.alone


def test_nothing_is_written_for_a_while(tenant: Tenant, outside: Outside, fresh_name: Callable[[str], str]) -> None:
    """Longer than anything that is written late: what is coalesced, what is published now and then."""
    idle(45, tenant, outside, fresh_name)


@pytest.mark.long
def test_two_idle_minutes(tenant: Tenant, outside: Outside, fresh_name: Callable[[str], str]) -> None:
    idle(120, tenant, outside, fresh_name)


def idle(seconds: float, tenant: Tenant, outside: Outside, fresh_name: Callable[[str], str]) -> None:
    name = fresh_name("idle")
    tenant.workflow(BUNDLES / "probe", "probe", "--name", name, "--schedule", "0 8 5 * *", *config(outside, name)).ok()
    run = tenant.start(name)
    run.reach("Waiting")
    wait_for("no pod runs", lambda: not run.running_pods())
    run.approve()
    run.reach("Succeeded")
    waiting = tenant.start(name)
    waiting.reach("Waiting")
    wait_for("no pod runs", lambda: not waiting.running_pods())
    last_write = quiet_since(20)
    time.sleep(seconds)  # the time is what is tested
    assert [w for w in operator_writes(last_write) if w["requestReceivedTimestamp"] > last_write] == []


def test_a_run_with_a_gate_costs_few_writes(tenant: Tenant, outside: Outside, fresh_name: Callable[[str], str]) -> None:
    """At most 12 to the run, its gate, act and Jobs, at most 2 to its Workflow's status; deletes and Events not counted."""
    name = fresh_name("few")
    install(tenant, outside, name)
    quiet_since(5)
    began = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime())
    run = tenant.start(name)
    run.reach("Waiting")
    run.approve()
    run.reach("Succeeded")
    quiet_since(15)
    done = [w for w in operator_writes(began) if w["verb"] != "delete"]
    about = [w["objectRef"] for w in done if w["objectRef"].get("namespace") == tenant.slug]
    ours = [f"{o['resource']}/{o.get('subresource', '')} {o['name']}" for o in about if str(o.get("name", "")).startswith(run.name)]
    assert len(ours) <= 12, ours
    workflow = [o for o in about if o["resource"] == "workflows" and o.get("name") == name]
    assert len(workflow) <= 2, workflow


def quiet_since(seconds: float) -> str:
    """Waits until nothing was written for so long: projections of what has just happened are through."""

    def last() -> str | None:
        stamp = max((w["requestReceivedTimestamp"] for w in operator_writes()), default="")
        limit = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(time.time() - seconds))
        return stamp if stamp and stamp < limit else None

    return wait_for("the operator has nothing more to write", last, timeout=180)
