"""What executes a run: its Job and its pod, as the operator makes them and the admission policies want them."""

from __future__ import annotations

import copy

from kit.objects import API, RUN_ID, SHA, Object

IMAGE = "registry.example.com/runner@" + SHA

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
