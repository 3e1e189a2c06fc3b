"""What the tables of admission are made of: objects that are accepted as they are, edits to them, and people."""

from __future__ import annotations

import copy
import json
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
SYSTEM = "ntro-system"
API = "ntro.dev/v1alpha1"
RUN_ID = "11111111-1111-4111-8111-111111111111"
GATE_ID = "22222222-2222-4222-8222-222222222222"
KEYED = "hmac-sha256:" + "a" * 64
SHA = "sha256:" + "a" * 64
IMAGE = "registry.example.com/runner@" + SHA

Object = dict[str, Any]


@dataclass(frozen=True)
class Who:
    name: str
    groups: tuple[str, ...] = ("system:authenticated",)

    def flags(self) -> list[str]:
        return [f"--as={self.name}", *(f"--as-group={g}" for g in self.groups)]


OPERATOR = Who(
    f"system:serviceaccount:{SYSTEM}:ntro",
    ("system:serviceaccounts", "system:authenticated"),
)
JOB_CONTROLLER = Who("system:serviceaccount:kube-system:job-controller")
REPLICASET_CONTROLLER = Who("system:serviceaccount:kube-system:replicaset-controller")
COLLECTOR = Who("system:serviceaccount:kube-system:generic-garbage-collector")
ADMIN = Who("root@example.com", ("system:masters", "system:authenticated"))
VIEWER = Who("vera@example.com")
APPROVER = Who("ada@example.com", ("system:authenticated", "board"))
RUNNER = Who("rob@example.com")
NOBODY = Who("nina@example.com")


@dataclass
class Done:
    code: int
    out: str
    err: str

    def ok(self) -> Done:
        assert self.code == 0, self.err
        return self

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    def refused(self, message: str) -> None:
        assert self.code != 0, f"accepted, though it should say: {message}"
        assert message in " ".join(self.err.split()), self.err


def call(*command: str, stdin: str | None = None, timeout: float = 120) -> Done:
    done = subprocess.run(
        command,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    return Done(done.returncode, done.stdout, done.stderr)


def kubectl(*arguments: str, who: Who | None = None, send: Object | None = None) -> Done:
    flags = who.flags() if who else []
    return call("kubectl", *arguments, *flags, stdin=None if send is None else json.dumps(send))


def create(thing: Object, who: Who, *, dry: bool = True) -> Done:
    """Creates it; a dry run passes all of admission and leaves nothing behind."""
    return kubectl("create", *(["--dry-run=server"] if dry else []), "-f", "-", who=who, send=thing)


def replace(thing: Object, who: Who, *, status: bool = False, dry: bool = True) -> Done:
    flags = [
        *(["--dry-run=server"] if dry else []),
        *(["--subresource=status"] if status else []),
    ]
    while True:
        done = kubectl("replace", *flags, "-f", "-", who=who, send=thing)
        if "the object has been modified" not in done.err:
            return done
        # An operator that runs here has said something about the object: the row is about what comes after that.
        metadata = thing["metadata"]
        found = (
            kubectl(
                "-n",
                metadata["namespace"],
                "get",
                thing["kind"],
                metadata["name"],
                "-o",
                "json",
            )
            .ok()
            .json
        )
        thing = edit(thing, {"metadata/resourceVersion": found["metadata"]["resourceVersion"]})


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


def wait_for(what: str, condition: Callable[[], Any], timeout: float = 60) -> Any:
    end = time.monotonic() + timeout
    while not (result := condition()):
        assert time.monotonic() < end, f"not within {timeout} s: {what}"
        time.sleep(0.1)
    return result


def thing(kind: str, namespace: str, name: str, spec: Object) -> Object:
    return {
        "apiVersion": API,
        "kind": kind,
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    }


def runbook(namespace: str) -> Object:
    source = {"url": "oci://registry.example.com:5000/acme/nav-monthly"}
    return thing("Runbook", namespace, "nav-monthly", {"source": source, "interval": "10m"})


def workflow(namespace: str) -> Object:
    spec = {
        "runbookRef": {"name": "nav-monthly"},
        "entity": "acme-spv1",
        "config": {"bank": {"account": "1", "rates": [1, 2.5, None]}},
        "schedule": "0 8 5 * *",
        "timeZone": "Europe/London",
    }
    return thing("Workflow", namespace, "nav-monthly", spec)


def gate_policy(author: str) -> Object:
    return {
        "author": author,
        "gates": [
            {
                "step": "review",
                "groups": ["board"],
                "quorum": 1,
                "distinctFrom": ["initiator", "gate:other"],
                "due": "72h",
            }
        ],
        "default": {"users": ["ada@example.com"], "onExpiry": "reject"},
    }


def run(namespace: str, name: str = "nav-monthly-abcde") -> Object:
    request = {
        "workflowRef": {"name": "nav-monthly"},
        "context": {"period": "2026-10"},
        "trigger": {"kind": "Manual", "initiator": RUNNER.name},
    }
    return thing("WorkflowRun", namespace, name, {"request": request})


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
    return thing("Gate", namespace, "nav-monthly-abcde-review-abcdefgh", spec)


def act(namespace: str, who: Who = APPROVER, verb: str = "approve") -> Object:
    spec: Object = {
        "actor": who.name,
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
    return thing("UserAction", namespace, "act", spec)


POD_SPEC: Object = {
    "serviceAccountName": "ntro-runner",
    "automountServiceAccountToken": False,
    "enableServiceLinks": False,
    "restartPolicy": "Never",
    "securityContext": {
        "runAsNonRoot": True,
        "runAsUser": 65532,
        "seccompProfile": {"type": "RuntimeDefault"},
    },
    "containers": [
        {
            "name": "runner",
            "image": IMAGE,
            "env": [
                {"name": "NTRO_RUN", "value": "r"},
                {
                    "name": "POD",
                    "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}},
                },
            ],
            "resources": {
                "requests": {"cpu": "100m", "memory": "64Mi"},
                "limits": {"cpu": "1", "memory": "64Mi"},
            },
            "securityContext": {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            },
        }
    ],
}


def pod_spec(namespace: str) -> Object:
    token = {
        "serviceAccountToken": {
            "audience": f"ntro.{namespace}",
            "path": "token",
            "expirationSeconds": 600,
        }
    }
    ca = {"name": "ntro-ca"}
    return {
        **copy.deepcopy(POD_SPEC),
        "volumes": [
            {"name": "token", "projected": {"sources": [token, {"configMap": ca}]}},
            {"name": "ca", "configMap": ca},
            {"name": "tmp", "emptyDir": {"sizeLimit": "64Mi"}},
            {"name": "bank", "secret": {"secretName": "ntro-run-bank"}},
        ],
    }


def job(namespace: str) -> Object:
    owner = {
        "apiVersion": API,
        "kind": "WorkflowRun",
        "name": "nav-monthly-abcde",
        "uid": RUN_ID,
        "controller": True,
    }
    labels = {
        "ntro.dev/run": "nav-monthly-abcde",
        "labels.ntro.dev/team": "fund",
        "app.kubernetes.io/managed-by": "ntro",
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": "nav-monthly-abcde-1",
            "namespace": namespace,
            "ownerReferences": [owner],
        },
        "spec": {
            "backoffLimit": 0,
            "template": {"metadata": {"labels": labels}, "spec": pod_spec(namespace)},
        },
    }


def pod(namespace: str) -> Object:
    owner = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "name": "nav-monthly-abcde-1",
        "uid": RUN_ID,
        "controller": True,
    }
    labels = {
        "ntro.dev/run": "nav-monthly-abcde",
        "job-name": "nav-monthly-abcde-1",
        "batch.kubernetes.io/job-name": "nav-monthly-abcde-1",
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": "nav-monthly-abcde-1-x",
            "namespace": namespace,
            "labels": labels,
            "ownerReferences": [owner],
        },
        "spec": pod_spec(namespace),
    }
