"""Kueue before the runs of a tenant: one at a time by its quota, pushed aside by what is more urgent, held for too long."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from kit.cluster import ROOT, call, kubectl, wait_for
from kit.outside import Outside
from kit.probe import Make
from kit.tenants import Run, Tenant
from kit.writes import apply

QUEUE = "month-end"
# What a run asks for if its Workflow does not say: enough quota for one.
QUOTA = {"cpu": "100m", "memory": "256Mi"}


def kueue(kind: str, name: str, **more: Any) -> dict[str, Any]:
    return {"apiVersion": "kueue.x-k8s.io/v1beta1", "kind": kind, "metadata": {"name": name}, **more}


@pytest.fixture(scope="module")
def queue(tenant: Tenant) -> Iterator[dict[str, Any]]:
    """A local queue of the tenant, as an administrator sets it up; gives what a Workflow says to use it."""
    call(ROOT / "tests/cluster/cluster.sh", "kueue", "up", timeout=300).ok()
    kubectl("label", "namespace", tenant.slug, "ntro.test/queues=kueue").ok()
    quotas = [{"name": name, "nominalQuota": amount} for name, amount in QUOTA.items()]
    queue = {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": tenant.slug}},
        "preemption": {"withinClusterQueue": "LowerPriority"},
        "resourceGroups": [{"coveredResources": [*QUOTA], "flavors": [{"name": tenant.slug, "resources": quotas}]}],
    }
    apply(
        kueue("ResourceFlavor", tenant.slug),
        kueue("ClusterQueue", tenant.slug, spec=queue),
        kueue("WorkloadPriorityClass", f"{tenant.slug}-urgent", value=1000, description="a deadline of today"),
    )
    local = kueue("LocalQueue", QUEUE, spec={"clusterQueue": tenant.slug})
    tenant.kubectl("apply", "--server-side", "-f", "-", send=local).ok()
    wait_for("the queue is open", lambda: active(kubectl("get", "clusterqueue", tenant.slug, "-o", "json").json))
    yield {"runTemplate": {"labels": {"kueue.x-k8s.io/queue-name": QUEUE}}}
    kubectl("delete", "--wait=false", f"clusterqueue/{tenant.slug}", f"resourceflavor/{tenant.slug}", f"workloadpriorityclass/{tenant.slug}-urgent")


def active(cluster_queue: dict[str, Any]) -> bool:
    return any(c["type"] == "Active" and c["status"] == "True" for c in cluster_queue["status"]["conditions"])


def urgent(tenant: Tenant, queue: dict[str, Any]) -> dict[str, Any]:
    labels = {**queue["runTemplate"]["labels"], "kueue.x-k8s.io/priority-class": f"{tenant.slug}-urgent"}
    return {"runTemplate": {"labels": labels}}


def workloads(tenant: Tenant, run: Run) -> list[str]:
    """Names of what Kueue keeps about the run's Jobs that have not ended."""
    found = tenant.items("workloads.kueue.x-k8s.io")
    open_ones = [w for w in found if not any(c["type"] == "Finished" for c in w.get("status", {}).get("conditions", []))]
    return [w["metadata"]["name"] for w in open_ones if w["metadata"]["ownerReferences"][0]["name"].startswith(run.name)]


def held(outside: Outside, key: str) -> dict[str, Any]:
    """A configuration whose first step blocks until the test releases it."""
    return {"config": {"url": outside.url, "key": key, "hold_prepare": key, "gate": False}}


def test_a_run_at_its_gate_takes_no_room_in_the_queue(tenant: Tenant, make: Make, queue: dict[str, Any], outside: Outside) -> None:
    first = tenant.start(make(gate=True, **queue))
    first.reach("Waiting")
    wait_for("its quota is free", lambda: not workloads(tenant, first))
    key = f"quota-{tenant.slug}"
    second = tenant.start(make(**held(outside, key), **queue))
    outside.wait_reached(key)
    # The approved run now waits for the quota that the second holds.
    first.approve().ok()
    wait_for("it is Queued", lambda: first.phase() == "Queued")
    assert first.running_pods() == []
    outside.release(key)
    second.reach("Succeeded")
    first.reach("Succeeded")
    assert first.status()["attempts"] == second.status()["attempts"] == 0


def test_a_run_pushed_aside_is_queued_anew_and_goes_on(tenant: Tenant, make: Make, queue: dict[str, Any], outside: Outside) -> None:
    low, high = f"low-{tenant.slug}", f"high-{tenant.slug}"
    aside = tenant.start(make(**held(outside, low), **queue))
    outside.wait_reached(low)
    wait_for("it is Running", lambda: aside.phase() == "Running")
    job = aside.jobs()[0]["metadata"]["name"]
    ahead = tenant.start(make(**held(outside, high), **urgent(tenant, queue)))
    outside.wait_reached(high)
    wait_for("the other is Queued", lambda: aside.phase() == "Queued")
    assert aside.running_pods() == []
    again = wait_for("with a Job of its own", lambda: [j["metadata"]["name"] for j in aside.jobs() if j["metadata"]["name"] != job])
    assert len(again) == 1 and tenant.get("job", again[0])["spec"]["suspend"] is True
    outside.release(low)
    outside.release(high)
    ahead.reach("Succeeded")
    aside.reach("Succeeded")
    assert aside.status()["attempts"] == 0
    assert set(outside.effects(f"{low}/")) == {f"{low}/prepare"}
    assert outside.effects(f"{high}/") == [f"{high}/prepare"]


def test_a_run_queued_for_too_long_is_blocked_and_goes_on_after_a_retry(tenant: Tenant, make: Make, queue: dict[str, Any]) -> None:
    def stop(policy: str) -> None:
        kubectl("patch", "clusterqueue", tenant.slug, "--type=merge", "-p", json.dumps({"spec": {"stopPolicy": policy}})).ok()

    stop("Hold")
    run = tenant.start(make(queueDeadlineSeconds=10, **queue))
    wait_for("it is Queued", lambda: run.phase() == "Queued")
    assert run.reach("Blocked")["blocked"]["code"] == "QueueTimeout"
    wait_for("nothing of it is left in the queue", lambda: not run.jobs() and not run.running_pods() and not workloads(tenant, run))
    stop("None")
    tenant.ntro("run", "retry", run.name, person=tenant.runner).ok()
    run.reach("Succeeded")
