"""How long after the tick the Jobs of N schedules that are due in the same minute are seen by a watcher.

N Workflows against N CronJobs on the same API server, one after the other, each with the same quota on its namespace and with
Jobs that start suspended, so that no pod is part of the figure. CronJobs are measured with the defaults of their controller
and with its client and workers tuned; ours with the tuned one running as well. Needs the cluster of tests/cluster.

    skew.py N [--tuned-only]
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from kit.api import Cluster, Watch, say
from kit.charts import install
from kit.cluster import ROOT, kubectl
from kit.figures import print_figure
from kit.load import QUOTA, prepare_tenant, queued_workflow
from kit.schedules import next_minute

TUNED = "--kube-api-qps 2000 --kube-api-burst 4000 --concurrent-cron-job-syncs 50"


def controller_manager(flags: str) -> None:
    env = {**os.environ, "NTRO_CONTROLLER_MANAGER_FLAGS": flags}
    subprocess.run([str(ROOT / "tests/cluster/cluster.sh"), "up"], check=True, env=env, stderr=subprocess.DEVNULL)
    # It works when it has done something.
    warm = f"warm-{int(time.time())}"
    kubectl("create", "namespace", warm).ok()
    kubectl("-n", warm, "wait", "--for=create", "serviceaccount/default", "--timeout=60s").ok()
    kubectl("delete", "namespace", warm, "--wait=false").ok()


def percentiles(values: list[float]) -> dict[str, float]:
    ordered = sorted(values)
    at = lambda share: round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 3)  # noqa: E731
    return {"first": round(ordered[0], 3), "p50": at(0.5), "p99": at(0.99), "last": round(ordered[-1], 3)}


def measure(cluster: Cluster, namespace: str, n: int, due: datetime) -> dict[str, float]:
    tick = due.timestamp()
    left = tick - time.time()
    if left < 2:
        raise RuntimeError("the minute came before everything was made")
    watch = Watch(cluster, f"/apis/batch/v1/namespaces/{namespace}/jobs")
    say(f"due in {left:.0f} s")
    time.sleep(max(0.0, left))
    watch.wait(n, timeout=900)
    watch.stop()
    return percentiles([at - tick for at in watch.seen.values()])


def preparation_time(n: int) -> float:
    """Seconds, enough to create n objects and to have each of them reconciled."""
    return 25 + n / 40


def ours(cluster: Cluster, n: int) -> tuple[dict[str, float], Any]:
    """The figures, and the pod of our Jobs, so that the rival's Jobs are of the same shape."""
    name = f"skew-{int(time.time())}"
    runbook = prepare_tenant(name)
    due = next_minute(preparation_time(n))
    path = f"/apis/ntro.dev/v1alpha1/namespaces/{name}/workflows"
    schedule = f"{due.minute} {due.hour} * * *"
    make = [partial(cluster.expect, "POST", path, queued_workflow(name, f"w-{i:05}", runbook, schedule)) for i in range(n)]
    cluster.all("Workflows", make)
    figures = measure(cluster, name, n, due)
    # Not only Jobs: each has its run, once.
    runs = cluster.items(f"/apis/ntro.dev/v1alpha1/namespaces/{name}/workflowruns")
    if len({run["spec"]["request"]["workflowRef"]["name"] for run in runs}) != n or len(runs) != n:
        raise RuntimeError(f"{len(runs)} runs of {n} Workflows")
    job = cluster.expect("GET", f"/apis/batch/v1/namespaces/{name}/jobs?limit=1")["items"][0]
    remove(cluster, name)
    # Only the operator makes Jobs of the runner's account.
    pod = {key: value for key, value in job["spec"]["template"]["spec"].items() if key != "serviceAccount"}
    return figures, {**pod, "serviceAccountName": "default"}


def cron_job(i: int, due: datetime, pod: Any) -> dict[str, Any]:
    return {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": f"w-{i:05}"},
        "spec": {
            "schedule": f"{due.minute} {due.hour} * * *",
            "timeZone": "Etc/UTC",
            "concurrencyPolicy": "Forbid",
            "jobTemplate": {
                "spec": {"backoffLimit": 0, "suspend": True, "template": {"metadata": {"labels": {"app": "bench"}}, "spec": pod}}
            },
        },
    }


def rival(cluster: Cluster, n: int, pod: Any) -> dict[str, float]:
    name = f"cron-{int(time.time())}"
    kubectl("create", "namespace", name).ok()
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "ntro", "namespace": name}, "spec": {"hard": QUOTA}}
    kubectl("apply", "-f", "-", send=quota).ok()
    due = next_minute(preparation_time(n))
    path = f"/apis/batch/v1/namespaces/{name}/cronjobs"
    cluster.all("CronJobs", [partial(cluster.expect, "POST", path, cron_job(i, due, pod)) for i in range(n)])
    figures = measure(cluster, name, n, due)
    remove(cluster, name)
    return figures


def remove(cluster: Cluster, namespace: str) -> None:
    """Waits until what was measured is gone, so that the next one has the machine for itself."""
    say(f"removing {namespace}")
    kubectl("delete", "namespace", namespace, "--timeout=590s", timeout=600).ok()


def main() -> None:
    n = int(sys.argv[1])
    cluster = Cluster()
    install()
    result: dict[str, Any] = {}
    try:
        controller_manager(TUNED)
        result["ours"], pod = ours(cluster, n)
        say(f"ours: {result['ours']}")
        result["tuned"] = rival(cluster, n, pod)
        say(f"tuned: {result['tuned']}")
        if "--tuned-only" not in sys.argv:
            controller_manager("")
            result["defaults"] = rival(cluster, n, pod)
            say(f"defaults: {result['defaults']}")
    finally:
        controller_manager("")
    for rival_name in ("defaults", "tuned"):
        for key in ("first", "p50", "last", "p99") if rival_name in result else ():
            case = f"{n} schedules, {key}, seconds from the tick to the Job seen, against CronJob {rival_name}"
            print_figure("skew", case, result["ours"][key], result[rival_name][key])


if __name__ == "__main__":
    main()
