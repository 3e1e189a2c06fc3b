"""The durable protocol's server side, as little of it as the runtime's own tests need."""

from __future__ import annotations

import base64
import hashlib
import json
import socket
import threading
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

Json = dict[str, Any]
D = {"activityCompleted", "activityFailed", "timerFired", "gateDecided", "signalReceived", "cancelRequested"}


class Refused(Exception):
    def __init__(self, code: str, **extra: Any) -> None:
        self.body = {"code": code, "message": "", **extra}


class FakeJournal:
    def __init__(self, path: Path, input: Json, activities: Json | None = None, **settings: int) -> None:
        self.path = path
        self.lock = threading.Condition()
        self.entries: list[Json] = []
        self.blobs: dict[str, bytes] = {}
        self.logs: list[Json] = []
        self.epoch = 0
        self.held = False
        self.activities = activities or {}
        self.settings = {
            "leaseMs": 2000,
            "lingerMs": 0,
            "outageWaitMs": 5000,
            "cancelGraceMs": 2000,
            "inlineMax": 65536,
            **settings,
        }
        run_id = input.get("task_id") or str(uuid.uuid4())
        self._write(
            {
                "type": "runCreated",
                "runId": run_id,
                "namespace": "acme",
                "name": "run-1",
                "pin": {},
                "input": {"inline": json.dumps(input)},
            }
        )
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(path))
        self._server.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    # -- what people and the operator do ----

    def _write(self, entry: Json) -> None:
        entry = {"seq": len(self.entries), "time": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"), **entry, "hash": ""}
        self.entries.append(entry)

    def write(self, entry: Json) -> None:
        with self.lock:
            self._write(entry)
            self.lock.notify_all()

    def of(self, kind: str) -> list[Json]:
        return [e for e in self.entries if e["type"] == kind]

    def open_gate(self) -> Json | None:
        closed = {e["target"] for e in self.entries if e["type"] in ("gateDecided", "gateClosed")}
        gates = [e for e in self.of("gateOpened") if e["command"] not in closed]
        return gates[-1] if gates else None

    def decide(self, gate: Json, verb: str, correction: Any = None, comment: str | None = None, actor: str = "alice") -> None:
        entry: Json = {"type": "gateDecided", "target": gate["command"], "gateId": gate["gateId"], "revision": 1}
        entry |= {"verb": verb, "actor": actor, "groups": [], "act": "a", "actedAt": ""}
        if correction is not None:
            entry["correction"] = {"inline": json.dumps(correction)}
        if comment is not None:
            entry["comment"] = {"inline": json.dumps(comment)}
        self.write(entry)

    def release(self) -> None:
        """As the operator does for a pod that is gone."""
        with self.lock:
            if self.held:
                self.held = False
                self._write({"type": "released", "epoch": self.epoch, "cause": "podGone"})

    # -- the pod's requests ----

    def _accept(self) -> None:
        while True:
            try:
                stream, _ = self._server.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(stream,), daemon=True).start()

    def _serve(self, stream: socket.socket) -> None:
        lock = threading.Lock()
        with stream.makefile("rb") as lines:
            for line in lines:
                threading.Thread(target=self._reply, args=(stream, lock, json.loads(line)), daemon=True).start()

    def _reply(self, stream: socket.socket, lock: threading.Lock, request: Json) -> None:
        try:
            body: Json = {"ok": getattr(self, f"op_{request['op']}")(request)}
        except Refused as error:
            body = {"error": error.body}
        try:
            with lock:
                stream.sendall(json.dumps({"id": request["id"], **body}).encode() + b"\n")
        except OSError:
            pass

    def op_attach(self, request: Json) -> Json:
        with self.lock:
            self.epoch += 1
            self.held = True
            self._write({"type": "attached", "epoch": self.epoch})
            return {
                "session": "s",
                "runId": self.entries[0]["runId"],
                "namespace": "acme",
                "name": "run-1",
                "segment": 1,
                "epoch": self.epoch,
                "entries": list(self.entries),
                "pin": {},
                "settings": self.settings,
            }

    def op_append(self, request: Json) -> Json:
        with self.lock:
            if request["epoch"] != self.epoch or not self.held:
                raise Refused("Fenced")
            for entry in request["entries"]:
                self._fire()
                self._check(entry, request)
                self._write(self._stamp(dict(entry)))
                if entry["type"] == "released":
                    self.held = False
            self.lock.notify_all()
            return {"entries": self.entries[request["head"] + 1 :]}

    def _check(self, entry: Json, request: Json) -> None:
        if entry["type"] == "parked" or (entry["type"] == "released" and entry["cause"] == "parked"):
            parked = entry if entry["type"] == "parked" else self.of("parked")[-1]
            if any(e["seq"] > parked["seenUpto"] for e in self.entries if e["type"] in D):
                raise Refused("Unread", entries=self.entries[request["head"] + 1 :])
        if "command" in entry:
            commands = [e for e in self.entries if "command" in e]
            assert entry["command"] == len(commands), (entry["command"], len(commands))
        if entry["type"] == "activityRetried":
            scheduled = next(e for e in self.of("activityScheduled") if e["command"] == entry["target"])
            repeats = [t for e in self.of("retryRequested") for t in e["repeats"]]
            allowed = entry["cause"] == "failure" or entry["target"] in repeats
            if scheduled["effect"] not in ("none", "idempotent") and not allowed:
                raise Refused("NotAllowedToRepeat")

    def _stamp(self, entry: Json) -> Json:
        if entry["type"] == "activityScheduled":
            entry["effect"] = self.activities.get(entry["activity"], {}).get("effect", "undeclared")
        if entry["type"] == "gateOpened":
            entry |= {"gateId": str(uuid.uuid4()), "revision": 1}
        return entry

    def _fire(self) -> None:
        ended = {e["target"] for e in self.entries if e["type"] in ("timerFired", "timerCancelled")}
        for timer in self.of("timerStarted"):
            due = datetime.fromisoformat(timer["time"]) + timedelta(milliseconds=timer["durationMs"])
            if timer["command"] not in ended and due <= datetime.now(UTC):
                self._write({"type": "timerFired", "target": timer["command"]})

    def op_poll(self, request: Json) -> Json:
        until = datetime.now(UTC) + timedelta(milliseconds=request["waitMs"])
        with self.lock:
            while True:
                self._fire()
                left = (until - datetime.now(UTC)).total_seconds()
                if len(self.entries) > request["head"] + 1 or left <= 0:
                    return {"entries": self.entries[request["head"] + 1 :]}
                self.lock.wait(min(left, 0.005))

    def op_putBlob(self, request: Json) -> Json:  # noqa: N802
        data = base64.b64decode(request["base64"])
        assert request["digest"] == "sha256:" + hashlib.sha256(data).hexdigest()
        self.blobs[request["digest"]] = data
        return {}

    def op_getBlob(self, request: Json) -> Json:  # noqa: N802
        return {"base64": base64.b64encode(self.blobs[request["digest"]]).decode()}
