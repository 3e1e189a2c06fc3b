"""Attempts of segments as processes that can be killed at every point.

segment_process.py SOCKET RUN BUNDLE POINTS     one attempt in a fresh interpreter
segment_process.py zygote                       forks one attempt for each line it reads
"""

from __future__ import annotations

import json
import os
import select
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


def run_segment(path: Path, run: str, bundle: Path, points: Path, kill_at: int | None) -> None:
    """Body of an attempt's process. It dies without a word at point number `kill_at`, counted over all attempts of the run."""
    import logging

    from ntro_runtime.engine.engine import Engine
    from ntro_runtime.shared.sandbox import die_with_parent
    from server_client import ServerClient

    class Client(ServerClient):
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

    from ntro_runtime.sdk import patches
    from ntro_runtime.sdk.runtime import DurableRuntime
    from ntro_runtime.shared.sandbox import die_with_parent

    die_with_parent()
    patches.install(DurableRuntime())
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
