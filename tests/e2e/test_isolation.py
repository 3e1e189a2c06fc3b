"""With what one tenant has, nothing of another can be read, nor its existence be inferred."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import secrets
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPSConnection
from typing import Any

import pytest
from kit.cluster import kubectl, wait_for
from kit.objects import resource
from kit.operator import Operator
from kit.outside import Outside
from kit.people import OPERATOR, SYSTEM
from kit.portforward import port_forward
from kit.probe import started
from kit.tenants import Run, Tenant


@contextmanager
def tunnel(tenant: Tenant) -> Iterator[Callable[..., tuple[int, bytes]]]:
    """A port-forward to the operator; gives a function that asks it over TLS."""
    contact = tenant.get("configmap", "ntro-ca")["data"]
    context = ssl.create_default_context(cadata=contact["ca.crt"])

    class Connection(HTTPSConnection):
        def connect(self) -> None:
            raw = socket.create_connection(("127.0.0.1", port), 30)
            self.sock = context.wrap_socket(raw, server_hostname=contact["serverName"])

    def ask(method: str, path: str, authorization: str, body: Any = None) -> tuple[int, bytes]:
        connection = Connection(contact["serverName"])
        headers = {"Authorization": authorization, "Content-Type": "application/json"}
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        response = connection.getresponse()
        return response.status, response.read()

    with port_forward(8443, tenant.viewer) as port:
        yield ask


def waiting_run(tenant: Tenant, outside: Outside, key: str) -> Run:
    run = started(tenant, outside, key)
    run.reach("Waiting")
    return run


def view_key(run: Run) -> str:
    """Opens a read key as the tenant's viewer, as `ntro` does."""
    tenant = run.tenant
    key = base64.urlsafe_b64encode(secrets.token_bytes(32)).decode().rstrip("=")
    status = run.status()
    spec = {
        "actor": tenant.viewer.name,
        "verb": "view",
        "workflow": run.object()["spec"]["request"]["workflowRef"]["name"],
        "run": run.name,
        "runId": status["runId"],
        "keyHash": "sha256:" + hashlib.sha256(key.encode()).hexdigest(),
    }
    thing = resource("UserAction", tenant.slug, f"view-{secrets.token_hex(6)}", spec)
    kubectl("create", "-f", "-", person=tenant.viewer, send=thing).ok()
    wait_for("the key is open", lambda: tenant.get("act", thing["metadata"]["name"]).get("status", {}).get("outcome") == "Accepted")
    return f"Ntro-Key {key}"


def test_a_readers_key_opens_one_run_only(tenant: Tenant, other_tenant: Tenant, outside: Outside, fresh_name: Callable[[str], str]) -> None:
    mine = waiting_run(tenant, outside, fresh_name("mine"))
    same_tenant = waiting_run(tenant, outside, fresh_name("same"))
    theirs = waiting_run(other_tenant, outside, fresh_name("theirs"))
    key = view_key(mine)
    with tunnel(tenant) as ask:
        status, body = ask("GET", f"/v1/runs/{tenant.slug}/{mine.name}/gates/{mine.gate()}", key)
        assert status == 200 and b"1250.00" in body
        refusals = set()
        for run in (theirs, same_tenant, Run(other_tenant, "no-such-run"), Run(Tenant("no-such-tenant"), "x")):
            for what in ("outputs", "result", "logs", "audit", "steps", f"gates/{theirs.gate()}", "outputs/receipt.json"):
                refusals.add(ask("GET", f"/v1/runs/{run.tenant.slug}/{run.name}/{what}", key))
        refusals.add(ask("POST", f"/v1/runs/{other_tenant.slug}/{theirs.name}/drafts", key, {"kind": "comment", "content": "x"}))
        refusals.add(ask("GET", f"/v1/runs/{tenant.slug}/{mine.name}/outputs", "Ntro-Key " + "A" * 43))
        assert {status for status, _ in refusals} == {403}
        assert len(refusals) == 1, "every refusal is the same, whether the thing exists or not"


def test_a_pods_token_opens_its_own_run_only(tenant: Tenant, other_tenant: Tenant, outside: Outside, fresh_name: Callable[[str], str]) -> None:
    hold = fresh_name("h")
    key = fresh_name("k")
    run = started(tenant, outside, key, f"hold_prepare={hold}")
    outside.wait_reached(hold)
    token = stolen_token(run)
    versions = {"versions": {"runtime": "0.1.0", "protocolMin": 1, "protocolMax": 1, "python": "3.11", "sdk": "0.1.2"}}
    with tunnel(tenant) as ask:
        status, body = ask("POST", "/v1/pod/attach", f"Bearer {token}", versions)
        assert status == 200, body
        session = json.loads(body)["session"]
        assert json.loads(body)["namespace"] == tenant.slug
        parts = session.split(".")
        forged = {
            "another run": ".".join(["00000000-0000-4000-8000-000000000000", *parts[1:]]),
            "another epoch": ".".join([parts[0], str(int(parts[1]) + 1), *parts[2:]]),
            "garbage": "x.1.y.z",
        }
        for what, value in forged.items():
            status, _ = ask("POST", "/v1/pod/poll", f"Bearer {value}", {"epoch": 1, "head": 0, "waitMs": 0})
            assert status == 403, (what, status)
        for audience in (f"ntro.{other_tenant.slug}", "https://kubernetes.default.svc"):
            foreign = tenant.kubectl("create", "token", "ntro-runner", f"--audience={audience}").ok().out.strip()
            status, _ = ask("POST", "/v1/pod/attach", f"Bearer {foreign}", versions)
            assert status == 403, audience
        podless = tenant.kubectl("create", "token", "ntro-runner", f"--audience=ntro.{tenant.slug}").ok().out.strip()
        status, _ = ask("POST", "/v1/pod/attach", f"Bearer {podless}", versions)
        assert status == 403
        status, _ = ask("GET", f"/v1/runs/{tenant.slug}/{run.name}/result", f"Bearer {token}")
        assert status == 403
        digest = tenant.get("rb", "probe")["status"]["resolved"]["digest"]
        status, _ = ask("GET", f"/v1/pod/blobs/{digest}", f"Bearer {session}")
        assert status in (403, 404, 409), "a digest from elsewhere names nothing of this run"
    outside.release(hold)


def stolen_token(run: Run) -> str:
    """The token of the run's pod, read as root of the node, which is more than any tenant can."""
    for pid in wait_for("the pod runs", run.processes):
        environ = dict(e.split("=", 1) for e in open(f"/proc/{pid}/environ").read().split("\0") if "=" in e)
        # /var/run is a link that would lead out of the container's root.
        path = environ.get("NTRO_TOKEN_FILE", "").replace("/var/run/", "/run/")
        if path and os.path.exists(f"/proc/{pid}/root{path}"):
            return open(f"/proc/{pid}/root{path}").read().strip()
    raise AssertionError("no token found")


POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "spec": {
        "serviceAccountName": "ntro-runner",
        "automountServiceAccountToken": False,
        "containers": [
            {
                "name": "c",
                "image": "example.test/x@sha256:" + "0" * 64,
                "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
            }
        ],
        "securityContext": {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
    },
}


@pytest.mark.parametrize(
    ("what", "change"),
    [
        ("mount a Secret", {"volumes": [{"name": "s", "secret": {"secretName": "ntro-registry"}}]}),
        ("take another account", {"serviceAccountName": "default"}),
    ],
)
def test_jobs_of_our_account_are_bounded(what: str, change: dict[str, Any], tenant: Tenant) -> None:
    template = {"spec": {**POD["spec"], **change, "restartPolicy": "Never"}}
    job = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": f"forged-{time.time_ns()}", "namespace": tenant.slug},
        "spec": {"backoffLimit": 0, "template": template},
    }
    done = kubectl("create", "-f", "-", person=OPERATOR, send=job)
    assert done.code != 0 and "denied" in done.err, (what, done.err)


def test_nobody_makes_a_pod_of_the_runners_account(tenant: Tenant) -> None:
    pod = {**POD, "metadata": {"name": f"forged-{time.time_ns()}", "namespace": tenant.slug}}
    done = kubectl("create", "-f", "-", send=pod)
    assert done.code != 0 and "denied" in done.err, done.err


def test_a_runner_cannot_become_the_apis_endpoint(tenant: Tenant, outside: Outside, fresh_name: Callable[[str], str]) -> None:
    """Labels of runner pods never match the selector of the operator's Service, and the pods trust its CA only."""
    service = kubectl("-n", SYSTEM, "get", "service", "ntro", "-o", "json").json
    run = waiting_run(tenant, outside, fresh_name("k"))
    labels = run.pods()[0]["metadata"]["labels"]
    assert not all(labels.get(k) == v for k, v in service["spec"]["selector"].items())
    name = run.object()["spec"]["request"]["workflowRef"]["name"]
    patch = json.dumps({"spec": {"runTemplate": {"labels": service["spec"]["selector"]}}})
    done = tenant.kubectl("patch", "nwf", name, "--type=merge", "-p", patch)
    assert done.code != 0 and "labels.ntro.dev/" in done.err


def test_a_namespace_made_again_has_nothing_of_the_one_before(operator: Operator, outside: Outside, fresh_name: Callable[[str], str]) -> None:
    """Another client gets the name: what the one before has left open is not executed there, and cannot be read."""
    tenant, key = Tenant(fresh_name("again")), fresh_name("k")
    tenant.create()
    run = waiting_run(tenant, outside, key)
    old_id, old_key = run.status()["runId"], view_key(run)
    kubectl("delete", "namespace", tenant.slug, "--wait=true").ok()
    tenant.create()
    again = started(tenant, outside, key)
    again.reach("Waiting")
    assert again.status()["runId"] != old_id
    with tunnel(tenant) as ask:
        assert ask("GET", f"/v1/runs/{tenant.slug}/{run.name}/steps", old_key)[0] == 403
    again.approve()
    again.reach("Succeeded")
    # By now everything that is served was looked at: the only runs of this namespace are its own.
    assert [it["metadata"]["name"] for it in tenant.items("nrun")] == [again.name]
    assert sorted(outside.effects(key)) == [f"{key}/post", f"{key}/prepare", f"{key}/prepare"]
    kubectl("delete", "namespace", tenant.slug, "--wait=false")
