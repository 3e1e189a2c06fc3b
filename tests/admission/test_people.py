"""Who may do what: rules of the admission policies, with the roles the charts make."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from typing import Any

import pytest
from kit.cluster import kubectl, wait_for
from kit.objects import Object, edit, gate, gate_policy, run, user_action, workflow
from kit.people import ADMIN, APPROVER, GARBAGE_COLLECTOR, NOBODY, OPERATOR, RUNNER, SYSTEM, VIEWER, Person, service_account
from kit.writes import create, replace

OK = ""
SERVICE_ACCOUNT = service_account("{ns}", "robot")
NODE = Person("system:node:n1", ("system:nodes",))
WILDCARD = Person("wilma@example.com")
EVERY_VERB = Person("eve@example.com")
ONE_CLASS = Person("olga@example.com")
ONE_WORKFLOW = Person("oscar@example.com")


def bind(namespace: str, who: Person, *rules: Object) -> list[Object]:
    """A role of its own for one person, who may also create what the tables create."""
    name = f"test-{who.name.split(':')[-1].split('@')[0]}"
    metadata = {"name": name, "namespace": namespace}
    creating = {
        "apiGroups": ["ntro.dev"],
        "resources": ["useractions", "workflowruns"],
        "verbs": ["create"],
    }
    group = "rbac.authorization.k8s.io"
    return [
        {
            "apiVersion": f"{group}/v1",
            "kind": "Role",
            "metadata": metadata,
            "rules": [creating, *rules],
        },
        {
            "apiVersion": f"{group}/v1",
            "kind": "RoleBinding",
            "metadata": metadata,
            "roleRef": {"apiGroup": group, "kind": "Role", "name": name},
            "subjects": [
                {
                    "apiGroup": group,
                    "kind": "User",
                    "name": who.name.format(ns=namespace),
                }
            ],
        },
    ]


def rule(resource: str, *verbs: str, **more: Any) -> Object:
    return {
        "apiGroups": ["ntro.dev"],
        "resources": [resource],
        "verbs": list(verbs),
        **more,
    }


@pytest.fixture(scope="module", autouse=True)
def _bound(ns: str) -> None:
    mine = [
        rule("gates", "approve"),
        rule("workflowruns", "view", "cancel"),
        rule("workflows", "run"),
    ]
    documents = [
        *bind(ns, NOBODY),
        *bind(ns, SERVICE_ACCOUNT, *mine),
        *bind(ns, NODE, *mine),
        *bind(ns, WILDCARD, {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}),
        *bind(ns, EVERY_VERB, rule("gates", "*")),
        *bind(
            ns,
            ONE_CLASS,
            rule("gates", "approve", resourceNames=["nav-monthly.review"]),
        ),
        *bind(
            ns,
            ONE_WORKFLOW,
            rule("workflows", "run", resourceNames=["nav-monthly"]),
            rule("workflowruns", "cancel", resourceNames=["nav-monthly"]),
        ),
    ]
    for document in documents:
        kubectl("create", "-f", "-", send=document).ok()
    wait_for("the roles work", lambda: create(user_action(ns, ONE_CLASS), ONE_CLASS).code == 0)
    wait_for(
        "the last role works",
        lambda: create(user_action(ns, ONE_WORKFLOW, "cancel"), ONE_WORKFLOW).code == 0,
    )


def named(who: Person, namespace: str) -> Person:
    return Person(who.name.format(ns=namespace), who.groups)


MACHINE = "is a system user: only people may"
NO_MANDATE = "has wildcard permissions, which do not authorize anyone to"
BIND_APPROVER = "bind Role ntro-approver in namespace"

# who, verb, edit, message
ACTS: list[tuple[Person, str, dict[str, Any], str]] = [
    (APPROVER, "approve", {}, OK),
    (APPROVER, "approve", {"spec/groups": ["board"]}, OK),
    (APPROVER, "approve", {"spec/gate/class": "other.step"}, OK),
    (
        APPROVER,
        "approve",
        {"spec/actor": VIEWER.name},
        f"spec.actor must be the requesting user {APPROVER.name}",
    ),
    (
        APPROVER,
        "approve",
        {"spec/groups": ["board", "trustees"]},
        "spec.groups must be groups of the requesting user",
    ),
    (
        APPROVER,
        "approve",
        {"metadata/finalizers": ["example.com/keep"]},
        "a UserAction must not have owner references or finalizers",
    ),
    (
        APPROVER,
        "approve",
        {"metadata/ownerReferences": [{"apiVersion": "v1", "kind": "ConfigMap", "name": "x", "uid": "x"}]},
        "a UserAction must not have owner references or finalizers",
    ),
    (APPROVER, "view", {}, OK),
    (
        APPROVER,
        "cancel",
        {},
        f"{APPROVER.name} may not cancel: bind Role ntro-runner in namespace",
    ),
    (ONE_CLASS, "approve", {}, OK),
    (ONE_CLASS, "reject", {}, OK),
    (
        ONE_CLASS,
        "approve",
        {"spec/gate/class": "nav-monthly.other"},
        "or a role with the verb approve on gates.ntro.dev, resource name nav-monthly.other",
    ),
    (
        ONE_CLASS,
        "view",
        {},
        f"{ONE_CLASS.name} may not view: bind Role ntro-viewer",
    ),
    (VIEWER, "view", {}, OK),
    (VIEWER, "approve", {}, f"{VIEWER.name} may not approve: {BIND_APPROVER}"),
    (VIEWER, "reject", {}, f"{VIEWER.name} may not reject: {BIND_APPROVER}"),
    (VIEWER, "correct", {}, f"{VIEWER.name} may not correct: {BIND_APPROVER}"),
    (VIEWER, "submit", {}, f"{VIEWER.name} may not submit: {BIND_APPROVER}"),
    (VIEWER, "cancel", {}, f"{VIEWER.name} may not cancel: bind Role ntro-runner"),
    (RUNNER, "cancel", {}, OK),
    (RUNNER, "retry", {}, OK),
    (RUNNER, "signal", {}, OK),
    (RUNNER, "approve", {}, f"{RUNNER.name} may not approve: {BIND_APPROVER}"),
    (ONE_WORKFLOW, "cancel", {}, OK),
    (
        ONE_WORKFLOW,
        "cancel",
        {"spec/workflow": "other"},
        "the verb cancel on workflowruns.ntro.dev, resource name other",
    ),
    (ONE_WORKFLOW, "retry", {}, f"{ONE_WORKFLOW.name} may not retry"),
    (NOBODY, "view", {}, f"{NOBODY.name} may not view"),
    (SERVICE_ACCOUNT, "approve", {}, MACHINE),
    (SERVICE_ACCOUNT, "view", {}, MACHINE),
    (SERVICE_ACCOUNT, "cancel", {}, OK),
    (NODE, "approve", {}, MACHINE),
    (OPERATOR, "approve", {}, "cannot create resource"),
    (ADMIN, "approve", {}, NO_MANDATE),
    (ADMIN, "view", {}, NO_MANDATE),
    (ADMIN, "cancel", {}, OK),
    (WILDCARD, "approve", {}, NO_MANDATE),
    (WILDCARD, "reject", {}, "install the chart ntro with adminsMayDecide=true"),
    (WILDCARD, "view", {}, NO_MANDATE),
    (EVERY_VERB, "approve", {}, NO_MANDATE),
]


@pytest.mark.parametrize(("who", "verb", "changes", "message"), ACTS)
def test_act(who: Person, verb: str, changes: dict[str, Any], message: str, ns: str) -> None:
    who = named(who, ns)
    done = create(edit(user_action(ns, who, verb), changes), who)
    done.refused(message) if message else done.ok()


SLOT = {"metadata/name": "nav-monthly-20261105t0800z"}
SCHEDULE = {
    "spec/request/trigger": {
        "kind": "Schedule",
        "initiator": "x",
        "scheduledTime": "2026-11-05T08:00:00Z",
    }
}


def backfill(who: Person) -> dict[str, Any]:
    trigger = {"kind": "Backfill", "initiator": who.name, "scheduledTime": "2026-11-05T08:00:00Z"}
    return {"spec/request/trigger": trigger}


CHILD = {
    "spec/request/trigger/kind": "Child",
    "spec/request/trigger/parent": {
        "run": "x",
        "runId": "11111111-1111-4111-8111-111111111111",
    },
}
RUNS: list[tuple[Person, dict[str, Any], str]] = [
    (RUNNER, {}, OK),
    (
        RUNNER,
        {"spec/request/trigger/initiator": APPROVER.name},
        f"trigger.initiator must be the requesting user {RUNNER.name}",
    ),
    (RUNNER, SLOT, "name suffix -<yyyymmdd>t<hhmm>z is reserved for runs of slots"),
    (
        RUNNER,
        {**SLOT, **SCHEDULE},
        "only the operator may create runs with trigger.kind Schedule or Child",
    ),
    (
        RUNNER,
        CHILD,
        "only the operator may create runs with trigger.kind Schedule or Child",
    ),
    (RUNNER, {**SLOT, **backfill(RUNNER)}, OK),
    (RUNNER, {**SLOT, **backfill(APPROVER)}, f"trigger.initiator must be the requesting user {RUNNER.name}"),
    (RUNNER, backfill(RUNNER), "the run of a slot must be named nav-monthly-20261105t0800z"),
    (
        RUNNER,
        {"metadata/name": "nav-monthly-20261105t0900z", **backfill(RUNNER)},
        "the run of a slot must be named nav-monthly-20261105t0800z",
    ),
    (NOBODY, {**SLOT, **backfill(NOBODY)}, f"{NOBODY.name} may not start runs of nav-monthly"),
    (OPERATOR, {**SLOT, **SCHEDULE}, OK),
    (OPERATOR, {}, OK),
    (ONE_WORKFLOW, {}, OK),
    (
        ONE_WORKFLOW,
        {"metadata/name": "other-abcde", "spec/request/workflowRef/name": "other"},
        f"{ONE_WORKFLOW.name} may not start runs of other",
    ),
    (SERVICE_ACCOUNT, {}, OK),
    (
        NOBODY,
        {},
        f"{NOBODY.name} may not start runs of nav-monthly: bind Role ntro-runner",
    ),
    (VIEWER, {}, "cannot create resource"),
    (ADMIN, {}, OK),
    (ADMIN, {**SLOT, **SCHEDULE}, "only the operator may create runs"),
]


@pytest.mark.parametrize(("who", "changes", "message"), RUNS)
def test_run(who: Person, changes: dict[str, Any], message: str, ns: str) -> None:
    who = named(who, ns)
    own = {} if who == OPERATOR or "spec/request/trigger" in changes else {"spec/request/trigger/initiator": who.name}
    done = create(edit(run(ns), {**own, **changes}), who)
    done.refused(message) if message else done.ok()


@pytest.fixture
def governed(ns: str) -> Iterator[Object]:
    """A stored Workflow with a gate policy by RUNNER."""
    name = f"governed-{secrets.token_hex(3)}"
    create(
        edit(
            workflow(ns),
            {"metadata/name": name, "spec/gatePolicy": gate_policy(RUNNER.name)},
        ),
        RUNNER,
        dry=False,
    ).ok()
    yield kubectl("-n", ns, "get", "nwf", name, "-o", "json").ok().json
    kubectl("-n", ns, "delete", "nwf", name).ok()


def test_the_author_of_a_gate_policy_is_who_sends_it(ns: str, governed: Object) -> None:
    foreign = f"gatePolicy.author must be the requesting user {RUNNER.name}"
    create(edit(workflow(ns), {"spec/gatePolicy": gate_policy(APPROVER.name)}), RUNNER).refused(foreign)
    # Somebody else may change the rest, but not the policy, not even under the first author's name.
    replace(edit(governed, {"spec/suspend": True}), ADMIN).ok()
    lenient = {"spec/gatePolicy/default/users": [ADMIN.name]}
    replace(edit(governed, lenient), ADMIN).refused(f"must be the requesting user {ADMIN.name}")
    replace(edit(governed, {**lenient, "spec/gatePolicy/author": ADMIN.name}), ADMIN).ok()
    replace(edit(governed, {"spec/gatePolicy/author": ADMIN.name}), RUNNER).refused(foreign)
    replace(edit(governed, {"spec/gatePolicy/gates": None}), ADMIN).refused(f"must be the requesting user {ADMIN.name}")
    replace(edit(governed, {"spec/gatePolicy": None}), RUNNER).refused("spec.gatePolicy cannot be removed once set")
    bare = edit(workflow(ns), {"metadata/name": f"bare-{secrets.token_hex(3)}"})
    create(bare, RUNNER, dry=False).ok()
    found = kubectl("-n", ns, "get", "nwf", bare["metadata"]["name"], "-o", "json").ok().json
    replace(edit(found, {"spec/gatePolicy": gate_policy(RUNNER.name)}), ADMIN).refused(f"must be the requesting user {ADMIN.name}")
    replace(edit(found, {"spec/gatePolicy": gate_policy(RUNNER.name)}), RUNNER).ok()


def test_only_the_operator_writes_gates(ns: str) -> None:
    thing = edit(gate(ns), {"metadata/name": "written"})
    message = "only the operator may create gates: Gates show what a run waits for; decide them with ntro gate"
    create(thing, ADMIN).refused(message)
    create(thing, OPERATOR, dry=False).ok()
    found = kubectl("-n", ns, "get", "gate", "written", "-o", "json").ok().json
    labelled = edit(found, {"metadata/labels": {"ntro.dev/run": "x"}})
    replace(labelled, ADMIN).refused("only the operator may update gates")
    replace(labelled, OPERATOR).ok()
    kubectl("-n", ns, "delete", "gate", "written", "--dry-run=server", person=ADMIN).ok()
    kubectl("-n", ns, "delete", "gate", "written", "--dry-run=server", person=APPROVER).refused("cannot delete resource")


def test_what_a_person_did_stays(ns: str) -> None:
    create(edit(user_action(ns), {"metadata/name": "stays"}), APPROVER, dry=False).ok()
    found = kubectl("-n", ns, "get", "act", "stays", "-o", "json").ok().json
    kept = "UserActions are immutable"
    replace(edit(found, {"metadata/labels": {"a": "b"}}), ADMIN).refused(kept)
    delete = ("-n", ns, "delete", "act", "stays", "--dry-run=server")
    kubectl(*delete, person=ADMIN).refused(kept)
    kubectl(*delete, person=WILDCARD).refused(kept)
    kubectl(*delete, person=APPROVER).refused("cannot delete resource")
    kubectl(*delete, person=OPERATOR).ok()
    kubectl(*delete, person=Person(GARBAGE_COLLECTOR.name, ("system:masters",))).ok()


def test_only_the_operator_publishes_its_authority(ns: str) -> None:
    def ca(pem: str) -> Object:
        metadata = {"name": "ntro-ca", "namespace": ns}
        return {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": metadata,
            "data": {"ca.crt": pem},
        }

    create(ca("forged"), ADMIN).refused("only the operator may create configmaps")
    create(ca("true"), OPERATOR, dry=False).ok()
    replace(ca("forged"), ADMIN).refused("only the operator may update configmaps")
    kubectl("-n", ns, "delete", "configmap", "ntro-ca", "--dry-run=server", person=ADMIN).refused("only the operator may delete configmaps")
    create(edit(ca("free"), {"metadata/name": "another"}), ADMIN).ok()


PORT_FORWARD = ("--subresource=portforward", "-n", SYSTEM)
RIGHTS: list[tuple[Person, tuple[str, ...], bool]] = [
    (VIEWER, ("list", "workflowruns.ntro.dev"), True),
    (VIEWER, ("watch", "gates.ntro.dev"), True),
    (VIEWER, ("create", "useractions.ntro.dev"), True),
    (VIEWER, ("create", "workflowruns.ntro.dev"), False),
    (VIEWER, ("patch", "workflows.ntro.dev"), False),
    (VIEWER, ("get", "secrets"), False),
    (VIEWER, ("get", "pods"), False),
    (VIEWER, ("get", "pods", "--subresource=log"), False),
    (VIEWER, ("get", "pods/ntro-0", *PORT_FORWARD), True),
    (VIEWER, ("create", "pods/ntro-0", *PORT_FORWARD), True),
    (VIEWER, ("create", "pods/other", *PORT_FORWARD), False),
    (VIEWER, ("list", "workflowruns.ntro.dev", "-n", "default"), False),
    (APPROVER, ("approve", "gates.ntro.dev/nav-monthly.review"), True),
    (APPROVER, ("ntro-canary", "gates.ntro.dev/nav-monthly.review"), False),
    (APPROVER, ("create", "workflowruns.ntro.dev"), False),
    (APPROVER, ("patch", "workflows.ntro.dev"), False),
    (RUNNER, ("run", "workflows.ntro.dev/nav-monthly"), True),
    (RUNNER, ("patch", "workflows.ntro.dev"), True),
    (RUNNER, ("approve", "gates.ntro.dev/nav-monthly.review"), False),
    (RUNNER, ("delete", "useractions.ntro.dev"), False),
    (OPERATOR, ("create", "jobs.batch"), True),
    (OPERATOR, ("create", "jobs.batch", "-n", "default"), False),
    (OPERATOR, ("get", "pods"), True),
    (OPERATOR, ("create", "pods"), False),
    (OPERATOR, ("get", "pods", "--subresource=log"), False),
    (OPERATOR, ("get", "secrets/ntro-registry"), True),
    (OPERATOR, ("get", "secrets/other"), False),
    (OPERATOR, ("list", "secrets"), False),
    (OPERATOR, ("get", "secrets/ntro-registry", "-n", "default"), False),
    (OPERATOR, ("update", "configmaps/ntro-ca"), True),
    (OPERATOR, ("update", "configmaps/other"), False),
    (OPERATOR, ("patch", "workflows.ntro.dev"), False),
    (OPERATOR, ("patch", "runbooks.ntro.dev"), False),
    (OPERATOR, ("create", "useractions.ntro.dev"), False),
    (OPERATOR, ("approve", "gates.ntro.dev/nav-monthly.review"), False),
    (OPERATOR, ("impersonate", "users"), False),
    (OPERATOR, ("bind", "roles.rbac.authorization.k8s.io"), False),
    (
        OPERATOR,
        ("patch", "validatingadmissionpolicies.admissionregistration.k8s.io"),
        False,
    ),
]


@pytest.mark.parametrize(("who", "what", "allowed"), RIGHTS)
def test_roles(who: Person, what: tuple[str, ...], allowed: bool, ns: str) -> None:
    place = () if "-n" in what else ("-n", ns)
    answer = kubectl("auth", "can-i", *what, *place, person=who)
    assert answer.out.strip() == ("yes" if allowed else "no"), answer.err


def test_policies_are_stored_as_they_are_written(policies: list[Object]) -> None:
    """The operator compares them field by field with what it was built with: nothing may be added by the API server."""
    for policy in policies:
        found = kubectl("get", policy["kind"], policy["metadata"]["name"], "-o", "json").ok().json
        assert json.loads(json.dumps(found["spec"])) == policy["spec"], policy["metadata"]["name"]
        warnings = found.get("status", {}).get("typeChecking", {}).get("expressionWarnings", [])
        assert warnings == [], policy["metadata"]["name"]
