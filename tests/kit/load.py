"""A tenant with many Workflows whose runs start nothing: what benchmarks and faults measure with."""

from __future__ import annotations

import json
import os
from typing import Any

from kit.cluster import BUNDLES, kubectl, ntro
from kit.objects import Object, resource

QUOTA = {
    "count/jobs.batch": "100000",
    "pods": "1000",
    "requests.cpu": "1000",
    "requests.memory": "1Ti",
    "limits.cpu": "1000",
    "limits.memory": "1Ti",
}
CONFIG = {"url": "http://example.invalid", "key": "bench"}
# Jobs of a queue start suspended, and nobody releases these: no pod is part of what is measured.
QUEUED = {"labels": {"kueue.x-k8s.io/queue-name": "bench"}}


def prepare_tenant(name: str) -> str:
    """A tenant with quota for the runs and the probe runbook, ready to run; gives the runbook's name."""
    ntro("tenant", "create", name, "--registry", f"{os.environ['NTRO_REGISTRY']}/{name}", timeout=300).ok()
    kubectl("-n", name, "patch", "resourcequota", "ntro", "--type=merge", "-p", json.dumps({"spec": {"hard": QUOTA}})).ok()
    config = ("--set", "url=http://example.invalid", "--set", "key=seed")
    bundle = ("--path", str(BUNDLES / "probe"), "--plain-http")
    ntro("workflow", "create", "--tenant", name, *bundle, "--entity", "seed", "--name", "seed", *config, timeout=300).ok()
    kubectl("-n", name, "wait", "--for=condition=Ready", "runbook", "--all", "--timeout=120s").ok()
    return kubectl("-n", name, "get", "runbook", "-o", "jsonpath={.items[0].metadata.name}").ok().out


def queued_workflow(namespace: str, name: str, runbook: str, schedule: str, **spec: Any) -> Object:
    common = {"runbookRef": {"name": runbook}, "entity": name, "schedule": schedule, "config": CONFIG, "runTemplate": QUEUED}
    return resource("Workflow", namespace, name, {**common, **spec})
