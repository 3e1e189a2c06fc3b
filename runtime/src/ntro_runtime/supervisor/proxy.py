"""Between the child and the operator: the same protocol on both sides, but only this side has the session."""

from __future__ import annotations

import base64
import json
import socket
import threading
from collections.abc import Callable
from typing import Any

from ..shared.errors import ProtocolError
from .log_pump import LogPump
from .operator_api import OperatorApi, OutageError
from .report import Report

Json = dict[str, Any]
# Entries after which the operator may consider the segment over: the log must be complete before.
_LAST = frozenset(["released", "runCompleted", "runFailed", "blocked"])


class Proxy:
    """Serves the child's socket. `released` tells whether the segment was ended in order."""

    def __init__(self, api: OperatorApi, attached: Json, report: Report, patiently: Callable[[Any], Any], pump: LogPump) -> None:
        self._api = api
        self._attached = {key: value for key, value in attached.items() if key != "session"}
        self._report = report
        self._patiently = patiently
        self._pump = pump
        self._epoch = int(attached["epoch"])
        self._head = int(attached["entries"][-1]["seq"])
        self._write_lock = threading.Lock()
        self.released = False

    @property
    def position(self) -> Json:
        """Epoch and newest entry known."""
        return {"epoch": self._epoch, "head": self._head}

    def start(self, stream: socket.socket) -> None:
        """Serve in the background until the child closes its end."""
        threading.Thread(target=self._serve, args=(stream,), name="proxy", daemon=True).start()

    def _serve(self, stream: socket.socket) -> None:
        with stream, stream.makefile("rb") as lines:
            try:
                for line in lines:
                    request = json.loads(line)
                    threading.Thread(target=self._answer, args=(stream, request), daemon=True).start()
            except (OSError, ValueError):
                return

    def _answer(self, stream: socket.socket, request: Json) -> None:
        request_id, op = request.pop("id"), request.pop("op")
        try:
            reply: Json = {"id": request_id, "ok": self._handle(op, request)}
        except ProtocolError as error:
            if error.code == "Sealed":
                self.released = True
            reply = {"id": request_id, "error": error.to_wire()}
        except OutageError:
            return  # the pod is leaving
        except Exception as error:
            # Without a reply the child would wait for ever, and its pod with it.
            reply = {"id": request_id, "error": ProtocolError("Unavailable", type(error).__name__).to_wire()}
        with self._write_lock:
            try:
                stream.sendall(json.dumps(reply, separators=(",", ":")).encode() + b"\n")
            except OSError:
                return

    def _handle(self, op: str, body: Json) -> Json:
        match op:
            case "attach":
                return self._attached
            case "append":
                return self._append(body)
            case "poll":
                wait_ms = int(body.get("waitMs", 0))
                return self._learn(self._patiently(lambda: self._api.call("poll", body, wait_ms)))
            case "putBlob":
                data = base64.b64decode(body["base64"])
                self._patiently(lambda: self._api.put_blob(str(body["digest"]), data))
                return {}
            case "getBlob":
                data = self._patiently(lambda: self._api.get_blob(str(body["digest"])))
                return {"base64": base64.b64encode(data).decode()}
        raise ProtocolError("Invalid", "unknown operation")

    def _append(self, body: Json) -> Json:
        entries = body["entries"]
        if any(entry["type"] in _LAST for entry in entries):
            self._pump.flush(5.0)
        reply = self._learn(self._patiently(lambda: self._api.call("append", body)))
        for entry in entries:
            self._report.entry(entry)
            if entry["type"] == "released":
                self.released = True
        return reply

    def _learn(self, reply: Json) -> Json:
        entries = reply["entries"]
        if entries:
            self._head = max(self._head, int(entries[-1]["seq"]))
        return reply
