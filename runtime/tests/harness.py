"""The journal's own server, and attempts of segments as processes that can be killed at every point."""

from __future__ import annotations

import itertools
import json
import os
import select
import socket
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
BUNDLES = ROOT / "tests" / "bundles"
KILLED = 99
PATHS = os.pathsep.join(str(ROOT / path) for path in ("src", "temporalio-shim/src", "tests"))
# Bytecode is kept, but beside no source.
ENVIRONMENT = {**os.environ, "PYTHONPATH": PATHS, "PYTHONPYCACHEPREFIX": str(Path(tempfile.gettempdir()) / "ntro-runtime-tests-pycache")}
ENVIRONMENT.pop("PYTHONDONTWRITEBYTECODE", None)
COMMANDS = frozenset(
    [
        "activityScheduled",
        "activityCancelRequested",
        "timerStarted",
        "timerCancelled",
        "gateOpened",
        "gateRevised",
        "gateClosed",
        "stepsChanged",
        "runCompleted",
        "runFailed",
    ]
)
STAMPED = ("seq", "time", "hash", "gateId", "firesAt", "due")
Json = dict[str, Any]


def server_binary() -> Path:
    """`NTRO_JOURNAL_SERVER`, else the newest build of the example in the workspace's target directory."""
    if given := os.environ.get("NTRO_JOURNAL_SERVER"):
        return Path(given)
    found = sorted(ROOT.parent.glob("target/**/debug/journal-testserver"), key=lambda path: path.stat().st_mtime)
    assert found, "build it first: cargo build -p journal-testserver"
    return found[-1]


class RefusedError(Exception):
    """The server refused a request."""


class Server:
    """One journal server with a virtual clock, and a connection for the harness."""

    def __init__(self, directory: Path, *options: str, virtual: bool = True) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.socket = directory / "journal.sock"
        command = [str(server_binary()), str(self.socket), str(directory / "journal"), "--auto-jobs", *options]
        self.process = subprocess.Popen([*command, "--virtual"] if virtual else command, stdout=subprocess.PIPE)
        assert self.process.stdout is not None
        assert self.process.stdout.readline().strip() == b"listening"
        self._stream = self.connect()
        self._lines = self._stream.makefile("rb")
        self._ids = itertools.count(1)
        self._lock = threading.Lock()

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
        self._stream.close()
        self.process.kill()
        self.process.wait()


@dataclass
class Run:
    """One run of a bundle. `answer` is asked what a person says at a gate: fields of `decide`, or None to leave it open."""

    server: Server
    directory: Path
    bundle: Path
    input: Json
    activities: Json
    answer: Callable[[Json], Json | None] = lambda _gate: {"verb": "approve", "actor": "alice"}
    retry: Callable[[Json], Json | None] = lambda _blocked: None
    env: dict[str, str] = field(default_factory=dict)
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    exits: list[int] = field(default_factory=list)
    kill_at: int | None = None
    slow: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        self._waited: set[tuple[int, int]] = set()
        self.points = self.directory / "points"
        self.points.touch()
        self.effects = self.directory / "effects"
        self.effects.touch()
        pin = {"activities": self.activities}
        self.server.ask("create", name=f"run-{self.id[:8]}", run=self.id, input=self.input, pin=pin, requestHash="x")

    # -- the journal --

    def state(self) -> Json:
        state: Json = self.server.ask("state", run=self.id)
        return state

    def entries(self, *kinds: str) -> list[Json]:
        entries = self.server.ask("entries", run=self.id)["entries"]
        return [entry for entry in entries if not kinds or entry["type"] in kinds]

    def decide(self, **fields: Any) -> Json:
        outcome: Json = self.server.ask("decide", run=self.id, **fields)
        return outcome

    def signal(self, name: str, *args: Any) -> Json:
        outcome: Json = self.server.ask("signal", run=self.id, name=name, args=list(args))
        return outcome

    def result(self) -> Any:
        completed = self.entries("runCompleted")
        return self.payload(completed[0]["result"]) if completed else None

    def payload(self, wire: Json) -> Any:
        if "inline" in wire:
            return json.loads(wire["inline"])
        digest = wire["blob"].removeprefix("sha256:")
        blob = next(path for path in (self.server.directory / "journal").rglob(digest) if path.is_file())
        return json.loads(blob.read_bytes())

    def blocked(self) -> tuple[str, str]:
        """Code and message of the newest block."""
        entry = self.entries("blocked")[-1]
        return entry["code"], self.payload(entry["detail"])["message"] if "detail" in entry else ""

    def effect_counts(self) -> dict[str, int]:
        """How often each effect happened, by the line the activity left."""
        counts: dict[str, int] = {}
        for line in self.effects.read_text().splitlines():
            counts[line] = counts.get(line, 0) + 1
        return counts

    # -- driving --

    def fork(self, gc_threshold: int = 700) -> int:
        """One attempt of the current segment in a fork of a process that has all modules loaded; returns its exit code."""
        env = {**self.env, "STUB_EFFECTS": str(self.effects)}
        job = {"env": env, "kill_at": self.kill_at, "gc_threshold": gc_threshold, "arguments": self._arguments()}
        self.exits.append(zygote().run(job, self._meanwhile))
        return self.exits[-1]

    def spawn(self, **env: str) -> int:
        """As `fork`, in a fresh interpreter."""
        command = [sys.executable, __file__, *self._arguments()]
        environment = {**ENVIRONMENT, "STUB_EFFECTS": str(self.effects), **self.env, **env}
        process = subprocess.Popen(command, env=environment)
        while process.poll() is None:
            self._meanwhile()
            time.sleep(0.01)
        self.exits.append(process.returncode)
        return self.exits[-1]

    def _arguments(self) -> list[str]:
        return [str(self.server.socket), self.id, str(self.bundle), str(self.points)]

    def _meanwhile(self) -> None:
        """Virtual time moves once for each attempt of a slow activity, else only while nobody runs."""
        for it in self.state()["activities"] if self.slow else []:
            attempt = (it["command"], it["attempt"])
            if it["activity"] in self.slow and it["state"] == "Running" and attempt not in self._waited:
                self._waited.add(attempt)
                self.server.ask("advance", ms=10)

    def drive(self, attempt: Callable[[], int] | None = None) -> str:
        """Do what operator, time and people do, until the run has ended, is blocked for good, or waits for a person; returns the phase."""
        attempt = attempt or self.fork
        for _ in range(200):
            state = self.state()
            phase: str = state["phase"]
            if phase in ("Succeeded", "Failed", "Cancelled"):
                return phase
            if state["holder"] is not None:
                self.server.ask("holderGone", run=self.id)
            elif phase == "Blocked":
                again = self.retry(state["blocked"])
                if again is None:
                    return phase
                assert self.server.ask("retry", run=self.id, **again)["outcome"] == "Applied"
            elif phase == "Queued" or state["wanted"] is not None:
                attempt()
            elif not self._answer_or_wait(state):
                return phase
        raise AssertionError(f"no end in sight: {self.exits}")

    def _answer_or_wait(self, state: Json) -> bool:
        for gate in state["gates"]:
            if gate["state"] == "Open" and (said := self.answer(gate)) is not None:
                assert self.decide(gate=gate["id"], revision=gate["revision"], **said)["outcome"] == "Applied"
                return True
        if state["nextTimer"] is not None:
            self.server.ask("advance", ms=10)
        return state["nextTimer"] is not None

    def commands(self) -> list[Json]:
        """The commands, with `seenUpto` as a count of deliveries, without what differs from run to run."""
        entries = self.entries()
        deliveries = [0]
        commands = []
        for entry in entries:
            if entry["type"] in COMMANDS:
                plain = {key: value for key, value in entry.items() if key not in STAMPED}
                commands.append({**plain, "seenUpto": deliveries.index(entry["seenUpto"])})
            elif entry["type"] in ("activityCompleted", "activityFailed", "timerFired", "gateDecided", "signalReceived"):
                deliveries.append(entry["seq"])
        return commands

    def outputs(self) -> list[Json]:
        return sorted(self.state()["outputs"], key=lambda output: str(output["name"]))


def run_segment(path: Path, run: str, bundle: Path, points: Path, kill_at: int | None) -> None:
    """Body of an attempt's process. It dies without a word at point number `kill_at`, counted over all attempts of the run."""
    import logging

    from ntro_runtime.engine.engine import Engine
    from ntro_runtime.engine.journal_client import JournalClient
    from ntro_runtime.shared.sandbox import die_with_parent

    class Client(JournalClient):
        def attach(self, versions: Json) -> Json:
            reply = self._call("attach", {"run": run, "pod": {"uid": str(uuid.uuid4())}, "versions": versions})
            self.epoch = int(reply["epoch"])
            return reply

    die_with_parent()
    stream = socket.socket(socket.AF_UNIX)
    stream.connect(str(path))
    lock = threading.Lock()
    reached = len(points.read_text().splitlines())

    def probe(point: str) -> None:
        nonlocal reached
        with lock:
            reached += 1
            with points.open("a") as file:
                file.write(f"{point}\n")
            if reached == kill_at:
                os._exit(KILLED)

    logging.basicConfig(level=logging.INFO, force=True)
    try:
        Engine(Client(stream), bundle, probe=probe).run()
    except BaseException:
        logging.exception("the engine died")
    os._exit(1)


class Zygote:
    """A process with the SDK loaded that forks one attempt after the other. The SDK never enters the tests' own process."""

    def __init__(self) -> None:
        command = [sys.executable, __file__, "zygote"]
        self._process = subprocess.Popen(command, env=ENVIRONMENT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def run(self, job: Json, meanwhile: Callable[[], None]) -> int:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(job).encode() + b"\n")
        self._process.stdin.flush()
        try:
            while not select.select([self._process.stdout], [], [], 0.01)[0]:
                meanwhile()
            return int(self._process.stdout.readline())
        except BaseException:
            # An attempt is still under way, and its end must not be taken for that of the next one.
            self._process.kill()
            del _local.zygote
            raise


_local = threading.local()


def zygote() -> Zygote:
    """One per thread of the tests."""
    if not hasattr(_local, "zygote"):
        _local.zygote = Zygote()
    it: Zygote = _local.zygote
    return it


def zygote_main() -> None:
    import gc
    import importlib

    from ntro_runtime.sdk import patches as compat
    from ntro_runtime.sdk.runtime import DurableRuntime
    from ntro_runtime.shared.sandbox import die_with_parent

    die_with_parent()
    compat.install(DurableRuntime())
    for module in ("openpyxl", "pdfplumber", "ntro.accounting", "ntro_runtime.engine.engine"):
        importlib.import_module(module)
    results = os.dup(1)
    os.dup2(2, 1)
    for line in sys.stdin:
        job = json.loads(line)
        pid = os.fork()
        if pid == 0:
            os.environ.update(job["env"])
            gc.set_threshold(job["gc_threshold"])
            socket_path, run, bundle, points = job["arguments"]
            run_segment(Path(socket_path), run, Path(bundle), Path(points), job["kill_at"])
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        os.write(results, f"{code}\n".encode())


if __name__ == "__main__":
    if sys.argv[1] == "zygote":
        zygote_main()
    else:
        run_segment(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4]), None)
