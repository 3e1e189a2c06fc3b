"""Kills the operator again and again while N schedules fire every minute, and shows that no slot was lost and none doubled.

What happened is read from the API alone: each minute between the first and the last kill must have given each Workflow
exactly one run, or be counted in its `status.missed`; each run has exactly one Job. Jobs start suspended: what is tested is
the start of runs, not what they do. Needs the cluster of tests/cluster.

    kills.py N KILLS
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from collections import Counter, defaultdict
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from kit.api import Cluster, say
from kit.charts import install
from kit.cluster import kubectl
from kit.load import prepare_tenant, queued_workflow
from kit.operator import operator_pid
from kit.schedules import next_minute

MINUTES = 3


def kill_during(seconds: float, kills: int, seed: int) -> None:
    """So many kills, spread over the time at random, each of a process that has come up."""
    rng = random.Random(seed)  # noqa: S311
    began = time.monotonic()
    times = sorted(rng.uniform(0, seconds) for _ in range(kills))
    killed = 0
    for at in times:
        time.sleep(max(0.0, began + at - time.monotonic()))
        while not (pid := operator_pid()):
            time.sleep(0.05)
        os.kill(pid, signal.SIGKILL)
        killed += 1
        say(f"kill {killed} of {kills}, {time.monotonic() - began:.0f} s in")
        while operator_pid() == pid:
            time.sleep(0.02)


def check(cluster: Cluster, namespace: str, n: int, first: int, last: int) -> dict[str, int]:
    """Reads everything back: slots from `first` to `last`, both seconds of full minutes."""
    base = f"/apis/ntro.dev/v1alpha1/namespaces/{namespace}"
    wanted = [time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at)) for at in range(first, last + 1, 60)]
    slots: dict[str, Counter[str]] = defaultdict(Counter)
    runs = cluster.items(f"{base}/workflowruns")
    for run in runs:
        slots[run["spec"]["request"]["workflowRef"]["name"]][run["spec"]["request"]["trigger"]["scheduledTime"]] += 1
    jobs = Counter(job["metadata"]["labels"]["ntro.dev/run"] for job in cluster.items(f"/apis/batch/v1/namespaces/{namespace}/jobs"))
    lost = doubled = missed = 0
    for wf in cluster.items(f"{base}/workflows"):
        name = wf["metadata"]["name"]
        if name == "seed":
            continue
        counted = wf.get("status", {}).get("missed", {}).get("count", 0)
        given = slots[name]
        doubled += sum(count - 1 for count in given.values())
        without = [slot for slot in wanted if slot not in given]
        missed += counted
        lost += max(0, len(without) - counted)
    return {
        "workflows": n,
        "slots": n * len(wanted),
        "runs": len(runs),
        "missedAndCounted": missed,
        "lost": lost,
        "doubled": doubled,
        "runsWithoutJob": sum(1 for run in runs if jobs[run["metadata"]["name"]] == 0),
        "runsWithTwoJobs": sum(1 for count in jobs.values() if count > 1),
    }


def main() -> None:
    n, kills = int(sys.argv[1]), int(sys.argv[2])
    seed = int(os.environ.get("SEED", str(int(time.time()))))
    cluster = Cluster()
    install()
    name = f"kills-{int(time.time())}"
    runbook = prepare_tenant(name)
    due = next_minute(20 + n / 60)
    minutes = ",".join(str((due.minute + k) % 60) for k in range(MINUTES))
    spec = {"concurrencyPolicy": "Allow", "missedRunPolicy": "All"}
    path = f"/apis/ntro.dev/v1alpha1/namespaces/{name}/workflows"
    make = [
        partial(cluster.expect, "POST", path, queued_workflow(name, f"w-{i:05}", runbook, f"{minutes} * * * *", **spec)) for i in range(n)
    ]
    cluster.all("Workflows", make)
    first = int(due.timestamp())
    time.sleep(max(0.0, first - 2 - time.time()))
    say(f"killing {kills} times, seed {seed}")
    kill_during(MINUTES * 60, kills, seed)
    last = first + (MINUTES - 1) * 60
    deadline = time.monotonic() + 600
    while True:
        found = check(cluster, name, n, first, last)
        done = found["lost"] == 0 and found["runsWithoutJob"] == 0
        if done or time.monotonic() > deadline:
            break
        say(f"not yet: {found}")
        time.sleep(5)
    kubectl("delete", "namespace", name, "--wait=false").ok()
    good = done and found["doubled"] == 0 and found["runsWithTwoJobs"] == 0
    print(json.dumps({"faults": "kills", "kills": kills, "seed": seed, **found, "passed": good}))
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
