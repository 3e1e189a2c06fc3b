"""JSON objects, one a line, over a socket between two of our processes."""

from __future__ import annotations

import json
import socket
import threading

from .journal_client import Json


class JsonLines:
    """Any thread may send, one at a time may receive."""

    def __init__(self, stream: socket.socket) -> None:
        self.stream = stream
        self._lock = threading.Lock()
        self._rest = bytearray()

    def send(self, message: Json) -> None:
        """Raises `OSError` if nobody is there any more."""
        with self._lock:
            self.stream.sendall(json.dumps(message, separators=(",", ":")).encode() + b"\n")

    def receive(self) -> Json | None:
        """Wait for the next one. None if there is none any more."""
        searched = 0
        while (end := self._rest.find(b"\n", searched)) < 0:
            searched = len(self._rest)
            try:
                chunk = self.stream.recv(1 << 18)
            except ConnectionError:
                return None
            if not chunk:
                return None
            self._rest += chunk
        message: Json = json.loads(self._rest[:end])
        del self._rest[: end + 1]
        return message

    @property
    def buffered(self) -> bool:
        """Whether the next one, or a part of it, was read from the socket already."""
        return bool(self._rest)
