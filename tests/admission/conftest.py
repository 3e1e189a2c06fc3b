"""Kinds, policies and roles as the charts give them, on the cluster KUBECONFIG names. The namespace of the tables has the
roles of a tenant but not its label, so that an operator that happens to run there leaves its objects alone."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from functools import partial

import pytest
from kit.charts import install_crds, render
from kit.cluster import Done, helm, kubectl, wait_for
from kit.objects import RESTRICTED, Object, edit, gate, namespace, user_action, workflow
from kit.objects import run as run_of
from kit.people import ADMIN, APPROVER, NOBODY, RUNNER, SYSTEM, VIEWER
from kit.pods import IMAGE, job, pod
from kit.writes import apply, create

POLICIES = ("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding")


def as_if_by_helm(document: Object) -> Object:
    """So that installing the chart later takes over what is here."""
    labels = {
        **document["metadata"].get("labels", {}),
        "app.kubernetes.io/managed-by": "Helm",
    }
    annotations = {
        "meta.helm.sh/release-name": "ntro",
        "meta.helm.sh/release-namespace": SYSTEM,
    }
    return edit(document, {"metadata/labels": labels, "metadata/annotations": annotations})


def installed() -> bool:
    return helm("status", "ntro", "-n", SYSTEM).code == 0


@pytest.fixture(scope="session")
def policies() -> Iterator[list[Object]]:
    """The policies are in the cluster exactly as the chart in this tree has them. Not yet necessarily enforced."""
    install_crds()
    chart = render("ntro", f"image={IMAGE}", f"runnerImage={IMAGE}")
    wanted = [as_if_by_helm(d) for d in chart if d["kind"] in (*POLICIES, "ClusterRole", "ClusterRoleBinding")]
    apply(*wanted)
    yield [d for d in wanted if d["kind"] in POLICIES]
    if not installed():
        for document in wanted:
            kubectl("delete", document["kind"], document["metadata"]["name"], "--ignore-not-found")


def refused_by(policy: str, probe: Callable[[], Done]) -> bool:
    return f"'ntro-{policy}'" in probe().err


@pytest.fixture(scope="session")
def ns(policies: list[Object]) -> Iterator[str]:
    """A namespace with the roles of a tenant, where every policy is enforced."""
    name = f"ntro-admission-{secrets.token_hex(3)}"
    apply(namespace(name, RESTRICTED))
    people = {"viewers": VIEWER, "approvers": APPROVER, "runners": RUNNER}
    values = [f"{role}.users={{{who.name}}}" for role, who in people.items()]
    apply(*render("ntro-tenant", f"tenant={name}", "createNamespace=false", *values))
    # The API server takes up policies and roles some time after they are written: each is seen to work before any row.
    ready = {
        "user-actions": lambda: create(user_action(name, NOBODY), ADMIN),
        "runs": lambda: create(run_of(name), ADMIN),
        "gate-policies": lambda: create(edit(workflow(name), {"spec/gatePolicy": {"author": "x"}}), ADMIN),
        "writes": lambda: create(gate(name), ADMIN),
        "holds": lambda: create(edit(run_of(name), {"metadata/annotations": {"ntro.dev/hold": "x"}}), RUNNER),
        "jobs": lambda: create(job(name), ADMIN),
        "pods": lambda: create(pod(name), ADMIN),
        "tenants": lambda: kubectl("label", "ns", name, "ntro.dev/tenant=Not-A-Slug", "--dry-run=server"),
    }
    assert {f"ntro-{policy}" for policy in ready} == {p["metadata"]["name"] for p in policies}
    for policy, probe in ready.items():
        wait_for(f"policy {policy} refuses", partial(refused_by, policy, probe))
    wait_for("the approver's role works", lambda: create(user_action(name), APPROVER).code == 0)
    wait_for("the runner's role works", lambda: create(run_of(name), RUNNER).code == 0)
    yield name
    kubectl("delete", "namespace", name, "--wait=false")
