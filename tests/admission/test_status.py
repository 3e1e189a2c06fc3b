"""What a status never does, whoever writes it: a stale writer is refused by the API server."""

from __future__ import annotations

from typing import Any

import pytest
from kit.cluster import kubectl
from kit.objects import KEYED, RUN_ID, SHA, Object, edit, gate, run, runbook, user_action, workflow
from kit.people import ADMIN, APPROVER, OPERATOR, RUNNER, Person
from kit.pods import IMAGE
from kit.writes import create, replace

OK = ""
OTHER_ID = "33333333-3333-4333-8333-333333333333"
PIN = {
    "runbook": {
        "name": "nav-monthly",
        "version": "1.0.0",
        "digest": SHA,
        "layerDigest": SHA,
        "repository": "registry.example.com/x",
    },
    "workflowUid": RUN_ID,
    "tenant": "acme",
    "entity": "acme-spv1",
    "image": IMAGE,
    "serviceAccountName": "ntro-runner",
    "config": {"deep": {"a": [1, {"b": "c"}]}},
    "runTemplate": {"resources": {"limits": {"cpu": 1}}},
}
RUNNING = {
    "observedGeneration": 1,
    "runId": RUN_ID,
    "pin": PIN,
    "phase": "Running",
    "segment": 2,
    "journal": {"length": 10, "head": KEYED},
    "steps": [{"id": "load", "status": "active"}],
}
DONE = {**RUNNING, "phase": "Succeeded"}
OPEN = {
    "observedGeneration": 1,
    "state": "Open",
    "revision": {"n": 2, "digest": KEYED},
    "policy": {"users": ["ada@example.com"]},
    "decisions": [
        {
            "actor": "a",
            "verb": "approve",
            "revision": 1,
            "userAction": "x",
            "userActionUid": "u",
            "at": "2026-11-05T08:00:00Z",
        }
    ],
}
CLOSED = {**OPEN, "state": "Approved"}
JUDGED = {"observedGeneration": 1, "outcome": "Refused", "reason": "Superseded"}


@pytest.fixture(scope="module")
def stored(ns: str) -> dict[str, Object]:
    """Objects with the status of the name, as the API server stores them."""
    things: dict[str, tuple[Object, Person, Object]] = {
        "running": (run(ns, "nav-monthly-running"), RUNNER, RUNNING),
        "done": (run(ns, "nav-monthly-done"), RUNNER, DONE),
        "open": (edit(gate(ns), {"metadata/name": "open"}), OPERATOR, OPEN),
        "closed": (edit(gate(ns), {"metadata/name": "closed"}), OPERATOR, CLOSED),
        "judged": (edit(user_action(ns), {"metadata/name": "judged"}), APPROVER, JUDGED),
    }
    found = {}
    for name, (thing, who, status) in things.items():
        create(thing, who, dry=False).ok()
        get = ("-n", ns, "get", thing["kind"], thing["metadata"]["name"], "-o", "json")
        replace(
            edit(kubectl(*get).ok().json, {"status": status}),
            OPERATOR,
            status=True,
            dry=False,
        ).ok()
        found[name] = kubectl(*get).ok().json
        assert found[name]["status"] == status
    return found


FROZEN = "a terminal phase never changes"
ROWS: list[tuple[str, dict[str, Any], str]] = [
    (
        "running",
        {"status/phase": "Waiting", "status/segment": 3, "status/journal/length": 11},
        OK,
    ),
    ("running", {"status/phase": "Succeeded"}, OK),
    ("running", {"status/steps": None}, OK),
    ("running", {"status/phase": None}, "phase cannot be removed"),
    ("running", {"status/phase": "Sleeping"}, "Unsupported value"),
    ("running", {"status/runId": OTHER_ID}, "runId is set once"),
    ("running", {"status/runId": None}, "runId is set once"),
    (
        "running",
        {"status/pin/image": IMAGE.replace("runner", "other")},
        "pin is set once",
    ),
    ("running", {"status/pin/config/deep/a": [2]}, "pin is set once"),
    ("running", {"status/pin/config/more": 1}, "pin is set once"),
    ("running", {"status/pin/gatePolicy": {"author": "x"}}, "pin is set once"),
    ("running", {"status/pin/runTemplate": None}, "pin is set once"),
    ("running", {"status/pin/runTemplate/resources/limits/cpu": 2}, "pin is set once"),
    ("running", {"status/pin": None}, "pin is set once"),
    ("running", {"status/segment": 1}, "segment never decreases"),
    ("running", {"status/segment": None}, "segment never decreases"),
    ("running", {"status/journal/length": 9}, "the journal's length never decreases"),
    ("running", {"status/journal": None}, "the journal's length never decreases"),
    (
        "running",
        {"status/steps": [{"id": f"s{i}", "status": "pending"} for i in range(65)]},
        "must have at most 64 items",
    ),
    ("running", {"status": None}, "phase cannot be removed"),
    (
        "running",
        {"status": {"observedGeneration": 1, "phase": "Running"}},
        "runId is set once",
    ),
    ("done", {"status/journal/length": 12}, OK),
    ("done", {"status/phase": "Failed"}, FROZEN),
    ("done", {"status/phase": "Running"}, FROZEN),
    ("done", {"status/phase": None}, FROZEN),
    ("done", {"status": None}, FROZEN),
    ("open", {"status/state": "Approved"}, OK),
    ("open", {"status/revision": {"n": 3, "digest": "hmac-sha256:" + "b" * 64}}, OK),
    ("open", {"status/state": None}, "state cannot be removed"),
    ("open", {"status/revision/n": 1}, "the revision never decreases"),
    ("open", {"status/revision": None}, "the revision never decreases"),
    (
        "open",
        {"status/revision/digest": "hmac-sha256:" + "b" * 64},
        "a revision never changes its digest",
    ),
    ("open", {"status/policy/users": ["eve"]}, "policy is set once"),
    ("open", {"status/policy": None}, "policy is set once"),
    ("open", {"status/policy/groups": ["everyone"]}, "policy is set once"),
    ("open", {"status/decisions": None}, "decisions cannot be removed"),
    ("open", {"status/decisions": []}, "decisions cannot be removed"),
    ("closed", {"status/resolvedAt": "2026-11-05T08:00:00Z"}, OK),
    ("closed", {"status/state": "Open"}, "a closed gate never changes its state"),
    ("closed", {"status/state": "Rejected"}, "a closed gate never changes its state"),
    ("closed", {"status/state": None}, "a closed gate never changes its state"),
    ("closed", {"status": None}, "a closed gate never changes its state"),
    ("judged", {"status/reason": "Other"}, OK),
    ("judged", {"status/outcome": "Accepted"}, "the outcome is set once"),
    ("judged", {"status/outcome": None}, "the outcome is set once"),
    ("judged", {"status": None}, "the outcome is set once"),
]


@pytest.mark.parametrize(("name", "changes", "message"), ROWS)
def test_status(name: str, changes: dict[str, Any], message: str, stored: dict[str, Object]) -> None:
    done = replace(edit(stored[name], changes), OPERATOR, status=True)
    done.refused(message) if message else done.ok()


@pytest.mark.parametrize("make", [runbook, workflow, run, gate, user_action])
def test_only_the_operator_writes_a_status(make: Any, ns: str) -> None:
    thing = make(ns)
    if make is run:
        thing = run(ns, "nav-monthly-status")
    thing["metadata"]["name"] = thing["metadata"]["name"] if make is run else f"{make.__name__.replace('_', '-')}-status"
    owner = {"gate": OPERATOR, "user_action": APPROVER}.get(make.__name__, RUNNER)
    create(thing, owner, dry=False).ok()
    plural = {
        "Runbook": "runbooks",
        "Workflow": "workflows",
        "WorkflowRun": "workflowruns",
        "Gate": "gates",
        "UserAction": "useractions",
    }
    patch = (
        "-n",
        ns,
        "patch",
        thing["kind"],
        thing["metadata"]["name"],
        "--subresource=status",
        "--type=merge",
        "--dry-run=server",
    )
    change = ("-p", '{"status": {"observedGeneration": 7}}')
    kubectl(*patch, *change, person=ADMIN).refused(f"only the operator may update {plural[thing['kind']]}/status")
    kubectl(*patch, *change, person=OPERATOR).ok()
