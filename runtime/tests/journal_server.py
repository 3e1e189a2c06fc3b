"""The journal's own server, with a clock that tests move."""

from __future__ import annotations

import itertools
import json
import os
import socket
import subprocess
import threading
from pathlib import Path
from typing import Any

RUNTIME = Path(__file__).resolve().parent.parent
Json = dict[str, Any]


def binary(name: str, variable: str) -> Path:
    """The path in this environment variable, else the newest build in the workspace's target directory."""
    if given := os.environ.get(variable):
        return Path(given)
    found = sorted(RUNTIME.parent.glob(f"target/**/debug/{name}"), key=lambda path: path.stat().st_mtime)
    assert found, f"build it first: cargo build -p {name}"
    return found[-1]


def server_binary() -> Path:
    return binary("journal-testserver", "NTRO_JOURNAL_SERVER")


def runner_binary() -> Path:
    return binary("ntro-runner", "NTRO_RUNNER")


class RefusedError(Exception):
    """The server refused a request."""


class Server:
    """One journal server with a virtual clock, and a connection for the harness."""

    def __init__(self, directory: Path, *options: str, virtual: bool = True) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.socket = directory / "journal.sock"
        self._command = [str(server_binary()), str(self.socket), str(directory / "journal"), "--auto-jobs", *options]
        self._command += ["--virtual"] if virtual else []
        self._ids = itertools.count(1)
        self._lock = threading.Lock()
        self._start()

    def _start(self) -> None:
        self.process = subprocess.Popen(self._command, stdout=subprocess.PIPE)
        assert self.process.stdout is not None
        assert self.process.stdout.readline().strip() == b"listening"
        self._stream = self.connect()
        self._lines = self._stream.makefile("rb")

    def restart(self) -> None:
        """Killed, and started again on what it has stored. Virtual time goes on where the newest journal ends."""
        self.close()
        self._start()

    def connect(self) -> socket.socket:
        stream = socket.socket(socket.AF_UNIX)
        stream.connect(str(self.socket))
        return stream

    def ask(self, op: str, **fields: Any) -> Any:
        with self._lock:
            self._stream.sendall(json.dumps({"op": op, "id": next(self._ids), **fields}).encode() + b"\n")
            reply = json.loads(self._lines.readline())
        if "error" in reply:
            raise RefusedError(f"{op}: {reply['error']}")
        return reply["ok"]

    def close(self) -> None:
        self._lines.close()
        self._stream.close()
        self.process.kill()
        self.process.communicate()
