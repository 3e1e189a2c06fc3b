"""The journal as the process that runs the bundle sees it: the durable protocol, one JSON object per line on a socket.

The other end is the supervisor. Requests may overlap; replies are matched by id. Blobs travel as open files beside the lines.
"""

from __future__ import annotations

import itertools
import json
import os
import socket
import tempfile
import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from ..shared.errors import ProtocolError

Json = dict[str, Any]
_CHUNK = 1 << 16
_MAX_FILES = 4


class ConnectionLostError(Exception):
    """Nobody answers on the channel to the journal any more."""


class JournalClient:
    """Every call raises `ProtocolError` if it is refused and `ConnectionLostError` if nobody answers.

    Thread-safe from `read_in_background()` on; until then it has no thread, and a call reads its reply itself.
    """

    def __init__(self, stream: socket.socket, scratch: Path | None = None) -> None:
        """Blobs on their way are kept in `scratch`."""
        self._stream = stream
        self._scratch = scratch
        self._lines = self._receive()
        self._write_lock = threading.Lock()
        self._ids = itertools.count(1)
        self._pending: dict[int, Future[Json]] = {}
        self._files: deque[int] = deque()
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

    def attach(self) -> Json:
        """Become the holder. The reply has the journal, or its beginning. What runs here the supervisor has said."""
        reply = self._call("attach", {})
        self.epoch = int(reply["epoch"])
        return reply

    def append(self, known: Json, entries: list[Json]) -> Json:
        """Write entries, all or none. The reply has everything after `known`, the written ones included."""
        return self._call("append", {"epoch": self.epoch, **known, "entries": entries})

    def poll(self, known: Json) -> Json:
        """What comes after `known` and is there already."""
        return self._call("poll", {"epoch": self.epoch, **known, "waitMs": 0})

    def poll_later(self, known: Json, wait_ms: int) -> Future[Json]:
        """Ask for what comes after `known`; the future has `entries`, none after `wait_ms`."""
        return self._send("poll", {"epoch": self.epoch, **known, "waitMs": wait_ms})

    def put_blob(self, digest: str, data: bytes) -> None:
        """Store `data` under its `sha256:<hex>`. Needed before an entry may name it."""
        with self._file_of(data) as file:
            self._send("putBlob", {"digest": digest, "size": len(data)}, file.fileno()).result()

    def _file_of(self, data: bytes) -> IO[bytes]:
        """The bundle may have filled the disk: what it has done must be reported all the same."""
        try:
            return _write(tempfile.TemporaryFile(dir=self._scratch), data)
        except OSError:
            return _write(os.fdopen(os.memfd_create("ntro-blob"), "w+b"), data)

    def get_blob(self, digest: str) -> bytes:
        reply = self._call("getBlob", {"digest": digest})
        with os.fdopen(reply["file"], "rb") as file:
            return file.read()

    def turn(self, *, begin: bool) -> None:
        """Note that the bundle's workflow code gets its turn, or is done with it: a turn that never ends is found by that. No reply."""
        self._write(_line({"op": "turn", "begin": begin}))

    @contextmanager
    def in_turn(self) -> Iterator[None]:
        """Notes around what runs the bundle's workflow code."""
        self.turn(begin=True)
        try:
            yield
        finally:
            self.turn(begin=False)

    def close(self) -> None:
        self._stream.close()

    def _call(self, op: str, body: Json) -> Json:
        future = self._send(op, body)
        if not self._in_background:
            self._read(future)
        return future.result()

    def _send(self, op: str, body: Json, file: int | None = None) -> Future[Json]:
        request_id = next(self._ids)
        line = _line({"op": op, "id": request_id, **body})
        future: Future[Json] = Future()
        self._pending[request_id] = future
        if not self._write(line, file) or self._lost:
            self._fail_all()
        return future

    def _write(self, line: bytes, file: int | None = None) -> bool:
        try:
            with self._write_lock:
                sent = 0 if file is None else socket.send_fds(self._stream, [line], [file])
                self._stream.sendall(line[sent:])
        except OSError:
            return False
        return True

    def _read(self, until: Future[Json] | None = None) -> None:
        """Answer what is pending; until nobody replies any more, or `until` is answered."""
        try:
            while until is None or not until.done():
                line = next(self._lines, None)
                if line is None:
                    break
                self._answer(json.loads(line))
            else:
                return
        except OSError:
            pass
        self._lost = True
        self._fail_all()

    def _receive(self) -> Iterator[bytes]:
        """Lines as they come; the files that came with them are put into `_files` first."""
        rest: list[bytes] = []
        while True:
            data, files, _, _ = socket.recv_fds(self._stream, _CHUNK, _MAX_FILES, socket.MSG_CMSG_CLOEXEC)
            self._files += files
            if not data:
                return
            *whole, last = data.split(b"\n")
            for end in whole:
                yield b"".join([*rest, end])
                rest.clear()
            rest.append(last)

    def _answer(self, reply: Json) -> None:
        future = self._pending.pop(int(reply["id"]), None)
        ok = reply.get("ok")
        # A reply that has a size and nothing else comes with the file it is the size of.
        if ok is not None and "size" in ok and self._files:
            ok["file"] = self._files.popleft()
        if future is None:
            if ok is not None and "file" in ok:
                os.close(ok["file"])
        elif "error" in reply:
            future.set_exception(ProtocolError.from_wire(reply["error"]))
        else:
            future.set_result(reply["ok"])

    def _fail_all(self) -> None:
        while self._pending:
            with_error = self._pending.popitem()[1]
            if not with_error.done():
                with_error.set_exception(ConnectionLostError("the journal does not answer any more"))


def _line(message: Json) -> bytes:
    """Raises `ProtocolError` for text that is no Unicode, which nobody could read: half a surrogate pair, out of a file's name."""
    try:
        return json.dumps(message, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"
    except UnicodeEncodeError:
        raise ProtocolError("Invalid", "a text has half a surrogate pair, which is no Unicode") from None


def _write(file: IO[bytes], data: bytes) -> IO[bytes]:
    try:
        file.write(data)
        file.flush()
    except OSError:
        file.close()
        raise
    return file
