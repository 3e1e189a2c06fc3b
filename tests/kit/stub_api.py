"""An API server of a few hundred lines for operators that are tested without a cluster: objects, lists, watches, applies.

It believes everybody, keeps everything in memory and runs no controller but one: a Job has a running pod at once.
"""

from __future__ import annotations

import base64
import json
import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from kit.servers import Server

Object = dict[str, Any]
# Group and version, plural.
Kind = tuple[str, str]
JOBS, PODS, NAMESPACES = ("apis/batch/v1", "jobs"), ("api/v1", "pods"), ("api/v1", "namespaces")
OURS = ("runbooks", "workflows", "workflowruns", "gates", "useractions")
WATCH_SECONDS = 300


def merged(old: Any, new: Any) -> Any:
    """A merge patch; an apply of one manager is the same if nothing is taken back."""
    if not isinstance(old, dict) or not isinstance(new, dict):
        return new
    both = {key: merged(old.get(key), value) for key, value in new.items()}
    return {key: value for key, value in {**old, **both}.items() if value is not None}


def pod_token(namespace: str, pod: str, uid: str) -> str:
    """What a pod shows: nobody signs it, and the stub believes it."""
    claims = {"kubernetes.io": {"namespace": namespace, "pod": {"name": pod, "uid": uid}}}
    return f"e30.{base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip('=')}.sig"


def review(asked: Object) -> Object:
    """The answer of a TokenReview."""
    part = asked["spec"]["token"].split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))["kubernetes.io"]
    extra = {f"authentication.kubernetes.io/pod-{key}": [claims["pod"][key]] for key in ("name", "uid")}
    user = {"username": f"system:serviceaccount:{claims['namespace']}:ntro-runner", "extra": extra}
    return {"spec": {}, "status": {"authenticated": True, "audiences": asked["spec"]["audiences"], "user": user}}


def selects(query: dict[str, str], thing: Object) -> bool:
    labels = thing["metadata"].get("labels", {})
    for wanted in filter(None, query.get("labelSelector", "").split(",")):
        key, _, value = wanted.partition("=")
        if key not in labels or (value and labels[key] != value):
            return False
    name = query.get("fieldSelector", "").removeprefix("metadata.name=")
    return not name or thing["metadata"]["name"] == name


class Place:
    """What a path names: a kind, and in it all, a namespace, or one object and perhaps a subresource."""

    def __init__(self, path: str) -> None:
        parts = path.strip("/").split("/")
        length = 2 if parts[0] == "api" else 3
        group, rest = "/".join(parts[:length]), parts[length:]
        self.namespace = ""
        if len(rest) > 2 and rest[0] == "namespaces" and rest[2] not in ("status", "finalize"):
            self.namespace, rest = rest[1], rest[2:]
        self.kind: Kind = (group, rest[0] if rest else "")
        self.name = rest[1] if len(rest) > 1 else ""

    @property
    def key(self) -> tuple[str, str]:
        return self.namespace, self.name


class StubApi:
    """The server; `url` is what a kubeconfig names."""

    def __init__(self) -> None:
        self.objects: dict[Kind, dict[tuple[str, str], Object]] = defaultdict(dict)
        self.log: dict[Kind, list[tuple[int, str, Object]]] = defaultdict(list)
        self.version = 1
        self.changed = threading.Condition()
        self.on_pod: Callable[[Object], None] = lambda pod: None
        stub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
                try:
                    stub.answer(self, json.loads(body) if body else None)
                except ConnectionError:
                    self.close_connection = True

            do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = do

            def reply(self, code: int, value: Any) -> None:
                text = json.dumps(value).encode()
                self.send_response(code)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *args: Any) -> None:
                pass

        self.server = Server(Handler)
        self.url = self.server.url

    def kubeconfig(self, path: Path) -> Path:
        cluster, user = {"server": self.url}, {"token": "stub"}
        named = {"clusters": [{"name": "stub", "cluster": cluster}], "users": [{"name": "stub", "user": user}]}
        context = {"name": "stub", "context": {"cluster": "stub", "user": "stub"}}
        path.write_text(json.dumps({"apiVersion": "v1", "kind": "Config", "current-context": "stub", "contexts": [context], **named}))
        return path

    def put(self, kind: Kind, thing: Object, event: str = "ADDED") -> Object:
        """Stores an object as it is now, and tells the watches."""
        with self.changed:
            self.version += 1
            meta = thing.setdefault("metadata", {})
            meta.setdefault("uid", str(uuid.uuid4()))
            meta.setdefault("creationTimestamp", time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))
            meta["resourceVersion"] = str(self.version)
            key = (meta.get("namespace", ""), meta["name"])
            if event == "DELETED":
                self.objects[kind].pop(key, None)
            else:
                self.objects[kind][key] = thing
            self.log[kind].append((self.version, event, thing))
            self.changed.notify_all()
        return thing

    def namespace(self, name: str) -> None:
        """A tenant whose slug and UID are its name."""
        self.put(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "uid": name, "labels": {"ntro.dev/tenant": name}}})

    def answer(self, http: Any, body: Any) -> None:
        url = urlsplit(http.path)
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        place = Place(url.path)
        if not place.kind[1]:
            resources = [{"name": name, "kind": name, "namespaced": True, "singularName": "", "verbs": []} for name in OURS]
            return http.reply(200, {"kind": "APIResourceList", "groupVersion": "ntro.dev/v1alpha1", "resources": resources})
        if query.get("sendInitialEvents"):
            return http.reply(422, status(422, "Invalid"))
        if http.command == "GET" and query.get("watch") in ("1", "true"):
            return self.watch(http, place, query)
        does = {"GET": self.get, "POST": self.post, "PATCH": self.patch, "PUT": self.patch, "DELETE": self.delete}
        code, value = does[http.command](place, query, body)
        return http.reply(code, value)

    def get(self, place: Place, query: dict[str, str], _: Any) -> tuple[int, Object]:
        with self.changed:
            if place.name:
                found = self.objects[place.kind].get(place.key)
                return (200, found) if found else (404, status(404, "NotFound"))
            items = [it for it in self.objects[place.kind].values() if self.within(place, it) and selects(query, it)]
            return 200, {"kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": str(self.version)}, "items": items}

    def post(self, place: Place, _: dict[str, str], body: Any) -> tuple[int, Object]:
        if place.kind[1] == "tokenreviews":
            return 201, review(body)
        if place.kind[1].endswith("reviews"):
            return 201, {**body, "status": {"allowed": True}}
        name = body["metadata"].get("name") or body["metadata"].get("generateName", "") + uuid.uuid4().hex[:5]
        with self.changed:
            if (place.namespace, name) in self.objects[place.kind]:
                return 409, status(409, "AlreadyExists")
            made = self.put(place.kind, {**body, "metadata": {**body["metadata"], "name": name, "namespace": place.namespace}})
        if place.kind == JOBS:
            self.run_pod(made)
        return 201, made

    def patch(self, place: Place, _: dict[str, str], body: Any) -> tuple[int, Object]:
        with self.changed:
            old = self.objects[place.kind].get(place.key)
            if old is None:
                body["metadata"] = {**body.get("metadata", {}), "name": place.name, "namespace": place.namespace}
                return 201, self.put(place.kind, body)
            new = merged(old, body)
            return 200, old if new == old else self.put(place.kind, new, "MODIFIED")

    def delete(self, place: Place, _: dict[str, str], __: Any) -> tuple[int, Object]:
        with self.changed:
            old = self.objects[place.kind].get(place.key)
            if old is None:
                return 404, status(404, "NotFound")
            return 200, self.put(place.kind, dict(old, metadata=dict(old["metadata"])), "DELETED")

    def within(self, place: Place, thing: Object) -> bool:
        return place.namespace in ("", thing["metadata"].get("namespace", ""))

    def watch(self, http: Any, place: Place, query: dict[str, str]) -> None:
        http.send_response(200)
        http.send_header("Content-Type", "application/json")
        http.send_header("Transfer-Encoding", "chunked")
        http.end_headers()
        for kind, thing in self.events(place, int(query.get("resourceVersion") or 0), float(query.get("timeoutSeconds", WATCH_SECONDS))):
            if self.within(place, thing) and selects(query, thing):
                line = json.dumps({"type": kind, "object": thing}).encode() + b"\n"
                http.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
                http.wfile.flush()
        http.wfile.write(b"0\r\n\r\n")

    def events(self, place: Place, after: int, seconds: float) -> Iterator[tuple[str, Object]]:
        deadline, log = time.monotonic() + seconds, self.log[place.kind]
        with self.changed:
            at = next((i for i, (version, _, _) in enumerate(log) if version > after), len(log))
        while time.monotonic() < deadline:
            with self.changed:
                while len(log) <= at and time.monotonic() < deadline:
                    self.changed.wait(deadline - time.monotonic())
                fresh, at = log[at:], len(log)
            yield from ((kind, thing) for _, kind, thing in fresh)

    def run_pod(self, job: Object) -> None:
        """What the Job controller and a node do."""
        meta = job["metadata"]
        owner = {"apiVersion": "batch/v1", "kind": "Job", "name": meta["name"], "uid": meta["uid"], "controller": True}
        metadata = {"name": f"{meta['name']}-pod", "namespace": meta["namespace"], "labels": meta["labels"], "ownerReferences": [owner]}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": []}, "status": {"phase": "Running"}}
        self.on_pod(self.put(PODS, pod))


def status(code: int, reason: str) -> Object:
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": reason, "reason": reason, "code": code}
