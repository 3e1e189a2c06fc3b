"""From the pipes of the child to the run's log stream.

Everything the bundle prints or logs is payload: it goes to the journal and never to the container's own output.
"""

from __future__ import annotations

import array
import contextlib
import fcntl
import json
import os
import selectors
import termios
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

Json = dict[str, Any]
MAX_LINE = 16 * 1024
MAX_PENDING = 4 * 1024 * 1024
MAX_BATCH_LINES = 200
MAX_BATCH_BYTES = 128 * 1024
_INTERVAL_S = 0.2


@dataclass
class _Pipe:
    fd: int
    stream: str
    rest: bytes = b""


@dataclass
class LogPump:
    """`send` posts a batch of lines; it may raise, and then the batch is lost. `flush()` waits until all is sent."""

    send: Callable[[list[Json]], None]
    _pipes: list[_Pipe] = field(default_factory=list)
    _lines: deque[Json] = field(default_factory=deque)
    _bytes: int = 0
    _next: int = 0
    _dropped: int = 0
    _sending: bool = False
    _closed: bool = False
    _flushing: bool = False
    _changed: threading.Condition = field(default_factory=threading.Condition)

    def start(self, pipes: dict[str, int]) -> None:
        """Begin to read from these pipes, by name of the stream."""
        self._pipes = [_Pipe(fd, stream) for stream, fd in pipes.items()]
        threading.Thread(target=self._read, name="log-reader", daemon=True).start()
        threading.Thread(target=self._write, name="log-sender", daemon=True).start()

    def flush(self, seconds: float) -> bool:
        """Wait until everything written so far was sent. False if that took too long."""
        until = time.monotonic() + seconds
        with self._changed:
            self._flushing = True
            self._changed.notify_all()
            try:
                return self._drain(until)
            finally:
                self._flushing = False

    def _drain(self, until: float) -> bool:
        while True:
            if all(_available(pipe.fd) == 0 for pipe in self._pipes):
                for pipe in self._pipes:
                    self._take(pipe, b"\n" if pipe.rest else b"")
                self._changed.notify_all()
                if not self._lines and not self._sending:
                    return True
            left = until - time.monotonic()
            if left <= 0:
                return False
            self._changed.wait(min(left, 0.02))

    def close(self) -> None:
        """Send nothing more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _read(self) -> None:
        with selectors.DefaultSelector() as selector:
            for pipe in self._pipes:
                os.set_blocking(pipe.fd, False)
                selector.register(pipe.fd, selectors.EVENT_READ, pipe)
            while selector.get_map():
                for key, _ in selector.select():
                    with self._changed:
                        if not self._read_some(key.data):
                            selector.unregister(key.fd)
                        self._changed.notify_all()

    def _read_some(self, pipe: _Pipe) -> bool:
        try:
            data = os.read(pipe.fd, 1 << 16)
        except BlockingIOError:
            return True
        except OSError:
            data = b""
        self._take(pipe, data)
        return bool(data)

    def _take(self, pipe: _Pipe, data: bytes) -> None:
        *whole, pipe.rest = (pipe.rest + data).split(b"\n")
        while len(pipe.rest) > MAX_LINE:
            whole.append(pipe.rest[:MAX_LINE])
            pipe.rest = pipe.rest[MAX_LINE:]
        for line in whole:
            for text in _texts(pipe.stream, line):
                self._add(pipe.stream, text)

    def _add(self, stream: str, text: str) -> None:
        if self._bytes + len(text) > MAX_PENDING:
            self._dropped += 1
            return
        if self._dropped:
            dropped, self._dropped = self._dropped, 0
            self._add("logging", f"WARNING ntro.runtime: {dropped} lines were dropped")
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        self._lines.append({"n": self._next, "stream": stream, "time": now, "text": text})
        self._next += 1
        self._bytes += len(text)

    def _write(self) -> None:
        while True:
            with self._changed:
                while not self._lines and not self._closed:
                    self._changed.wait()
                if self._closed:
                    return
                batch = self._batch()
                self._sending = True
            # The log is best effort; the run goes on without it.
            with contextlib.suppress(Exception):
                self.send(batch)
            with self._changed:
                self._sending = False
                self._changed.notify_all()
                # Lines come in bursts: gather a little, unless somebody waits for the last one.
                self._changed.wait_for(lambda: self._flushing or self._closed, _INTERVAL_S)

    def _batch(self) -> list[Json]:
        batch: list[Json] = []
        size = 0
        while self._lines and len(batch) < MAX_BATCH_LINES and size < MAX_BATCH_BYTES:
            line = self._lines.popleft()
            size += len(line["text"])
            batch.append(line)
        self._bytes -= size
        return batch


def _texts(stream: str, line: bytes) -> list[str]:
    """The lines of text that a line of the pipe stands for; log records come as one JSON string each."""
    text = line.decode(errors="replace").replace("\0", "\ufffd")
    if stream == "logging":
        with contextlib.suppress(ValueError):
            text = str(json.loads(text)).replace("\0", "\ufffd")
    parts = text.split("\n")
    return [part[i : i + MAX_LINE] for part in parts for i in range(0, max(1, len(part)), MAX_LINE)]


def _available(fd: int) -> int:
    buffer = array.array("i", [0])
    try:
        fcntl.ioctl(fd, termios.FIONREAD, buffer)
    except OSError:
        return 0
    return buffer[0]
