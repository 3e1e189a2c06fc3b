"""Holds on runs: who may set, change and lift one, and who may delete a run that has one."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest
from kit.cluster import kubectl, wait_for
from kit.objects import Object, edit, run
from kit.people import ADMIN, APPROVER, GARBAGE_COLLECTOR, OPERATOR, RUNNER, VIEWER, Person
from kit.writes import DRY, apply, create

HOLD = "ntro.dev/hold"
RBAC = "rbac.authorization.k8s.io"
# Who may write runs as such, but not hold them; and who may do both.
CLERK = Person("clara@example.com")
CUSTODIAN = Person("cosima@example.com")

REFUSED = "bind a role with the verb hold on workflowruns.ntro.dev"


def bound(namespace: str, who: Person, *verbs: str) -> list[Object]:
    name = f"test-{who.name.split('@')[0]}"
    metadata = {"name": name, "namespace": namespace}
    rules = [
        {"apiGroups": ["ntro.dev"], "resources": ["workflowruns"], "verbs": ["create", "get", "patch", "delete", *verbs]},
        {"apiGroups": ["ntro.dev"], "resources": ["workflows"], "verbs": ["run"]},
    ]
    return [
        {"apiVersion": f"{RBAC}/v1", "kind": "Role", "metadata": metadata, "rules": rules},
        {
            "apiVersion": f"{RBAC}/v1",
            "kind": "RoleBinding",
            "metadata": metadata,
            "roleRef": {"apiGroup": RBAC, "kind": "Role", "name": name},
            "subjects": [{"apiGroup": RBAC, "kind": "User", "name": who.name}],
        },
    ]


@pytest.fixture(scope="module", autouse=True)
def _bound(ns: str) -> None:
    apply(*bound(ns, CLERK), *bound(ns, CUSTODIAN, "hold"))
    for verb, who in (("patch", CLERK), ("hold", CUSTODIAN)):
        allowed = ["auth", "can-i", verb, "workflowruns.ntro.dev", "-n", ns]
        wait_for(f"{who.name} has a role", lambda allowed=allowed, who=who: kubectl(*allowed, person=who).code == 0)


def a_run(namespace: str, who: Person, hold: str | None = None) -> Object:
    made = run(namespace, f"nav-monthly-{secrets.token_hex(4)}")
    made = edit(made, {"spec/request/trigger/initiator": who.name})
    return edit(made, {"metadata/annotations": {HOLD: hold}}) if hold is not None else made


@pytest.fixture(params=[None, "audit of 2026"], ids=["free", "held"])
def existing(ns: str, request: pytest.FixtureRequest) -> Iterator[tuple[str, str | None]]:
    made = a_run(ns, CUSTODIAN, request.param)
    create(made, CUSTODIAN, dry=False).ok()
    yield made["metadata"]["name"], request.param
    kubectl("-n", ns, "delete", "workflowrun", made["metadata"]["name"], "--ignore-not-found").ok()


def test_a_hold_is_not_for_whoever_may_start_runs(ns: str) -> None:
    create(a_run(ns, RUNNER), RUNNER).ok()
    create(a_run(ns, RUNNER, "mine"), RUNNER).refused(REFUSED)
    create(a_run(ns, RUNNER, ""), RUNNER).refused(REFUSED)
    create(a_run(ns, CUSTODIAN, "audit"), CUSTODIAN).ok()


@pytest.mark.parametrize("change", ["ntro.dev/hold=another", "ntro.dev/hold=", "ntro.dev/hold-"])
def test_setting_changing_and_lifting_needs_the_verb(change: str, existing: tuple[str, str | None], ns: str) -> None:
    name, hold = existing
    annotate = ["-n", ns, "annotate", DRY, "--overwrite", "workflowrun", name, change]
    if hold is None and change.endswith("-"):
        kubectl(*annotate, person=CLERK).ok()
    else:
        kubectl(*annotate, person=CLERK).refused(REFUSED)
    kubectl(*annotate, person=CUSTODIAN).ok()
    kubectl(*annotate, person=ADMIN).ok()


def test_other_annotations_are_not_asked_about(existing: tuple[str, str | None], ns: str) -> None:
    kubectl("-n", ns, "annotate", DRY, "workflowrun", existing[0], "team=fund", person=CLERK).ok()


def test_a_run_that_is_held_is_deleted_by_nobody_without_the_verb(existing: tuple[str, str | None], ns: str) -> None:
    name, hold = existing
    delete = ["-n", ns, "delete", DRY, "workflowrun", name]
    for person in (CLERK, RUNNER):
        done = kubectl(*delete, person=person)
        done.ok() if hold is None else done.refused("may not delete a run that is held")
    for person in (CUSTODIAN, OPERATOR, GARBAGE_COLLECTOR):
        done = kubectl(*delete, person=person)
        assert "ntro-holds" not in done.err


@pytest.mark.parametrize("person", [VIEWER, APPROVER, RUNNER])
def test_no_role_of_a_tenant_has_the_verb(person: Person, ns: str) -> None:
    assert kubectl("auth", "can-i", "hold", "workflowruns.ntro.dev", "-n", ns, person=person).code != 0
