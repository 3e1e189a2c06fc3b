"""The world outside the system, where effects happen."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


class Outside:
    """An append-only record of effects, and things that take as long as a test wants."""

    def __init__(self, record: Path, address: str) -> None:
        self.record = record
        self.record.touch()
        self.holds: dict[str, threading.Event] = {}
        self.reached: dict[str, threading.Event] = {}
        self.lock = threading.Lock()
        outside = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                with outside.lock, outside.record.open("a") as f:
                    f.write(self.path.removeprefix("/effects/") + "\n")
                self.answer()

            def do_GET(self) -> None:
                name = self.path.removeprefix("/hold/")
                outside.event(outside.reached, name).set()
                outside.event(outside.holds, name).wait(600)
                self.answer()

            def answer(self) -> None:
                self.send_response(204)
                self.end_headers()

            def log_message(self, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer((address, 0), Handler)
        self.url = f"http://{address}:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def event(self, events: dict[str, threading.Event], name: str) -> threading.Event:
        with self.lock:
            return events.setdefault(name, threading.Event())

    def wait_reached(self, name: str, timeout: float = 120) -> None:
        assert self.event(self.reached, name).wait(timeout), f"nobody came to {name}"

    def release(self, name: str) -> None:
        self.event(self.holds, name).set()

    def effects(self, prefix: str) -> list[str]:
        return [line for line in self.record.read_text().splitlines() if line.startswith(prefix)]
