"""Namespaces of tenants: what they must be, and that they stay whose they are."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import Any

import pytest
from kit.charts import render
from kit.cluster import kubectl
from kit.objects import RESTRICTED, Object, edit, namespace
from kit.people import ADMIN
from kit.writes import create

TENANT = "ntro.dev/tenant"


def labelled(**labels: str) -> Object:
    return namespace(f"ntro-tenant-{secrets.token_hex(3)}", labels)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ({TENANT: "acme", **RESTRICTED}, ""),
        ({}, ""),
        ({"pod-security.kubernetes.io/enforce": "privileged"}, ""),
        (
            {TENANT: "acme"},
            "a tenant's namespace must have the label pod-security.kubernetes.io/enforce=restricted",
        ),
        (
            {TENANT: "acme", "pod-security.kubernetes.io/enforce": "baseline"},
            "enforce=restricted",
        ),
        ({TENANT: "Acme", **RESTRICTED}, "the label ntro.dev/tenant must consist of lower case alphanumeric characters"),
        ({TENANT: "", **RESTRICTED}, "the label ntro.dev/tenant must consist of lower case alphanumeric characters"),
    ],
)
def test_create(labels: dict[str, str], message: str, ns: str) -> None:
    done = create(labelled(**labels), ADMIN)
    done.refused(message) if message else done.ok()


@pytest.fixture(scope="module")
def tenant(ns: str) -> Iterator[str]:
    thing = labelled(**{TENANT: "acme-of-the-table", **RESTRICTED})
    create(thing, ADMIN, dry=False).ok()
    yield thing["metadata"]["name"]
    kubectl("delete", "namespace", thing["metadata"]["name"], "--wait=false")


STAYS = "the label ntro.dev/tenant is immutable: identities and journals of tenant acme-of-the-table depend on it"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (f"{TENANT}=beta", STAYS),
        (f"{TENANT}-", STAYS),
        ("pod-security.kubernetes.io/enforce=privileged", "enforce=restricted"),
        ("pod-security.kubernetes.io/enforce-", "enforce=restricted"),
        ("team=fund", ""),
    ],
)
def test_label(change: str, message: str, tenant: str) -> None:
    done = kubectl("label", "--overwrite", "--dry-run=server", "namespace", tenant, change)
    done.refused(message) if message else done.ok()


def test_a_namespace_becomes_a_tenants_once(ns: str) -> None:
    kubectl("label", "--dry-run=server", "namespace", ns, f"{TENANT}=acme").ok()


def test_the_chart_makes_an_acceptable_namespace(ns: str) -> None:
    made: dict[str, Any] = next(d for d in render("ntro-tenant", "tenant=acme-of-the-chart") if d["kind"] == "Namespace")
    create(edit(made, {"metadata/annotations": {}}), ADMIN).ok()
