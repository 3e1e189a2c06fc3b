"""A proxy before the API server that answers as a troubled one does: never against the promises of the API itself.

Lists that are asked for as they are now are never old: only those that a watch of the whole cluster begins with are, as by a
watch cache that lags. Events are lost only from watches that end with `410 Gone` soon after.
"""

from __future__ import annotations

import http.client
import json
import random
import ssl
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, urlsplit

from kit.servers import Server

# What a window does to how many of the requests.
SHARE = 0.5
# How long an answer is held back that never comes, and for how long a watch loses events, in seconds.
HELD, DEAF = 5.0, 8.0
# How old a list may be that a watch begins with.
OLDEST = 120.0
HOP = ("connection", "keep-alive", "transfer-encoding", "content-length", "host", "date", "server")
GONE = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": "too old resource version", "reason": "Expired", "code": 410}


class Proxy:
    """`trouble` is what there is now, by the names of `plan.KINDS`; `done` counts what was done to requests."""

    def __init__(self, host: str, tls: ssl.SSLContext | None, seed: int) -> None:
        self.host, self.tls, self.rng = host, tls, random.Random(f"proxy {seed}")
        self.trouble: set[str] = set()
        self.done: Counter[str] = Counter()
        self.lists: dict[str, tuple[float, int, list[tuple[str, str]], bytes]] = {}
        self.lock = threading.Lock()
        # An API server before 1.34 does not stream lists: watches begin with pages, which can be old.
        self.streams = self.rng.random() < 0.5
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True
            upstream: http.client.HTTPConnection | None = None

            def do(self) -> None:
                proxy.handle(self)

            do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = do

            def log_message(self, *args: Any) -> None:
                pass

        self.server = Server(Handler)
        self.url = self.server.url

    def hits(self, trouble: str) -> bool:
        with self.lock:
            hit = trouble in self.trouble and self.rng.random() < SHARE
            self.done[trouble] += hit
            return hit

    def handle(self, it: Any) -> None:
        body = it.rfile.read(int(it.headers.get("Content-Length", "0")))
        url = urlsplit(it.path)
        query = parse_qs(url.query)
        watch = query.get("watch", ["0"])[0] in ("1", "true")
        if "sendInitialEvents" in query and not self.streams:
            return self.say(it, 422, "Invalid")
        if self.hits("throttled"):
            return self.say(it, 429, "TooManyRequests", {"Retry-After": "1"})
        if self.hits("broken"):
            return self.say(it, 500, "InternalError")
        begins = it.command == "GET" and not watch and "/namespaces/" not in url.path and "limit" in query and "continue" not in query
        if begins and self.old(it):
            return None
        answer = self.forward(it, body)
        if watch and answer.status == 200:
            return self.stream(it, answer)
        return self.relay(it, answer, begins)

    def say(self, it: Any, code: int, reason: str, headers: dict[str, str] | None = None) -> None:
        text = {**GONE, "message": f"{reason}, says the proxy of a test", "reason": reason, "code": code}
        self.reply(it, code, [("Content-Type", "application/json"), *(headers or {}).items()], json.dumps(text).encode())

    def reply(self, it: Any, code: int, headers: list[tuple[str, str]], body: bytes) -> None:
        it.send_response(code)
        for name, value in headers:
            it.send_header(name, value)
        it.send_header("Content-Length", str(len(body)))
        it.end_headers()
        it.wfile.write(body)

    def forward(self, it: Any, body: bytes) -> http.client.HTTPResponse:
        """On a connection of its own, so that one that broke is nobody else's."""
        headers = {name: value for name, value in it.headers.items() if name.lower() not in HOP}
        for fresh in (it.upstream is None, True):
            if fresh:
                it.upstream = self.connection()
            try:
                it.upstream.request(it.command, it.path, body or None, headers)
                return it.upstream.getresponse()
            except (OSError, http.client.HTTPException):
                if fresh:
                    raise
        raise AssertionError

    def connection(self) -> http.client.HTTPConnection:
        if self.tls is None:
            return http.client.HTTPConnection(self.host, timeout=3600)
        return http.client.HTTPSConnection(self.host, context=self.tls, timeout=3600)

    def relay(self, it: Any, answer: http.client.HTTPResponse, begins: bool) -> None:
        text = answer.read()
        if it.command != "GET" and self.hits("unanswered"):
            # It is done, and whoever asked never hears of it.
            time.sleep(self.rng.uniform(0, HELD))
            it.close_connection = True
            it.connection.close()
            return
        headers = [(name, value) for name, value in answer.getheaders() if name.lower() not in HOP]
        if begins and answer.status == 200:
            with self.lock:
                self.lists[it.path] = (time.monotonic(), answer.status, headers, text)
        self.reply(it, answer.status, headers, text)

    def old(self, it: Any) -> bool:
        with self.lock:
            known = self.lists.get(it.path)
        if not known or time.monotonic() - known[0] > OLDEST or not self.hits("stale"):
            return False
        self.reply(it, *known[1:])
        return True

    def stream(self, it: Any, answer: http.client.HTTPResponse) -> None:
        it.send_response(200)
        it.send_header("Content-Type", "application/json")
        it.send_header("Transfer-Encoding", "chunked")
        it.end_headers()
        # It cannot be used for anything else after that.
        upstream, it.upstream, deaf = it.upstream, None, 0.0
        try:
            for line in answer:
                if not deaf and self.hits("deaf"):
                    deaf = time.monotonic() + self.rng.uniform(0, DEAF)
                    upstream.sock.settimeout(DEAF)
                if not deaf:
                    self.chunk(it, line)
                elif time.monotonic() > deaf:
                    break
        except TimeoutError:
            pass
        finally:
            upstream.close()
        if deaf:
            self.chunk(it, json.dumps({"type": "ERROR", "object": GONE}).encode() + b"\n")
        it.wfile.write(b"0\r\n\r\n")

    def chunk(self, it: Any, line: bytes) -> None:
        it.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
        it.wfile.flush()
