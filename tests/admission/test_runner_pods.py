"""What executes runbooks: only Jobs of the operator, only in the one shape."""

from __future__ import annotations

from typing import Any

import pytest
from kit.cluster import kubectl, wait_for
from kit.objects import Object, edit
from kit.objects import run as run_of
from kit.people import ADMIN, JOB_CONTROLLER, OPERATOR, REPLICASET_CONTROLLER, RUNNER, Person
from kit.pods import IMAGE, job, pod
from kit.writes import create

OK = ""
ONE_CONTAINER = "run pods must have exactly one container"
ENVIRONMENT = "the environment of run pods must not reference Secrets or ConfigMaps"
MOUNTS = "run pods may mount only emptyDir volumes"
RESTRICTED = "containers of run pods must be restricted"
ALONE = "run pods must not use host namespaces"
LABELS = "run pods may have labels of ntro.dev and labels.ntro.dev only"
SIDECAR = {**job("x")["spec"]["template"]["spec"]["containers"][0], "name": "sidecar"}
C = "containers/0"


def mount(**source: Any) -> dict[str, Any]:
    return {"volumes/2": {"name": "x", **source}}


# Edits of the pod's spec, and what refuses them.
SHAPES: list[tuple[dict[str, Any], str]] = [
    ({}, OK),
    (
        {"serviceAccountName": "default"},
        "run pods must use service account ntro-runner",
    ),
    ({"automountServiceAccountToken": True}, "automountServiceAccountToken: false"),
    (mount(secret={"secretName": "ntro-registry"}), MOUNTS),
    (mount(configMap={"name": "settings"}), MOUNTS),
    (mount(persistentVolumeClaim={"claimName": "x"}), MOUNTS),
    (mount(downwardAPI={"items": []}), MOUNTS),
    (mount(csi={"driver": "x.example.com"}), MOUNTS),
    (mount(projected={"sources": [{"secret": {"name": "ntro-registry"}}]}), MOUNTS),
    (
        mount(projected={"sources": [{"serviceAccountToken": {"path": "token", "audience": "ntro.other"}}]}),
        MOUNTS,
    ),
    (
        mount(projected={"sources": [{"serviceAccountToken": {"path": "token"}}]}),
        MOUNTS,
    ),
    ({"initContainers": [SIDECAR]}, ONE_CONTAINER),
    (
        {
            "containers": [
                job("x")["spec"]["template"]["spec"]["containers"][0],
                SIDECAR,
            ]
        },
        ONE_CONTAINER,
    ),
    (
        {f"{C}/image": "registry.example.com/runner:1.0"},
        "the image of a run pod must be pinned by digest (repository@sha256:…)",
    ),
    (
        {f"{C}/env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]},
        ENVIRONMENT,
    ),
    (
        {
            f"{C}/env": [
                {
                    "name": "A",
                    "valueFrom": {"configMapKeyRef": {"name": "s", "key": "k"}},
                }
            ]
        },
        ENVIRONMENT,
    ),
    ({f"{C}/envFrom": [{"secretRef": {"name": "s"}}]}, ENVIRONMENT),
    ({f"{C}/ports": [{"containerPort": 8443}]}, ALONE),
    ({"enableServiceLinks": True}, ALONE),
    ({"shareProcessNamespace": True}, ALONE),
    ({"restartPolicy": "OnFailure"}, ALONE),
    ({f"{C}/securityContext/readOnlyRootFilesystem": False}, RESTRICTED),
    ({f"{C}/securityContext/allowPrivilegeEscalation": True}, RESTRICTED),
    ({f"{C}/securityContext/capabilities": {"drop": ["NET_RAW"]}}, RESTRICTED),
    ({f"{C}/securityContext/capabilities/add": ["NET_BIND_SERVICE"]}, RESTRICTED),
    ({f"{C}/securityContext/runAsNonRoot": False}, RESTRICTED),
    ({"securityContext/runAsNonRoot": None}, RESTRICTED),
    ({"securityContext/seccompProfile": {"type": "Unconfined"}}, RESTRICTED),
    ({f"{C}/securityContext": None}, RESTRICTED),
    ({"hostNetwork": True}, ALONE),
    ({"hostPID": True}, ALONE),
]
LABELLED: list[tuple[dict[str, str], str]] = [
    ({"labels.ntro.dev/team": "a", "app.kubernetes.io/name": "ntro-runner"}, OK),
    ({"kueue.x-k8s.io/queue-name": "month-end"}, OK),
    ({"app.kubernetes.io/name": "ntro"}, LABELS),
    ({"app": "api"}, LABELS),
    ({"app.kubernetes.io/component": "operator"}, LABELS),
]


@pytest.mark.parametrize(("changes", "message"), SHAPES)
def test_shape_of_a_job(changes: dict[str, Any], message: str, ns: str) -> None:
    done = create(
        edit(
            job(ns),
            {f"spec/template/spec/{path}": value for path, value in changes.items()},
        ),
        OPERATOR,
    )
    done.refused(message) if message else done.ok()


@pytest.mark.parametrize(("labels", "message"), LABELLED)
def test_labels_of_a_job(labels: dict[str, str], message: str, ns: str) -> None:
    done = create(edit(job(ns), {"spec/template/metadata/labels": labels}), OPERATOR)
    done.refused(message) if message else done.ok()


@pytest.mark.parametrize(
    ("who", "changes", "message"),
    [
        (ADMIN, {}, "only the operator may create Jobs with service account ntro-runner"),
        (RUNNER, {}, "cannot create resource"),
        (
            OPERATOR,
            {"metadata/ownerReferences": None},
            "the operator's Jobs must be controlled by a WorkflowRun",
        ),
        (
            OPERATOR,
            {"spec/backoffLimit": 3},
            "the operator's Jobs must set backoffLimit 0, parallelism 1 and completions 1",
        ),
        (
            OPERATOR,
            {"spec/backoffLimit": None},
            "the operator's Jobs must set backoffLimit 0, parallelism 1 and completions 1",
        ),
        (
            OPERATOR,
            {"spec/parallelism": 2, "spec/completions": 2},
            "the operator's Jobs must set backoffLimit 0, parallelism 1 and completions 1",
        ),
        (ADMIN, {"spec/template/spec/serviceAccountName": "default"}, OK),
    ],
)
def test_who_makes_jobs(who: Person, changes: dict[str, Any], message: str, ns: str) -> None:
    done = create(edit(job(ns), changes), who)
    done.refused(message) if message else done.ok()


ONLY_JOBS = "only the operator's Jobs may create pods with service account ntro-runner"


@pytest.mark.parametrize(
    ("who", "changes", "message"),
    [
        (JOB_CONTROLLER, {}, OK),
        (ADMIN, {}, ONLY_JOBS),
        (OPERATOR, {}, ONLY_JOBS),
        (JOB_CONTROLLER, {"metadata/ownerReferences": None}, ONLY_JOBS),
        (REPLICASET_CONTROLLER, {}, ONLY_JOBS),
        (
            JOB_CONTROLLER,
            {"spec/volumes/2": {"name": "s", "secret": {"secretName": "s"}}},
            MOUNTS,
        ),
        (
            JOB_CONTROLLER,
            {f"spec/{C}/image": "registry.example.com/runner:1.0"},
            "must be pinned by digest",
        ),
        (JOB_CONTROLLER, {"metadata/labels/app": "api"}, LABELS),
        (ADMIN, {"spec/serviceAccountName": "default"}, OK),
    ],
)
def test_who_makes_pods(who: Person, changes: dict[str, Any], message: str, ns: str) -> None:
    # The right to create is not the question here: admission is, for whoever has it.
    who = Person(who.name, (*who.groups, "system:masters"))
    done = create(edit(pod(ns), changes), who)
    done.refused(message) if message else done.ok()


@pytest.fixture(scope="module")
def running(ns: str) -> Object:
    """A real pod of a real Job; its image does not exist, which it does not need to. Its run does: the garbage collector
    removes what has lost its owner."""
    owner = run_of(ns, "nav-monthly-owner")
    create(owner, RUNNER, dry=False).ok()
    uid = kubectl("-n", ns, "get", "workflowrun", "nav-monthly-owner", "-o", "jsonpath={.metadata.uid}").ok().out
    changes = {
        "metadata/ownerReferences/0/name": "nav-monthly-owner",
        "metadata/ownerReferences/0/uid": uid,
        "spec/template/spec/volumes/3": {"name": "none", "emptyDir": {}},
    }
    create(edit(job(ns), changes), OPERATOR, dry=False).ok()
    get = (
        "-n",
        ns,
        "get",
        "pods",
        "-l",
        "ntro.dev/run=nav-monthly-abcde",
        "-o",
        "json",
    )
    found = wait_for("the Job makes its pod", lambda: kubectl(*get).ok().json["items"], timeout=240)[0]
    return {"namespace": ns, "name": found["metadata"]["name"], "image": IMAGE}


def test_a_running_pod_stays_as_it_is(running: Object) -> None:
    at = ("-n", running["namespace"])
    name = running["name"]
    kubectl(*at, "label", "pod", name, "app=api", "--dry-run=server").refused(LABELS)
    kubectl(*at, "label", "pod", name, "labels.ntro.dev/seen=yes", "--dry-run=server").ok()
    container = {
        "name": "debug",
        "image": IMAGE,
        "securityContext": SIDECAR["securityContext"],
    }
    whole = kubectl(*at, "get", "pod", name, "-o", "json").ok().json
    path = f"/api/v1/namespaces/{running['namespace']}/pods/{name}/ephemeralcontainers?dryRun=All"
    done = kubectl(
        "replace",
        "--raw",
        path,
        "-f",
        "-",
        # Whatever the kubelet has written of it since.
        send=edit(whole, {"spec/ephemeralContainers": [container], "metadata/resourceVersion": None}),
    )
    done.refused("ephemeral containers are not allowed in run pods")
