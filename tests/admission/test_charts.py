"""What the charts render, and which values they refuse. Needs Helm, and a cluster only where a namespace is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from kit.charts import manifests, render, set_flags, template
from kit.cluster import ROOT, call, helm, kubectl
from kit.objects import SHA, Object
from kit.people import SYSTEM
from kit.pods import IMAGE

IMAGES = (f"image={IMAGE}", f"runnerImage={IMAGE}")
TOPOLOGIES = {
    "cluster": (SYSTEM, ("scope=cluster",)),
    "namespace": ("acme", ("scope=namespace",)),
}


@pytest.mark.parametrize(
    ("chart", "values"),
    [
        ("ntro-crds", ()),
        ("ntro", IMAGES),
        ("ntro-tenant", ("tenant=acme",)),
        ("ntro", (*IMAGES, "scope=namespace")),
    ],
)
def test_lint(chart: str, values: tuple[str, ...]) -> None:
    helm("lint", "--strict", str(ROOT / "charts" / chart), *set_flags(values)).ok()


@pytest.mark.parametrize(
    ("chart", "values", "message"),
    [
        ("ntro", (), "/image"),
        ("ntro", (f"image={IMAGE}",), "/runnerImage"),
        (
            "ntro",
            (f"image={IMAGE}", "runnerImage=registry.example.com/runner:1.0"),
            "/runnerImage",
        ),
        (
            "ntro",
            ("image=registry.example.com/ntro:latest", f"runnerImage={IMAGE}"),
            "/image",
        ),
        (
            "ntro",
            (f"image=registry.example.com/ntro@{SHA}0", f"runnerImage={IMAGE}"),
            "/image",
        ),
        ("ntro", (*IMAGES, "scope=galaxy"), "/scope"),
        ("ntro", (*IMAGES, "leaseMs=0"), "/leaseMs"),
        ("ntro", (*IMAGES, "leaseMs=soon"), "/leaseMs"),
        ("ntro", (*IMAGES, "adminsMayDecide=perhaps"), "/adminsMayDecide"),
        ("ntro", (*IMAGES, "replicas=2"), "replicas"),
        ("ntro", (*IMAGES, "storage.size=much"), "/storage/size"),
        ("ntro-tenant", (), "/tenant"),
        ("ntro-tenant", ("tenant=Acme Fund",), "/tenant"),
        ("ntro-tenant", ("tenant=acme", "approver=ada"), "approver"),
        ("ntro-tenant", ("tenant=acme", "approvers={ada}"), "/approvers"),
        ("ntro-tenant", ("tenant=acme", "registrySecrets=null"), "registrySecrets"),
        ("ntro-tenant", ("tenant=acme", "limits.tenant=much"), "/limits/tenant"),
        ("ntro-tenant", ("tenant=acme", "limits.reserve=1Gi"), "reserve"),
        ("ntro-crds", ("enabled=false",), "enabled"),
    ],
)
def test_values_that_are_refused(chart: str, values: tuple[str, ...], message: str) -> None:
    done = template(chart, *values)
    assert done.code != 0, "rendered"
    assert message in done.err, done.err


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_every_pod_is_restricted(topology: str) -> None:
    namespace, values = TOPOLOGIES[topology]
    (workload,) = [d for d in render("ntro", *IMAGES, *values, namespace=namespace) if d["kind"] == "StatefulSet"]
    assert workload["spec"]["replicas"] == 1 and workload["metadata"]["name"] == "ntro"
    pod = workload["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] and pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert all(set(volume) <= {"name", "emptyDir"} for volume in pod["volumes"])
    for container in pod["containers"]:
        assert container["image"] == IMAGE
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert all(probe["httpGet"]["scheme"] == "HTTPS" for probe in (container["livenessProbe"], container["readinessProbe"]))


def test_the_api_server_finds_the_pod_restricted(ns: str) -> None:
    """Pod Security itself judges, by a namespace that enforces it."""
    (workload,) = [d for d in render("ntro", *IMAGES, namespace=ns) if d["kind"] == "StatefulSet"]
    template = workload["spec"]["template"]
    template["spec"].pop("serviceAccountName")
    mounts = [v for v in template["spec"]["containers"][0]["volumeMounts"] if v["name"] != "data"]
    template["spec"]["containers"][0]["volumeMounts"] = mounts
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "ntro-0", "namespace": ns},
        "spec": template["spec"],
    }
    kubectl("create", "--dry-run=server", "-f", "-", send=pod).ok()
    template["spec"]["containers"][0]["securityContext"]["allowPrivilegeEscalation"] = True
    kubectl("create", "--dry-run=server", "-f", "-", send=pod).refused("violates PodSecurity")


CLUSTER_WIDE = [
    (["authentication.k8s.io"], ["tokenreviews"], ["create"]),
    (
        ["admissionregistration.k8s.io"],
        ["validatingadmissionpolicies", "validatingadmissionpolicybindings"],
        ["get", "list", "watch"],
    ),
    ([""], ["namespaces"], ["get", "list", "watch"]),
    (["apiextensions.k8s.io"], ["customresourcedefinitions"], ["get", "list", "watch"]),
]


def rules(documents: list[Object], kind: str) -> list[tuple[list[str], list[str], list[str]]]:
    return [(r["apiGroups"], r["resources"], r["verbs"]) for d in documents if d["kind"] == kind for r in d["rules"]]


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_rights_of_the_operator(topology: str) -> None:
    namespace, values = TOPOLOGIES[topology]
    documents = render("ntro", *IMAGES, *values, namespace=namespace)
    wide, own = rules(documents, "ClusterRole"), rules(documents, "Role")
    kinds = [r for r in (*wide, *own) if r[0] == ["ntro.dev"]]
    assert [r for r in wide if r[0] != ["ntro.dev"]] == CLUSTER_WIDE
    assert kinds and all(r in (wide if topology == "cluster" else own) for r in kinds)
    for groups, resources, verbs in (*wide, *own):
        assert "*" not in (*groups, *resources, *verbs)
        assert not {"secrets", "jobs", "pods/exec", "serviceaccounts/token"} & set(resources)
        assert not {"impersonate", "bind", "escalate", "approve", "run", "view"} & set(verbs)
    subjects = [s for d in documents if d["kind"].endswith("RoleBinding") for s in d["subjects"]]
    assert {(s["kind"], s["name"], s["namespace"]) for s in subjects} == {("ServiceAccount", "ntro", namespace)}


def test_instances_of_one_namespace_each_share_nothing() -> None:
    """What has no namespace has another name in each, and each namespaced thing lies in its own."""
    rendered = [render("ntro", *IMAGES, "scope=namespace", namespace=name) for name in ("acme", "beta")]
    names = [{(d["kind"], d["metadata"]["name"]) for d in documents if "namespace" not in d["metadata"]} for documents in rendered]
    assert names[0] and not names[0] & names[1]
    for documents, namespace in zip(rendered, ("acme", "beta"), strict=True):
        assert {d["metadata"]["namespace"] for d in documents if "namespace" in d["metadata"]} == {namespace}
        policies = [d for d in documents if d["kind"] == "ValidatingAdmissionPolicy"]
        assert len(policies) == 8
        for policy in policies:
            assert f"== '{namespace}'" in policy["spec"]["matchConditions"][0]["expression"]
            assert f"system:serviceaccount:{namespace}:ntro" in json.dumps(policy) or policy["metadata"]["name"].endswith(
                ("-user-actions", "-pods", "-tenants", "-gate-policies")
            )


def test_policies_of_both_topologies_compile(ns: str) -> None:
    for namespace, values in TOPOLOGIES.values():
        for document in render("ntro", *IMAGES, *values, namespace=namespace):
            if document["kind"] == "ValidatingAdmissionPolicy":
                document["metadata"]["name"] = f"ntro-test-{document['metadata']['name']}"
                kubectl("create", "--dry-run=server", "-f", "-", send=document).ok()


def test_administrators_decide_only_if_the_value_says_so() -> None:
    for value in ("false", "true"):
        documents = render("ntro", *IMAGES, f"adminsMayDecide={value}")
        (acts,) = [d for d in documents if d["metadata"]["name"] == "ntro-user-actions" and d["kind"] == "ValidatingAdmissionPolicy"]
        assert {v["name"]: v["expression"] for v in acts["spec"]["variables"]}["adminsMayDecide"] == value
        (workload,) = [d for d in documents if d["kind"] == "StatefulSet"]
        env = {e["name"]: e.get("value") for e in workload["spec"]["template"]["spec"]["containers"][0]["env"]}
        assert env["NTRO_ADMINS_MAY_DECIDE"] == value


def test_definitions_are_kept_when_their_chart_goes() -> None:
    for definition in render("ntro-crds"):
        assert definition["metadata"]["annotations"] == {
            "argocd.argoproj.io/sync-options": "Prune=false",
            "helm.sh/resource-policy": "keep",
            "kustomize.toolkit.fluxcd.io/prune": "disabled",
        }


TENANTS: dict[str, Object] = {
    "nothing said": {"tenant": "acme"},
    "everything said": {
        "tenant": "acme",
        "namespace": "acme-prod",
        "createNamespace": True,
        "operatorNamespace": "ntro",
        "registry": "registry.example.com/acme",
        "registrySecrets": ["a", "b"],
        "retention": {"journal": "3650d", "logs": "90d"},
        "limits": {"runJournal": "8Mi", "runBlobs": "512Mi", "runLog": "4Mi", "tenant": "2Gi"},
        "viewers": {
            "users": ["vera@example.com", 'it\'s "quoted" {{ .Values.tenant }}'],
            "groups": ["auditors"],
        },
        "approvers": {"users": ["ada@example.com"], "groups": []},
        "runners": {"users": ["vera@example.com"], "groups": ["ops", "auditors"]},
        "quota": {"pods": "5"},
        "containerDefaults": {"requests": {"cpu": "1"}, "limits": {}},
        "dnsNamespace": "dns",
    },
    "somebody else's namespace": {
        "tenant": "acme",
        "createNamespace": False,
        "approvers": {"groups": ["board"]},
    },
}


@pytest.fixture(scope="module")
def tenant_program() -> Path:
    """The program that prints what `ntro tenant create` applies."""
    done = call("cargo", "build", "--locked", "-p", "xtask", "--message-format=json", timeout=1800).ok()
    built = [json.loads(line) for line in done.out.splitlines()]
    return Path(next(b["executable"] for b in built if b.get("executable")))


@pytest.mark.parametrize("name", TENANTS)
def test_the_chart_and_the_command_make_the_same_tenant(name: str, tmp_path: Path, tenant_program: Path) -> None:
    values = tmp_path / "values.yaml"
    spec = TENANTS[name]
    # Helm merges maps of values with the chart's; a null removes what the chart has.
    merged = (
        {
            **spec,
            "quota": {
                **dict.fromkeys(yaml.safe_load((ROOT / "charts/ntro-tenant/values.yaml").read_text())["quota"]),
                **spec["quota"],
            },
        }
        if "quota" in spec
        else spec
    )
    if "containerDefaults" in spec:
        limits = {"cpu": None, "memory": None, **spec["containerDefaults"]["limits"]}
        requests = {"memory": None, **spec["containerDefaults"]["requests"]}
        merged = {
            **merged,
            "containerDefaults": {"requests": requests, "limits": limits},
        }
    values.write_text(yaml.safe_dump(merged))
    rendered = manifests(helm("template", "t", str(ROOT / "charts/ntro-tenant"), "-n", SYSTEM, "-f", str(values)))
    source = call(str(tenant_program), "tenant", stdin=json.dumps(spec)).ok()

    def key(document: Object) -> tuple[str, str]:
        return document["kind"], document["metadata"]["name"]

    assert sorted(rendered, key=key) == sorted(json.loads(source.out), key=key)


def missing(wanted: Any, found: Any, path: str = "") -> list[str]:
    """Where `found` lacks something of `wanted` or has it otherwise; what it has besides does not count."""
    if isinstance(wanted, dict) and isinstance(found, dict):
        return [m for key, value in wanted.items() for m in missing(value, found.get(key), f"{path}/{key}")]
    if isinstance(wanted, list) and isinstance(found, list) and len(wanted) == len(found):
        return [m for i, (a, b) in enumerate(zip(wanted, found, strict=True)) for m in missing(a, b, f"{path}/{i}")]
    return [] if wanted == found else [path]


def test_definitions_are_stored_as_they_are_rendered(policies: list[Object]) -> None:
    """Else a tool that compares would apply them for ever."""
    for definition in render("ntro-crds"):
        found = kubectl("get", "crd", definition["metadata"]["name"], "-o", "json").ok().json
        assert missing(definition["spec"], found["spec"]) == [], definition["metadata"]["name"]


def test_monitoring_is_off_unless_asked_for_and_whole_if_it_is() -> None:
    kinds = {d["kind"] for d in render("ntro", *IMAGES)}
    assert not kinds & {"PodMonitor", "PrometheusRule"}
    parts = [f"monitoring.{part}=true" for part in ("dashboard", "podMonitor", "rules")]
    documents = {d["kind"]: d for d in render("ntro", *IMAGES, *parts)}
    board = json.loads(documents["ConfigMap"]["data"]["ntro.json"])
    assert any("skew" in panel["title"].lower() for panel in board["panels"])
    schedules, storage = documents["PrometheusRule"]["spec"]["groups"]
    assert {rule["alert"] for rule in schedules["rules"]} >= {"NtroSlotsSkipped", "NtroScheduleSkewHigh"}
    assert "{{ $labels.reason }}" in schedules["rules"][0]["annotations"]["summary"]
    assert [rule["alert"] for rule in storage["rules"]] == ["NtroStorageLow"]
    assert documents["PodMonitor"]["spec"]["podMetricsEndpoints"][0]["port"] == "health"
