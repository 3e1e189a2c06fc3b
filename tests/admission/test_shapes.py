"""What objects may look like, and what of them never changes: rules of the kinds themselves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from kit.cluster import ROOT, kubectl
from kit.objects import KEYED, RUN_ID, SHA, Object, edit, gate, gate_policy, run, runbook, user_action, workflow
from kit.people import APPROVER, OPERATOR, RUNNER, Person
from kit.writes import create, replace

Make = Callable[[str], Object]
OK = ""


def scheduled(namespace: str) -> Object:
    trigger = {
        "kind": "Schedule",
        "initiator": "nav-monthly",
        "scheduledTime": "2026-11-05T08:00:00Z",
    }
    return edit(run(namespace, "nav-monthly-20261105t0800z"), {"spec/request/trigger": trigger})


def acting(verb: str) -> Make:
    who = APPROVER if verb in ("approve", "reject", "correct", "submit", "view") else RUNNER
    return lambda namespace: user_action(namespace, who, verb)


# kind, who, object, edit, the message that refuses it or nothing
CREATED: list[tuple[Make, Person, dict[str, Any], str]] = [
    (runbook, RUNNER, {}, OK),
    (runbook, RUNNER, {"metadata/name": "a" * 30}, OK),
    (runbook, RUNNER, {"metadata/name": "a" * 31}, "at most 30 characters"),
    (
        runbook,
        RUNNER,
        {"metadata/name": "nav.monthly"},
        "the name of a Runbook must consist of",
    ),
    (runbook, RUNNER, {"spec/source": None}, "spec.source: Required value"),
    (
        runbook,
        RUNNER,
        {"spec/source/url": "https://registry.example.com/x"},
        "spec.source.url in body should match",
    ),
    (
        runbook,
        RUNNER,
        {"spec/source/url": "oci://registry.example.com/x:1.0"},
        "spec.source.url in body should match",
    ),
    (runbook, RUNNER, {"spec/digest": SHA}, OK),
    (
        runbook,
        RUNNER,
        {"spec/digest": "sha256:abc"},
        "spec.digest in body should match",
    ),
    (runbook, RUNNER, {"spec/interval": "soon"}, "spec.interval in body should match"),
    (runbook, RUNNER, {"spec/verion": "1"}, 'unknown field "spec.verion"'),
    (workflow, RUNNER, {}, OK),
    (workflow, RUNNER, {"metadata/name": "a" * 31}, "at most 30 characters"),
    (
        workflow,
        RUNNER,
        {"metadata/name": "nav.monthly"},
        "the name of a Workflow must consist of",
    ),
    (workflow, RUNNER, {"spec/entity": None}, "spec.entity: Required value"),
    (workflow, RUNNER, {"spec/entity": "ACME SPV"}, "spec.entity in body should match"),
    (
        workflow,
        RUNNER,
        {"spec/schedules": ["0 8 5 * *"]},
        "give schedule or schedules, not both",
    ),
    (workflow, RUNNER, {"spec/schedule": None}, "jitterSeconds need a schedule"),
    (workflow, RUNNER, {"spec/missedRunPolicy": "All", "spec/maxMissedRuns": 5}, OK),
    (workflow, RUNNER, {"spec/maxMissedRuns": 5}, "maxMissedRuns belongs to missedRunPolicy All"),
    (workflow, RUNNER, {"spec/missedRunPolicy": "All", "spec/maxMissedRuns": 101}, "spec.maxMissedRuns in body"),
    (workflow, RUNNER, {"spec/concurrencyPolicy": "Queue", "spec/maxQueuedRuns": 5}, OK),
    (workflow, RUNNER, {"spec/maxQueuedRuns": 5}, "maxQueuedRuns belongs to concurrencyPolicy Queue"),
    (workflow, RUNNER, {"spec/calendar": {"businessDays": [5, -1], "weekend": ["Friday", "Saturday"]}}, OK),
    (workflow, RUNNER, {"spec/calendar": {"businessDays": [0]}}, "business days are counted from 1 or from -1"),
    (workflow, RUNNER, {"spec/calendar": {"businessDays": [24]}}, "spec.calendar.businessDays[0] in body"),
    (workflow, RUNNER, {"spec/calendar": {"weekend": ["Caturday"]}}, "Unsupported value"),
    (workflow, RUNNER, {"spec/notBefore": "2026-01-01T00:00:00Z", "spec/notAfter": "2026-12-31T00:00:00Z"}, OK),
    (
        workflow,
        RUNNER,
        {"spec/notBefore": "2027-01-01T00:00:00Z", "spec/notAfter": "2026-12-31T00:00:00Z"},
        "notBefore must not be later than notAfter",
    ),
    (workflow, RUNNER, {"spec/jitterSeconds": 0}, "spec.jitterSeconds in body"),
    (workflow, RUNNER, {"spec/pendingDeadlineSeconds": 5}, "spec.pendingDeadlineSeconds in body"),
    (workflow, RUNNER, {"spec/schedule": None, "spec/timeZone": None}, OK),
    (workflow, RUNNER, {"spec/concurrencyPolicy": "Sometimes"}, "Unsupported value"),
    (
        workflow,
        RUNNER,
        {"spec/runTemplate": {"labels": {"labels.ntro.dev/team": "a"}}},
        OK,
    ),
    (
        workflow,
        RUNNER,
        {"spec/runTemplate": {"labels": {"kueue.x-k8s.io/queue-name": "q"}, "schedulerName": "volcano"}},
        OK,
    ),
    (
        workflow,
        RUNNER,
        {"spec/runTemplate": {"labels": {"app": "ntro"}}},
        "labels of runs begin with labels.ntro.dev/",
    ),
    (
        workflow,
        RUNNER,
        {"spec/runTemplate": {"resources": {"limits": {"cpu": 1, "memory": "1Gi"}}}},
        OK,
    ),
    (workflow, RUNNER, {"spec/secretRefs": [{"name": "ntro-run-bank"}]}, OK),
    (
        workflow,
        RUNNER,
        {"spec/secretRefs": [{"name": "ntro-registry"}]},
        "names of Secrets that runs may read begin with ntro-run-",
    ),
    (workflow, RUNNER, {"spec/gatePolicy": gate_policy(RUNNER.name)}, OK),
    (
        workflow,
        RUNNER,
        {"spec/gatePolicy": gate_policy(RUNNER.name), "spec/gatePolicy/author": None},
        "spec.gatePolicy.author: Required value",
    ),
    (
        workflow,
        RUNNER,
        {
            "spec/gatePolicy": gate_policy(RUNNER.name),
            "spec/gatePolicy/default/quorum": 2,
        },
        "should be less than or equal to 1",
    ),
    (
        workflow,
        RUNNER,
        {
            "spec/gatePolicy": gate_policy(RUNNER.name),
            "spec/gatePolicy/default/distinctFrom": ["me"],
        },
        "should match",
    ),
    (
        workflow,
        RUNNER,
        {
            "spec/gatePolicy": {
                "author": RUNNER.name,
                "gates": [{"step": "a"}, {"step": "a"}],
            }
        },
        "Duplicate value",
    ),
    (run, RUNNER, {}, OK),
    (run, RUNNER, {"metadata/name": "nav-monthly-october"}, OK),
    (
        run,
        RUNNER,
        {"metadata/name": "other-abcde"},
        "the name of a run is <workflow>-<suffix>",
    ),
    (
        run,
        RUNNER,
        {"metadata/name": "nav-monthly"},
        "the name of a run is <workflow>-<suffix>",
    ),
    (
        run,
        RUNNER,
        {"metadata/name": "nav-monthly-a-b"},
        "the name of a run is <workflow>-<suffix>",
    ),
    (
        run,
        RUNNER,
        {"metadata/name": "nav-monthly-" + "a" * 16},
        "the name of a run is <workflow>-<suffix>",
    ),
    (
        run,
        RUNNER,
        {"spec/request/context/period": "October"},
        "spec.request.context.period in body should match",
    ),
    (
        run,
        RUNNER,
        {"spec/request/trigger/initiator": None},
        "initiator: Required value",
    ),
    (run, RUNNER, {"spec/request/trigger/kind": "Cron"}, "Unsupported value"),
    (
        run,
        RUNNER,
        {"spec/request/trigger/scheduledTime": "2026-11-05T08:00:00Z"},
        "scheduledTime belongs to the kinds Schedule and Backfill",
    ),
    (
        run,
        RUNNER,
        {"spec/request/trigger/parent": {"run": "x", "runId": RUN_ID}},
        "parent belongs to the kind Child",
    ),
    (scheduled, OPERATOR, {}, OK),
    (
        scheduled,
        OPERATOR,
        {"spec/request/trigger/scheduledTime": None},
        "scheduledTime belongs to the kinds Schedule and Backfill",
    ),
    (gate, OPERATOR, {}, OK),
    (gate, OPERATOR, {"spec/due": None}, OK),
    (gate, OPERATOR, {"spec/class": "review"}, "spec.class in body should match"),
    (
        gate,
        OPERATOR,
        {"spec/actions": []},
        "spec.actions in body should have at least 1 items",
    ),
    (gate, OPERATOR, {"spec/gateId": "1"}, "spec.gateId in body should match"),
    *((acting(verb), APPROVER, {}, OK) for verb in ("approve", "reject", "correct", "submit", "view")),
    *((acting(verb), RUNNER, {}, OK) for verb in ("cancel", "retry", "signal")),
    (
        acting("approve"),
        APPROVER,
        {"spec/gate": None},
        "approve, reject, correct and submit need the gate",
    ),
    (
        acting("approve"),
        APPROVER,
        {"spec/gate/class": None},
        "spec.gate.class: Required value",
    ),
    (
        acting("approve"),
        APPROVER,
        {"spec/gate/revision": None},
        "spec.gate.revision: Required value",
    ),
    (
        acting("approve"),
        APPROVER,
        {"spec/gate/digest": None},
        "spec.gate.digest: Required value",
    ),
    (
        acting("approve"),
        APPROVER,
        {"spec/gate/digest": SHA},
        "spec.gate.digest in body should match",
    ),
    (
        acting("approve"),
        APPROVER,
        {"spec/draftDigest": KEYED},
        "draftDigest belongs to correct, submit and signal only",
    ),
    (
        acting("approve"),
        APPROVER,
        {"spec/keyHash": SHA},
        "view needs keyHash, and no other verb has it",
    ),
    (
        acting("correct"),
        APPROVER,
        {"spec/draftDigest": None},
        "correct and submit need draftDigest",
    ),
    (acting("view"), APPROVER, {"spec/keyHash": None}, "view needs keyHash"),
    (
        acting("cancel"),
        RUNNER,
        {"spec/gate": user_action("x")["spec"]["gate"]},
        "gate belongs to approve, reject, correct, submit and view only",
    ),
    (acting("cancel"), RUNNER, {"spec/repeatEffects": [1]}, "repeatEffects belongs to retry only"),
    (acting("retry"), RUNNER, {"spec/repeatEffects": [1]}, OK),
    (acting("signal"), RUNNER, {"spec/signal": None}, "signal needs the signal's name"),
    (acting("approve"), APPROVER, {"spec/verb": "nod"}, "Unsupported value"),
    (acting("approve"), APPROVER, {"spec/commentDigest": KEYED}, OK),
    (
        acting("approve"),
        APPROVER,
        {"spec/comment": "well done"},
        'unknown field "spec.comment"',
    ),
]


@pytest.mark.parametrize(("make", "who", "changes", "message"), CREATED)
def test_create(make: Make, who: Person, changes: dict[str, Any], message: str, ns: str) -> None:
    done = create(edit(make(ns), changes), who)
    done.refused(message) if message else done.ok()


@pytest.fixture(scope="module")
def stored(ns: str) -> dict[str, Object]:
    """One object of each kind as the API server stores it."""
    things = {
        "Runbook": (runbook(ns), RUNNER),
        "Workflow": (
            edit(workflow(ns), {"spec/gatePolicy": gate_policy(RUNNER.name)}),
            RUNNER,
        ),
    }
    things |= {
        "WorkflowRun": (run(ns), RUNNER),
        "Gate": (gate(ns), OPERATOR),
        "UserAction": (user_action(ns), APPROVER),
    }
    for thing, who in things.values():
        create(thing, who, dry=False).ok()
    return {kind: kubectl("-n", ns, "get", kind, thing["metadata"]["name"], "-o", "json").ok().json for kind, (thing, _) in things.items()}


IMMUTABLE_RUN = "the request of a run is immutable"
IMMUTABLE_GATE = "the spec of a gate is immutable"
IMMUTABLE_USER_ACTION = "a user action is immutable"

# kind, edit, who, message: what is optional is removed, added and changed.
UPDATED: list[tuple[str, dict[str, Any], Person, str]] = [
    ("Runbook", {"spec/version": "1.2.3"}, RUNNER, OK),
    ("Workflow", {"spec/suspend": True}, RUNNER, OK),
    ("Workflow", {"spec/schedule": "0 9 5 * *"}, RUNNER, OK),
    ("Workflow", {"spec/entity": "acme-spv2"}, RUNNER, "entity is immutable"),
    ("Workflow", {"spec/entity": None}, RUNNER, "spec.entity: Required value"),
    (
        "Workflow",
        {"spec/runbookRef/name": "other"},
        RUNNER,
        "runbookRef.name is immutable",
    ),
    ("Workflow", {"spec/runbookRef/version": "1.2.3"}, RUNNER, OK),
    ("WorkflowRun", {"metadata/labels": {"labels.ntro.dev/team": "a"}}, OPERATOR, OK),
    (
        "WorkflowRun",
        {"spec/request/workflowRef/name": "other"},
        OPERATOR,
        IMMUTABLE_RUN,
    ),
    (
        "WorkflowRun",
        {"spec/request/context/period": "2026-11"},
        OPERATOR,
        IMMUTABLE_RUN,
    ),
    ("WorkflowRun", {"spec/request/context/period": None}, OPERATOR, IMMUTABLE_RUN),
    ("WorkflowRun", {"spec/request/context": None}, OPERATOR, IMMUTABLE_RUN),
    (
        "WorkflowRun",
        {"spec/request/trigger/initiator": "other"},
        OPERATOR,
        IMMUTABLE_RUN,
    ),
    ("WorkflowRun", {"spec/request": None}, OPERATOR, "spec.request: Required value"),
    ("Gate", {"metadata/labels": {"ntro.dev/run": "x"}}, OPERATOR, OK),
    ("Gate", {"spec/due": "2027-01-02T00:00:00Z"}, OPERATOR, IMMUTABLE_GATE),
    ("Gate", {"spec/due": None}, OPERATOR, IMMUTABLE_GATE),
    ("Gate", {"spec/actions": ["approve"]}, OPERATOR, IMMUTABLE_GATE),
    ("Gate", {"spec/class": "nav-monthly.other"}, OPERATOR, IMMUTABLE_GATE),
    ("UserAction", {"spec/verb": "reject"}, OPERATOR, IMMUTABLE_USER_ACTION),
    ("UserAction", {"spec/commentDigest": KEYED}, OPERATOR, IMMUTABLE_USER_ACTION),
    ("UserAction", {"spec/groups": ["board"]}, OPERATOR, IMMUTABLE_USER_ACTION),
    ("UserAction", {"spec/gate/revision": 2}, OPERATOR, IMMUTABLE_USER_ACTION),
    ("UserAction", {"spec/gate": None}, OPERATOR, "need the gate"),
]


@pytest.mark.parametrize(("kind", "changes", "who", "message"), UPDATED)
def test_update(
    kind: str,
    changes: dict[str, Any],
    who: Person,
    message: str,
    stored: dict[str, Object],
) -> None:
    grant = RUNNER if kind in ("Runbook", "Workflow") else OPERATOR
    assert who == grant
    # UserActions are not updatable by anyone's role: their rule is shown to hold even for who may do everything.
    superuser = Person(OPERATOR.name, (*OPERATOR.groups, "system:masters"))
    done = replace(edit(stored[kind], changes), superuser if kind == "UserAction" else who)
    done.refused(message) if message else done.ok()


def test_what_was_left_out_at_first_cannot_be_added_later(ns: str) -> None:
    bare = edit(run(ns, "nav-monthly-bare"), {"spec/request/context": None})
    create(bare, RUNNER, dry=False).ok()
    found = kubectl("-n", ns, "get", "nrun", "nav-monthly-bare", "-o", "json").ok().json
    replace(edit(found, {"spec/request/context": {"period": "2026-10"}}), OPERATOR).refused(IMMUTABLE_RUN)


@pytest.mark.parametrize(
    ("make", "who"),
    [
        (runbook, RUNNER),
        (workflow, RUNNER),
        (run, RUNNER),
        (gate, OPERATOR),
        (user_action, APPROVER),
    ],
)
def test_a_new_object_is_not_taken_for_a_healthy_one(make: Make, who: Person, ns: str) -> None:
    thing = edit(make(ns), {"metadata/name": "nav-monthly-new"})
    done = kubectl("create", "--dry-run=server", "-o", "json", "-f", "-", person=who, send=thing).ok()
    assert done.json["status"] == {"observedGeneration": -1}


def test_what_is_stored_is_what_was_written(stored: dict[str, Object], ns: str) -> None:
    """No defaults, nothing normalised: a tool that compares finds no difference."""
    written = edit(workflow(ns), {"spec/gatePolicy": gate_policy(RUNNER.name)})
    assert stored["Workflow"]["spec"] == written["spec"]
    assert stored["Runbook"]["spec"] == runbook(ns)["spec"]


@pytest.mark.parametrize(
    "path",
    sorted((ROOT / "examples/manifests").glob("*.yaml")),
    ids=lambda path: path.name,
)
def test_the_examples_are_accepted(path: Path, ns: str) -> None:
    documents = [document for document in yaml.safe_load_all(path.read_text()) if document]
    assert documents
    for document in documents:
        create(
            edit(
                document,
                {
                    "metadata/namespace": ns,
                    "metadata/name": f"example-{document['kind'].lower()}",
                },
            ),
            RUNNER,
        ).ok()
