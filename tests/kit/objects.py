"""Manifests: of any kind, and one of each of ours that is accepted as it is; edits to them."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from kit.people import APPROVER, RUNNER, Person

API = "ntro.dev/v1alpha1"
RUN_ID = "11111111-1111-4111-8111-111111111111"
GATE_ID = "22222222-2222-4222-8222-222222222222"
KEYED = "hmac-sha256:" + "a" * 64
SHA = "sha256:" + "a" * 64

RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}

Object = dict[str, Any]


def resource(kind: str, namespace: str, name: str, spec: Object) -> Object:
    """An object of one of our kinds."""
    return {"apiVersion": API, "kind": kind, "metadata": {"name": name, "namespace": namespace}, "spec": spec}


def namespace(name: str, labels: Mapping[str, str]) -> Object:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": {**labels}}}


def edit(thing: Object, changes: Mapping[str, Any]) -> Object:
    """A copy with the values at the given paths; `None` removes what is there. A part of a path that is a number is an index."""
    thing = copy.deepcopy(thing)
    for path, value in changes.items():
        *parents, last = path.split("/")
        at: Any = thing
        for parent in parents:
            at = at[int(parent)] if isinstance(at, list) else at.setdefault(parent, {})
        key: Any = int(last) if isinstance(at, list) else last
        if value is None:
            del at[key]
        else:
            at[key] = value
    return thing


def as_written(thing: Object) -> Object:
    """What a person would send to create it again: without status and owners, and without what the API server added."""
    added = ("uid", "resourceVersion", "creationTimestamp", "generation", "managedFields", "ownerReferences")
    metadata = {key: value for key, value in thing["metadata"].items() if key not in added}
    return {**{key: value for key, value in thing.items() if key != "status"}, "metadata": metadata}


def runbook(namespace: str) -> Object:
    source = {"url": "oci://registry.example.com:5000/acme/nav-monthly"}
    return resource("Runbook", namespace, "nav-monthly", {"source": source, "interval": "10m"})


def workflow(namespace: str) -> Object:
    spec = {
        "runbookRef": {"name": "nav-monthly"},
        "entity": "acme-spv1",
        "config": {"bank": {"account": "1", "rates": [1, 2.5, None]}},
        "schedule": "0 8 5 * *",
        "timeZone": "Europe/London",
    }
    return resource("Workflow", namespace, "nav-monthly", spec)


def gate_policy(author: str) -> Object:
    review = {"step": "review", "groups": ["board"], "quorum": 1, "distinctFrom": ["initiator", "gate:other"], "due": "72h"}
    return {"author": author, "gates": [review], "default": {"users": ["ada@example.com"], "onExpiry": "reject"}}


def run(namespace: str, name: str = "nav-monthly-abcde") -> Object:
    request = {
        "workflowRef": {"name": "nav-monthly"},
        "context": {"period": "2026-10"},
        "trigger": {"kind": "Manual", "initiator": RUNNER.name},
    }
    return resource("WorkflowRun", namespace, name, {"request": request})


def gate(namespace: str) -> Object:
    spec = {
        "gateId": GATE_ID,
        "run": "nav-monthly-abcde",
        "runId": RUN_ID,
        "workflow": "nav-monthly",
        "step": "review",
        "class": "nav-monthly.review",
        "title": "Review the journal",
        "component": "DATA_TABLE",
        "actions": ["approve", "reject", "correct"],
        "due": "2027-01-01T00:00:00Z",
        "onExpiry": "reject",
    }
    return resource("Gate", namespace, "nav-monthly-abcde-review-abcdefgh", spec)


def user_action(namespace: str, person: Person = APPROVER, verb: str = "approve") -> Object:
    spec: Object = {
        "actor": person.name,
        "verb": verb,
        "workflow": "nav-monthly",
        "run": "nav-monthly-abcde",
        "runId": RUN_ID,
    }
    if verb in ("approve", "reject", "correct", "submit"):
        spec["gate"] = {
            "name": "nav-monthly-abcde-review-abcdefgh",
            "gateId": GATE_ID,
            "class": "nav-monthly.review",
            "revision": 1,
            "digest": KEYED,
        }
    if verb in ("correct", "submit"):
        spec["draftDigest"] = KEYED
    if verb == "view":
        spec["keyHash"] = SHA
    if verb == "signal":
        spec["signal"] = "documents"
    return resource("UserAction", namespace, "act", spec)
