"""The API server over plain HTTPS with many connections: what kubectl's client would throttle is not what is measured here."""

from __future__ import annotations

import base64
import http.client
import json
import socket
import ssl
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from kit.cluster import kubectl


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


@dataclass
class Cluster:
    """The cluster of KUBECONFIG, as its administrator."""

    host: str = ""
    tls: ssl.SSLContext = field(default_factory=ssl.create_default_context)
    local: threading.local = field(default_factory=threading.local)

    def __post_init__(self) -> None:
        config = kubectl("config", "view", "--raw", "--minify", "-o", "json").json
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        self.host = urlsplit(cluster["server"]).netloc
        with tempfile.TemporaryDirectory() as directory:
            for name, data in [
                ("ca", cluster["certificate-authority-data"]),
                ("crt", user["client-certificate-data"]),
                ("key", user["client-key-data"]),
            ]:
                (Path(directory) / name).write_bytes(base64.b64decode(data))
            self.tls.load_verify_locations(f"{directory}/ca")
            self.tls.load_cert_chain(f"{directory}/crt", f"{directory}/key")

    def connection(self) -> http.client.HTTPSConnection:
        return http.client.HTTPSConnection(self.host, context=self.tls, timeout=120)

    def call(self, method: str, path: str, body: Any = None, *, as_user: str = "", kind: str = "application/json") -> tuple[int, Any]:
        """One request on this thread's own connection."""
        headers = {"Content-Type": kind, "Accept": "application/json"}
        if as_user:
            headers["Impersonate-User"] = as_user
        for attempt in range(5):
            if getattr(self.local, "connection", None) is None:
                self.local.connection = self.connection()
            try:
                self.local.connection.request(method, path, None if body is None else json.dumps(body), headers)
                answer = self.local.connection.getresponse()
                text = answer.read()
            except (OSError, http.client.HTTPException):
                self.local.connection = None
                if attempt == 4:
                    raise
                continue
            if answer.status in (429, 500, 503, 504) and attempt < 4:
                time.sleep(0.2 * (attempt + 1))
                continue
            return answer.status, json.loads(text) if text else {}
        raise AssertionError

    def expect(self, method: str, path: str, body: Any = None, **more: Any) -> Any:
        status, answer = self.call(method, path, body, **more)
        if status >= 300:
            raise RuntimeError(f"{method} {path}: {status} {answer.get('message')}")
        return answer

    def items(self, path: str) -> list[dict[str, Any]]:
        """A whole list, page by page."""
        items: list[dict[str, Any]] = []
        token = ""
        while True:
            page = self.expect("GET", f"{path}?{urlencode({'limit': 2000, 'continue': token})}")
            items += page["items"]
            token = page["metadata"].get("continue", "")
            if not token:
                return items

    def all(self, what: str, work: Iterable[Callable[[], Any]], threads: int = 12) -> None:
        """Does everything, many at a time, with progress."""
        jobs = list(work)
        began, done, lock = time.monotonic(), 0, threading.Lock()

        def one(job: Callable[[], Any]) -> None:
            nonlocal done
            job()
            with lock:
                done += 1
                if done % 2000 == 0:
                    say(f"{what}: {done} of {len(jobs)}")

        with ThreadPoolExecutor(threads) as pool:
            for future in [pool.submit(one, job) for job in jobs]:
                future.result()
        say(f"{what}: {len(jobs)} in {time.monotonic() - began:.0f} s")


class Watch:
    """Notes when each object of a list is first seen. A watch that the server ends is resumed where it ended."""

    # Metadata is enough, and leaves the server its time.
    accept = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"

    def __init__(self, cluster: Cluster, path: str) -> None:
        self.seen: dict[str, float] = {}
        self.lock = threading.Lock()
        self.stopped = threading.Event()
        self.cluster, self.path = cluster, path
        self.version = cluster.expect("GET", f"{path}?limit=1")["metadata"]["resourceVersion"]
        self.failure: BaseException | None = None
        self.connection = self.open()
        threading.Thread(target=self.read, daemon=True).start()

    def open(self) -> http.client.HTTPSConnection:
        connection = self.cluster.connection()
        connection.timeout = 3600
        connection.request("GET", f"{self.path}?watch=1&resourceVersion={self.version}", headers={"Accept": self.accept})
        self.answer = connection.getresponse()
        return connection

    def read(self) -> None:
        try:
            while True:
                for line in self.answer:
                    self.take(time.time(), json.loads(line))
                if self.stopped.is_set():
                    return
                self.connection = self.open()
        except (OSError, ValueError, AttributeError, RuntimeError, http.client.HTTPException) as failure:
            if not self.stopped.is_set():
                self.failure = failure

    def take(self, now: float, event: dict[str, Any]) -> None:
        if event["type"] == "ERROR":
            raise RuntimeError(f"watch of {self.path}: {event['object'].get('message')}")
        self.version = event["object"]["metadata"]["resourceVersion"]
        if self.counts(event):
            with self.lock:
                self.seen.setdefault(event["object"]["metadata"]["name"], now)

    def counts(self, event: dict[str, Any]) -> bool:
        return bool(event["type"] == "ADDED")

    def stop(self) -> None:
        self.stopped.set()
        # Closing would wait for the reader, and the reader for the next event.
        self.connection.sock.shutdown(socket.SHUT_RDWR)

    def wait(self, count: int, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        last = 0
        while len(self.seen) < count:
            if self.failure:
                raise self.failure
            if time.monotonic() > deadline:
                raise RuntimeError(f"{len(self.seen)} of {count} seen in {timeout:.0f} s")
            if len(self.seen) >= last + 1000:
                last = len(self.seen)
                say(f"{last} of {count} seen")
            time.sleep(0.1)


class Reached(Watch):
    """Notes when each object of a list is first seen as `reached` wants it."""

    accept = "application/json"

    def __init__(self, cluster: Cluster, path: str, reached: Callable[[dict[str, Any]], bool]) -> None:
        self.reached = reached
        super().__init__(cluster, path)

    def counts(self, event: dict[str, Any]) -> bool:
        return event["type"] in ("ADDED", "MODIFIED") and self.reached(event["object"])
