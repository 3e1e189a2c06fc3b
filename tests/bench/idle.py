"""What an operator costs that has nothing to do: N Workflows on schedules that are not due, each with four finished runs.

Its memory, its writes to the API server in a minute (from the audit log, Leases excepted), and the time from its death by
kill -9 until every schedule is waited for again. Needs the cluster of tests/cluster.

    idle.py N
"""

from __future__ import annotations

import json
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

from api import OPERATOR, Cluster, install, kubectl, operator_pid, say, tenant, workflow

RUNS = 4
API = "/apis/ntro.dev/v1alpha1/namespaces"


def memory() -> float:
    status = Path(f"/proc/{operator_pid()}/status").read_text()
    kib = re.search(r"VmRSS:\s+(\d+)", status)
    return round(int(kib[1]) / 1024, 1) if kib else 0.0


@cache
def scraper() -> Callable[[], str]:
    """Reads the operator's metrics from its pod. Made once: a process for each look would be half of what is measured."""
    token = kubectl("-n", "ntro-system", "create", "token", "default", "--audience", "ntro-metrics", "--duration", "3h").strip()
    address = kubectl("-n", "ntro-system", "get", "pod", "ntro-0", "-o", "jsonpath={.status.podIP}")
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
    run = {
        "apiVersion": "ntro.dev/v1alpha1",
        "kind": "WorkflowRun",
        "metadata": {
            "name": f"{name}-2025{n + 1:02}05t0800z",
            "namespace": namespace,
            "labels": {"app.kubernetes.io/managed-by": "ntro", "ntro.dev/workflow": name, "ntro.dev/workflow-uid": uid},
        },
        "spec": {
            "request": {
                "workflowRef": {"name": name},
                "context": {"period": f"2025-{n + 1:02}"},
                "trigger": {"kind": "Schedule", "initiator": OPERATOR, "scheduledTime": slot},
            }
        },
    }
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
            {"type": kind, "status": "True", "reason": "Succeeded", "message": "run succeeded", "lastTransitionTime": slot, "observedGeneration": 1}
            for kind in ("Ready", "Succeeded")
        ],
    }
    owner = {"apiVersion": "ntro.dev/v1alpha1", "kind": "Workflow", "name": name, "uid": uid, "controller": True, "blockOwnerDeletion": False}
    return [run, {"status": status}, {"metadata": {"ownerReferences": [owner], "managedFields": [{}]}}]


def fill(cluster: Cluster, namespace: str, runbook: str, n: int) -> None:
    path = f"{API}/{namespace}"
    patch = partial(cluster.expect, "PATCH", as_user=OPERATOR, kind="application/merge-patch+json")

    def one(i: int) -> None:
        # Spread over a year that has begun: none is due during the measurement.
        month = time.gmtime().tm_mon % 12 + 1
        wf = workflow(namespace, f"w-{i:05}", runbook, f"{i % 60} {i // 60 % 24} {i % 28 + 1} {month} *")
        made = cluster.expect("POST", f"{path}/workflows", wf)
        for k in range(RUNS):
            run, ended, handed_over = finished(namespace, made, k)
            itself = f"{path}/workflowruns/{run['metadata']['name']}"
            cluster.expect("POST", f"{path}/workflowruns", run, as_user=OPERATOR)
            patch(f"{itself}/status", ended)
            patch(itself, handed_over)

    cluster.all(f"Workflows with {RUNS} finished runs each", [partial(one, i) for i in range(n)])


def quiet(n: int) -> None:
    """Waits until the operator has looked at everything and writes nothing more."""
    until, still, last = time.monotonic() + 1200, 0, -1
    while still < 3:
        if time.monotonic() > until:
            raise RuntimeError("the operator does not come to rest")
        time.sleep(10)
        writes = len(written(0))
        still = still + 1 if writes == last and metric("ntro_schedules_armed") >= n else 0
        last = writes


def written(since: float) -> list[str]:
    """What the operator wrote since then, Leases and the bookkeeping of its rights excepted."""
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(since))
    found = []
    with Path(os.environ["NTRO_AUDIT_LOG"]).open() as log:
        for line in log:
            if OPERATOR not in line or '"verb":"get"' in line or '"verb":"list"' in line or '"verb":"watch"' in line:
                continue
            event = json.loads(line)
            if event["user"]["username"] == OPERATOR and "impersonatedUser" not in event and event["requestReceivedTimestamp"] >= stamp:
                resource = event.get("objectRef", {}).get("resource", "")
                if resource not in ("leases", "tokenreviews", "selfsubjectaccessreviews") and event["verb"] in ("create", "update", "patch", "delete"):
                    found.append(f"{event['verb']} {resource}/{event['objectRef'].get('name')}")
    return found


def restart(n: int) -> float:
    """Kills the operator; seconds from its next start until every schedule is waited for."""
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
    began = time.time()
    time.sleep(60)
    writes = written(began)
    if writes:
        say(f"written: {writes[:10]}")
    armed = restart(n)
    quiet(n)
    return {
        "workflows": n,
        "finishedRuns": n * RUNS,
        "rssMiB": memory(),
        "rssMiBBeforeRestart": grown,
        "writesPerMinute": len(writes),
        "restartToArmedSeconds": armed,
    }


def main() -> None:
    n = int(sys.argv[1])
    cluster = Cluster()
    install()
    name = f"idle-{int(time.time())}"
    runbook = tenant(cluster, name)
    # Without the operator, which would execute runs that have no status yet.
    kubectl("-n", "ntro-system", "scale", "statefulset/ntro", "--replicas=0")
    kubectl("-n", "ntro-system", "wait", "--for=delete", "pod/ntro-0", "--timeout=60s")
    fill(cluster, name, runbook, n)
    kubectl("-n", "ntro-system", "scale", "statefulset/ntro", "--replicas=1")
    kubectl("-n", "ntro-system", "rollout", "status", "statefulset/ntro", "--timeout=300s")
    ours = measure(n)
    kubectl("delete", "namespace", name, "--wait=false")
    print(json.dumps({"bench": "idle", "ours": ours, "rival": None, "ratio": None}))


if __name__ == "__main__":
    main()
