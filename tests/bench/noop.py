"""How long a run takes that does nothing, against a bare Job of the same image: alone, and 60 at a time.

From the creation of the WorkflowRun to its phase Succeeded, and from that of the Job to its condition Complete, as one watcher
sees them; the Job runs `python3 -c pass` in a pod of the same shape. Then what process 1 of a runner and the process that runs
the bundle take in memory. Needs the cluster of tests/cluster.

    noop.py [ROUNDS]    how often each is measured alone, 20 unless given
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from kit.api import Cluster, Reached, say
from kit.charts import install
from kit.cluster import BUNDLES, kubectl, ntro
from kit.figures import print_figure
from kit.load import QUOTA
from kit.objects import Object, resource

TOGETHER = 60
Make = Callable[[str], tuple[str, Object]]


def succeeded(run: Object) -> bool:
    phase = run.get("status", {}).get("phase")
    if phase in ("Failed", "Blocked", "Cancelled"):
        raise RuntimeError(f"{run['metadata']['name']} is {phase}")
    return bool(phase == "Succeeded")


def complete(job: Object) -> bool:
    conditions = {c["type"]: c["status"] for c in job.get("status", {}).get("conditions", [])}
    if conditions.get("Failed") == "True":
        raise RuntimeError(f"{job['metadata']['name']} failed")
    return conditions.get("Complete") == "True"


def prepare(name: str) -> None:
    """A tenant with the runbook that does nothing and a Workflow of it."""
    ntro("tenant", "create", name, "--registry", f"{os.environ['NTRO_REGISTRY']}/{name}", timeout=300).ok()
    kubectl("-n", name, "patch", "resourcequota", "ntro", "--type=merge", "-p", json.dumps({"spec": {"hard": QUOTA}})).ok()
    bundle = ("--path", str(BUNDLES / "noop"), "--plain-http")
    ntro("workflow", "create", "--tenant", name, *bundle, "--entity", "noop", "--name", "noop", timeout=300).ok()
    kubectl("-n", name, "wait", "--for=condition=Ready", "workflow/noop", "--timeout=120s").ok()


def a_run(namespace: str, initiator: str) -> Make:
    def make(name: str) -> tuple[str, Object]:
        trigger = {"kind": "Manual", "initiator": initiator}
        request = {"workflowRef": {"name": "noop"}, "trigger": trigger}
        return f"/apis/ntro.dev/v1alpha1/namespaces/{namespace}/workflowruns", resource("WorkflowRun", namespace, name, {"request": request})

    return make


def a_job(namespace: str, pod: Any) -> Make:
    def make(name: str) -> tuple[str, Object]:
        template = {"metadata": {"labels": {"app": "bench"}}, "spec": pod}
        job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": {"backoffLimit": 0, "template": template}}
        return f"/apis/batch/v1/namespaces/{namespace}/jobs", job

    return make


def measure(cluster: Cluster, make: Make, reached: Callable[[Object], bool], names: list[str]) -> list[float]:
    """Seconds from the creation of each until a watcher sees that it is done; all are created at the same time."""
    path, _ = make(names[0])
    watch = Reached(cluster, path, reached)
    created: dict[str, float] = {}

    def create(name: str) -> None:
        created[name] = time.time()
        cluster.expect("POST", path, make(name)[1])

    with ThreadPoolExecutor(12) as pool:
        list(pool.map(create, names))
    watch.wait(len(names), timeout=600)
    watch.stop()
    return [watch.seen[name] - created[name] for name in names]


def compare(cluster: Cluster, sides: dict[str, tuple[Make, Callable[[Object], bool]]], rounds: int) -> dict[str, tuple[float, float]]:
    """By side: the median of one alone, and the time until the last of many at once is done. The sides take turns."""
    alone: dict[str, list[float]] = {side: [] for side in sides}
    for n in range(rounds + 1):
        for side, (make, reached) in sides.items():
            took = measure(cluster, make, reached, [f"noop-alone{n:02}"])[0]
            # The first one finds nothing in any cache.
            alone[side] += [took] if n else []
    together = {side: max(measure(cluster, make, reached, [f"noop-many{n:02}" for n in range(TOGETHER)])) for side, (make, reached) in sides.items()}
    return {side: (statistics.median(alone[side]), together[side]) for side in sides}


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    cluster = Cluster()
    install(lingerMs=0)
    name = f"noop-{int(time.time())}"
    prepare(name)
    initiator = kubectl("auth", "whoami", "-o", "jsonpath={.status.userInfo.username}").ok().out.strip()
    ours = a_run(name, initiator)
    measure(cluster, ours, succeeded, ["noop-first"])
    job = cluster.expect("GET", f"/apis/batch/v1/namespaces/{name}/jobs?limit=1")["items"][0]
    rival_name = f"bare-{int(time.time())}"
    kubectl("create", "namespace", rival_name).ok()
    figures = compare(cluster, {"ours": (ours, succeeded), "rival": (a_job(rival_name, bare(job)), complete)}, rounds)
    for index, case in ((1, f"{TOGETHER} at a time, seconds until the last"), (0, "alone, seconds, median")):
        say(f"{case}: ours {figures['ours'][index]:.2f}, a bare Job {figures['rival'][index]:.2f}")
        print_figure("noop", case, round(figures["ours"][index], 3), round(figures["rival"][index], 3))
    for namespace in (name, rival_name):
        kubectl("delete", "namespace", namespace, "--wait=false")


def bare(job: Object) -> Any:
    """The pod of our Job without what is ours: its image and its bounds stay, its command does nothing."""
    spec = job["spec"]["template"]["spec"]
    container = spec["containers"][0]
    kept = {key: container[key] for key in ("image", "imagePullPolicy", "resources", "securityContext") if key in container}
    shape = {key: spec[key] for key in ("securityContext", "restartPolicy", "terminationGracePeriodSeconds") if key in spec}
    return {**shape, "containers": [{"name": "bare", "command": ["python3", "-c", "pass"], **kept}]}


if __name__ == "__main__":
    main()
