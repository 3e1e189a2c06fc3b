"""A cgroup with a limit of memory, of either version, and what a process in it really needs: what it uses less page cache."""

from __future__ import annotations

import threading
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
EVERY = 0.05


class MemoryCgroup:
    """Watched all the time: the kernel's own peak counts page cache, which it gives back when asked."""

    def __init__(self, name: str, limit: int) -> None:
        self.first = (ROOT / "memory").is_dir()
        self.path = ROOT / ("memory" if self.first else "") / name
        self.path.mkdir(exist_ok=True)
        (self.path / ("memory.limit_in_bytes" if self.first else "memory.max")).write_text(str(limit))
        self.peak, self.stopped = 0, threading.Event()
        threading.Thread(target=self.watch, daemon=True).start()

    @property
    def procs(self) -> Path:
        return self.path / "cgroup.procs"

    def numbers(self, file: str) -> dict[str, int]:
        return {key: int(value) for key, value in (line.split() for line in (self.path / file).read_text().splitlines())}

    def needed(self) -> int:
        """Bytes in use less those of page cache; shared memory is no page cache."""
        usage = int((self.path / ("memory.usage_in_bytes" if self.first else "memory.current")).read_text())
        stat = self.numbers("memory.stat")
        return usage - (stat["cache" if self.first else "file"] - stat["shmem"])

    def oom_kills(self) -> int:
        return self.numbers("memory.oom_control" if self.first else "memory.events").get("oom_kill", 0)

    def watch(self) -> None:
        while not self.stopped.wait(EVERY):
            self.peak = max(self.peak, self.needed())

    def remove(self) -> None:
        self.stopped.set()
        self.path.rmdir()
