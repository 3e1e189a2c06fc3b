"""What the runner says outside the journal: one JSON object per line with ids, steps and classes of errors. Never payload."""

from __future__ import annotations

import json
import sys
import threading
import traceback
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..shared.errors import BlockCode, ExitCode

Json = dict[str, Any]
_CODES = frozenset(str(code) for code in BlockCode)


class Report:
    """The container's own output, and its termination message."""

    def __init__(self) -> None:
        self._ids: Json = {}
        self._steps: frozenset[str] = frozenset()
        self._lock = threading.Lock()

    def identify(self, run_id: str, segment: int, epoch: int) -> None:
        """From now on every line names the run."""
        self._ids = {"runId": run_id, "segment": segment, "epoch": epoch}

    def declare_steps(self, ids: frozenset[str]) -> None:
        """The steps of the bundle's manifest; only these are ever named."""
        self._steps = ids

    def event(self, event: str, **fields: Any) -> None:
        """One line."""
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        with self._lock:
            sys.stdout.write(json.dumps({"time": now, "event": event, **self._ids, **fields}) + "\n")
            sys.stdout.flush()

    def entry(self, entry: Json) -> None:
        """An entry that the child wrote. Words of its own are shown only if the manifest or the protocol knows them."""
        fields = {key: entry[key] for key in ("command", "target", "attempt") if isinstance(entry.get(key), int)}
        if entry.get("step") in self._steps:
            fields["step"] = entry["step"]
        if entry.get("code") in _CODES:
            fields["code"] = entry["code"]
        self.event("appended", type=str(entry["type"]), **fields)

    def crash(self, error: BaseException) -> None:
        """A defect of the runner itself: class and lines of our code, no text."""
        frames = traceback.extract_tb(error.__traceback__)
        where = [f"{Path(frame.filename).name}:{frame.lineno}" for frame in frames[-5:]]
        self.event("defect", error=type(error).__name__, where=where)

    def install_hooks(self) -> None:
        """No traceback of ours may reach the container's output: its texts can hold payload."""
        sys.excepthook = lambda _type, error, _trace: self.crash(error)
        threading.excepthook = lambda args: self.crash(args.exc_value or RuntimeError())

    def termination_message(self, path: Path, code: ExitCode) -> None:
        """Overwrite whatever stands in the container's termination message."""
        try:
            path.write_text(json.dumps({**self._ids, "exit": code.name.lower()}))
        except OSError:
            self.event("noTerminationMessage")
