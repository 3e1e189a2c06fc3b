"""Attempts of segments as processes that can be killed at every point.

segment_process.py SOCKET RUN BUNDLE POINTS     one attempt in a fresh interpreter
segment_process.py zygote                       forks one attempt, or one replay, for each line it reads
"""

from __future__ import annotations

import itertools
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import uuid
from collections.abc import Callable
from pathlib import Path

from journal_server import RUNTIME, Json

KILLED = 99
PATHS = os.pathsep.join(str(RUNTIME / path) for path in ("src", "temporalio-shim/src", "tests"))
# Bytecode is kept, but beside no source.
ENVIRONMENT = {**os.environ, "PYTHONPATH": PATHS, "PYTHONPYCACHEPREFIX": str(Path(tempfile.gettempdir()) / "ntro-runtime-tests-pycache")}
ENVIRONMENT.pop("PYTHONDONTWRITEBYTECODE", None)


def run_segment(
    path: Path, run: str, bundle: Path, points: Path, kill_at: int | None, linger_ms: int | None = None, rest: Path | None = None
) -> None:
    """Body of an attempt's process. It dies without a word at point number `kill_at`, counted over all attempts of the run.

    Whenever nothing is left to do it writes to `rest` the newest delivery that workflow code was told of, how often it wrote so, and
    whether the code has come to its end, so that it is told of nothing more.
    """
    import logging

    from ntro_runtime.engine.engine import Engine
    from ntro_runtime.shared.sandbox import die_with_parent
    from ntro_runtime.shared.versions import versions
    from server_client import ServerClient

    class Client(ServerClient):
        def attach(self) -> Json:
            reply = self._call("attach", {"run": run, "pod": {"uid": str(uuid.uuid4())}, "versions": versions()})
            self.epoch = int(reply["epoch"])
            if linger_ms is not None:
                reply["settings"]["lingerMs"] = linger_ms
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
        engine = Engine(Client(stream), bundle, probe=probe)
        wait, rests = engine._events.wait, itertools.count(1)

        def resting(seconds: float | None) -> None:
            if rest is not None:
                rest.write_text(f"{engine._scope.recorder.seen} {next(rests)} {engine._scope.finished}\n")
            wait(seconds)

        engine._events.wait = resting  # type: ignore[method-assign]
        engine.run()
    except BaseException:
        logging.exception("the engine died")
    os._exit(1)


class Zygote:
    """A process with the SDK loaded that forks one attempt after the other. The SDK never enters the tests' own process."""

    def __init__(self, hash_seed: str | None = None) -> None:
        command = [sys.executable, __file__, "zygote"]
        environment = ENVIRONMENT if hash_seed is None else {**ENVIRONMENT, "PYTHONHASHSEED": hash_seed}
        self._hash_seed = hash_seed
        # Without a buffer, in which a line could wait while `select` sees none.
        self._process = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
        self._fork = 0

    def run(self, job: Json, meanwhile: Callable[[], None]) -> int:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(job).encode() + b"\n")
        self._process.stdin.flush()
        self._fork = int(self._process.stdout.readline())
        try:
            while not select.select([self._process.stdout], [], [], 0.01)[0]:
                meanwhile()
            return int(self._process.stdout.readline())
        except BaseException:
            # An attempt is still under way, and its end must not be taken for that of the next one.
            self._process.kill()
            del _zygotes()[self._hash_seed]
            raise

    def kill(self) -> None:
        """Kill the fork under way; from `meanwhile`."""
        os.kill(self._fork, signal.SIGKILL)


_local = threading.local()


def _zygotes() -> dict[str | None, Zygote]:
    if not hasattr(_local, "zygotes"):
        _local.zygotes = {}
    its: dict[str | None, Zygote] = _local.zygotes
    return its


def zygote(hash_seed: str | None = None) -> Zygote:
    """One per thread of the tests and `PYTHONHASHSEED`."""
    its = _zygotes()
    if hash_seed not in its:
        its[hash_seed] = Zygote(hash_seed)
    return its[hash_seed]


def zygote_main() -> None:
    import gc
    import importlib

    import replay_process
    from ntro_runtime.sdk import patches
    from ntro_runtime.sdk.runtime import DurableRuntime
    from ntro_runtime.shared.sandbox import die_with_parent

    die_with_parent()
    patches.install(DurableRuntime())
    for module in ("openpyxl", "pdfplumber", "ntro.accounting", "ntro_runtime.engine.engine"):
        importlib.import_module(module)
    # Else each fork that collects garbage would copy the pages of all that was loaded.
    gc.freeze()
    results = os.dup(1)
    os.dup2(2, 1)
    for line in sys.stdin:
        job = json.loads(line)
        pid = os.fork()
        if pid == 0:
            os.environ.update(job["env"])
            gc.set_threshold(job["gc_threshold"])
            if "replay" in job:
                replay_process.replay(*(Path(path) for path in job["replay"]))
            socket_path, run, bundle, points = job["arguments"]
            rest = Path(job["rest"]) if "rest" in job else None
            run_segment(Path(socket_path), run, Path(bundle), Path(points), job["kill_at"], job.get("linger_ms"), rest)
        os.write(results, f"{pid}\n".encode())
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        os.write(results, f"{code}\n".encode())


if __name__ == "__main__":
    if sys.argv[1] == "zygote":
        zygote_main()
    else:
        run_segment(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4]), None)
