"""The journal as the process that runs the bundle sees it: the durable protocol, one JSON object per line on a stream.

The other end is the supervisor, or in tests the journal's own server. Requests may overlap; replies are matched by id.
"""

from __future__ import annotations

import base64
import itertools
import json
import socket
import threading
from concurrent.futures import Future
from typing import Any

from ..shared.errors import ProtocolError

Json = dict[str, Any]


class ConnectionLostError(Exception):
    """Nobody answers on the channel to the journal any more."""


class JournalClient:
    """Every call raises `ProtocolError` if it is refused and `ConnectionLostError` if nobody answers.

    Thread-safe from `read_in_background()` on; until then it has no thread, and a call reads its reply itself.
    """

    def __init__(self, stream: socket.socket) -> None:
        self._stream = stream
        self._lines = stream.makefile("rb")
        self._write_lock = threading.Lock()
        self._ids = itertools.count(1)
        self._pending: dict[int, Future[Json]] = {}
        self._lost = False
        self._in_background = False
        self.epoch = 0

    def read_in_background(self) -> None:
        """From now on replies are read by a thread."""
        self._in_background = True
        threading.Thread(target=self._read, name="journal-replies", daemon=True).start()

    def fileno(self) -> int:
        """The descriptor of the channel."""
        return self._stream.fileno()

    def attach(self, versions: Json) -> Json:
        """Become the holder. The reply has the whole journal."""
        reply = self._call("attach", {"versions": versions})
        self.epoch = int(reply["epoch"])
        return reply

    def append(self, head: int, entries: list[Json]) -> list[Json]:
        """Write entries, all or none. Returns everything after `head`, the written ones included."""
        reply = self._call("append", {"epoch": self.epoch, "head": head, "entries": entries})
        return list(reply["entries"])

    def poll_later(self, head: int, wait_ms: int) -> Future[Json]:
        """Ask for what comes after `head`; the future has `entries`, none after `wait_ms`."""
        return self._send("poll", {"epoch": self.epoch, "head": head, "waitMs": wait_ms})

    def put_blob(self, digest: str, data: bytes) -> None:
        """Store `data` under its `sha256:<hex>`. Needed before an entry may name it."""
        self._call("putBlob", {"digest": digest, "base64": base64.b64encode(data).decode()})

    def get_blob(self, digest: str) -> bytes:
        return base64.b64decode(self._call("getBlob", {"digest": digest})["base64"])

    def close(self) -> None:
        self._stream.close()

    def _call(self, op: str, body: Json) -> Json:
        future = self._send(op, body)
        if not self._in_background:
            self._read(future)
        return future.result()

    def _send(self, op: str, body: Json) -> Future[Json]:
        request_id = next(self._ids)
        future: Future[Json] = Future()
        self._pending[request_id] = future
        line = json.dumps({"op": op, "id": request_id, **body}, separators=(",", ":")).encode() + b"\n"
        try:
            with self._write_lock:
                self._stream.sendall(line)
        except OSError:
            self._fail_all()
        if self._lost:
            self._fail_all()
        return future

    def _read(self, until: Future[Json] | None = None) -> None:
        """Answer what is pending; until nobody replies any more, or `until` is answered."""
        try:
            while until is None or not until.done():
                line = self._lines.readline()
                if not line:
                    break
                self._answer(json.loads(line))
            else:
                return
        except OSError:
            pass
        self._lost = True
        self._fail_all()

    def _answer(self, reply: Json) -> None:
        future = self._pending.pop(int(reply["id"]), None)
        if future is None:
            return
        if "error" in reply:
            future.set_exception(ProtocolError.from_wire(reply["error"]))
        else:
            future.set_result(reply["ok"])

    def _fail_all(self) -> None:
        while self._pending:
            with_error = self._pending.popitem()[1]
            if not with_error.done():
                with_error.set_exception(ConnectionLostError("the journal does not answer any more"))
