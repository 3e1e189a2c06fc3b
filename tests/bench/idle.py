"""What an operator costs that has nothing to do: N Workflows on schedules that are not due, each with four finished runs.

Its memory, its writes to the API server in a minute (from the audit log, Leases excepted), and the time from its death by
kill -9 until every schedule is armed again. Needs the cluster of tests/cluster.

    idle.py N
"""

from __future__ import annotations

import os
import re
import signal
import ssl
import sys
import time
import urllib.request
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from kit.api import Cluster, say
from kit.audit import operator_writes
from kit.charts import install
from kit.cluster import kubectl
from kit.figures import print_figure
from kit.load import prepare_tenant, queued_workflow
from kit.objects import resource
from kit.operator import operator_pid
from kit.people import OPERATOR, SYSTEM
from kit.portforward import metrics_token

RUNS = 4
API = "/apis/ntro.dev/v1alpha1/namespaces"


def memory() -> float:
    status = Path(f"/proc/{operator_pid()}/status").read_text()
    kib = re.search(r"VmRSS:\s+(\d+)", status)
    return round(int(kib[1]) / 1024, 1) if kib else 0.0


@cache
def scraper() -> Callable[[], str]:
    """Reads the operator's metrics from its pod. Made once: a process for each scrape would be half of what is measured."""
    token = metrics_token("--duration", "3h")
    address = kubectl("-n", SYSTEM, "get", "pod", "ntro-0", "-o", "jsonpath={.status.podIP}").ok().out
    request = urllib.request.Request(f"https://{address}:8444/metrics", headers={"Authorization": f"Bearer {token}"})
    # The certificate names the Service.
    tls = ssl._create_unverified_context()

    def scrape() -> str:
        with urllib.request.urlopen(request, context=tls, timeout=10) as answer:
            return str(answer.read().decode())

    return scrape


def metric(name: str) -> float:
    """A figure of the operator's own; 0 while it does not answer."""
    try:
        text = scraper()()
    except OSError:
        return 0.0
    found = re.search(rf"^{name} ([0-9.e+-]+)$", text, re.M)
    return float(found[1]) if found else 0.0


def finished(namespace: str, wf: dict[str, Any], n: int) -> list[dict[str, Any]]:
    """A run of last year that has ended, as the operator makes it, writes its status and leaves it."""
    name, uid = wf["metadata"]["name"], wf["metadata"]["uid"]
    slot = f"2025-{n + 1:02}-05T08:00:00Z"
    request = {
        "workflowRef": {"name": name},
        "context": {"period": f"2025-{n + 1:02}"},
        "trigger": {"kind": "Schedule", "initiator": OPERATOR.name, "scheduledTime": slot},
    }
    run = resource("WorkflowRun", namespace, f"{name}-2025{n + 1:02}05t0800z", {"request": request})
    run["metadata"]["labels"] = {"app.kubernetes.io/managed-by": "ntro", "ntro.dev/workflow": name, "ntro.dev/workflow-uid": uid}
    digest = "hmac-sha256:" + "a" * 64
    status = {
        "observedGeneration": 1,
        "runId": f"00000000-0000-4000-8000-{abs(hash((name, n))) % 16**12:012x}",
        "phase": "Succeeded",
        "segment": 2,
        "attempts": 0,
        "steps": [{"id": s, "title": s.title(), "status": "completed"} for s in ("ingest", "reconcile", "review", "post")],
        "journal": {"length": 42, "head": digest},
        "outputs": [{"name": f"{o}-pack.xlsx", "size": 48213, "digest": digest} for o in ("nav", "journal")],
        "startTime": slot,
        "completionTime": slot.replace("08:00", "09:30"),
        "conditions": [
            {
                "type": kind,
                "status": "True",
                "reason": "Succeeded",
                "message": "run succeeded",
                "lastTransitionTime": slot,
                "observedGeneration": 1,
            }
            for kind in ("Ready", "Succeeded")
        ],
    }
    owner = {
        "apiVersion": "ntro.dev/v1alpha1",
        "kind": "Workflow",
        "name": name,
        "uid": uid,
        "controller": True,
        "blockOwnerDeletion": False,
    }
    return [run, {"status": status}, {"metadata": {"ownerReferences": [owner], "managedFields": [{}]}}]


def fill(cluster: Cluster, namespace: str, runbook: str, n: int) -> None:
    path = f"{API}/{namespace}"
    patch = partial(cluster.expect, "PATCH", as_user=OPERATOR.name, kind="application/merge-patch+json")

    def one(i: int) -> None:
        # Spread over a year that has begun: none is due during the measurement.
        month = time.gmtime().tm_mon % 12 + 1
        wf = queued_workflow(namespace, f"w-{i:05}", runbook, f"{i % 60} {i // 60 % 24} {i % 28 + 1} {month} *")
        made = cluster.expect("POST", f"{path}/workflows", wf)
        for k in range(RUNS):
            run, ended, handed_over = finished(namespace, made, k)
            itself = f"{path}/workflowruns/{run['metadata']['name']}"
            cluster.expect("POST", f"{path}/workflowruns", run, as_user=OPERATOR.name)
            patch(f"{itself}/status", ended)
            patch(itself, handed_over)

    cluster.all(f"Workflows with {RUNS} finished runs each", [partial(one, i) for i in range(n)])


def quiet(n: int) -> None:
    """Waits until the operator has reconciled everything and writes nothing more."""
    until, still, last = time.monotonic() + 1200, 0, -1
    while still < 3:
        if time.monotonic() > until:
            raise RuntimeError("the operator does not come to rest")
        time.sleep(10)
        writes = sum(1 for _ in operator_writes())
        still = still + 1 if writes == last and metric("ntro_schedules_armed") >= n else 0
        last = writes


def restart(n: int) -> float:
    """Kills the operator; seconds from its next start until every schedule is armed."""
    before = operator_pid()
    os.kill(before, signal.SIGKILL)
    until, started = time.monotonic() + 300, 0.0
    while not started or metric("ntro_schedules_armed") < n:
        if time.monotonic() > until:
            raise RuntimeError("not all schedules were armed again within five minutes")
        if not started and operator_pid() not in (0, before):
            started = time.monotonic()
        time.sleep(0.1)
    return round(time.monotonic() - started, 1)


def measure(n: int) -> dict[str, Any]:
    quiet(n)
    grown = memory()
    began = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime())
    time.sleep(60)
    writes = [f"{e['verb']} {e['objectRef']['resource']}/{e['objectRef'].get('name')}" for e in operator_writes(began)]
    if writes:
        say(f"written: {writes[:10]}")
    armed = restart(n)
    quiet(n)
    return {
        "rssMiBBeforeRestart": grown,
        "rssMiB": memory(),
        "writesPerMinute": len(writes),
        "restartToArmedSeconds": armed,
    }


def main() -> None:
    n = int(sys.argv[1])
    cluster = Cluster()
    install()
    name = f"idle-{int(time.time())}"
    runbook = prepare_tenant(name)
    # Without the operator, which would execute runs that have no status yet.
    kubectl("-n", SYSTEM, "scale", "statefulset/ntro", "--replicas=0").ok()
    kubectl("-n", SYSTEM, "wait", "--for=delete", "pod/ntro-0", "--timeout=60s").ok()
    fill(cluster, name, runbook, n)
    kubectl("-n", SYSTEM, "scale", "statefulset/ntro", "--replicas=1").ok()
    kubectl("-n", SYSTEM, "rollout", "status", "statefulset/ntro", "--timeout=300s", timeout=320).ok()
    ours = measure(n)
    kubectl("delete", "namespace", name, "--wait=false").ok()
    for figure, value in ours.items():
        print_figure("idle", f"{n} Workflows, {n * RUNS} finished runs: {figure}", value)


if __name__ == "__main__":
    main()
