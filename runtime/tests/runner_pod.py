"""A runner pod: the supervisor, with its confined child, against an operator over real TLS."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from harness import Run
from https_operator import HttpsOperator, layer_of
from journal_server import RUNTIME, Json, Server, runner_binary

HEAD = "---\nslug: probe\nname: Probe\nsteps: [{id: one}]\n---\n"
WORKFLOW = """
import asyncio, ctypes, logging, os, signal, stat, sys, threading, time
from pathlib import Path
from ntro.workflow import NtroWorkflow, WorkflowError, runbook, activity

PARENT = os.getppid()
SOCKETS = {os.fstat(fd).st_ino for fd in range(256) if os.path.lexists(f"/proc/self/fd/{fd}") and stat.S_ISSOCK(os.fstat(fd).st_mode)}

@activity.defn
def act(what: dict) -> object:
{body}

@runbook.defn
class ProbeWorkflow(NtroWorkflow):
    @runbook.step(name="one", title="One")
    async def _one(self, input):
        return await runbook.execute_activity(act, input["config"], start_to_close_timeout=60)

    @runbook.run
    async def run(self, input: dict):
        return await self._one(input)
"""


class Pod:
    """One supervisor process and all around it."""

    def __init__(
        self, directory: Path, server: Server, body: str, *, workflow: str = WORKFLOW, effect: str = "none", **options: Any
    ) -> None:
        self.directory = directory
        config = {"token": str(directory / "secrets" / "token"), "dir": str(directory)}
        self.run = Run(server, directory / "run", directory, {"config": config}, {"act": {"effect": effect}})
        source = workflow.replace("{body}", textwrap.indent(textwrap.dedent(body), "    "))
        files = {"runbook.md": HEAD, "templates/__init__.py": "", "templates/workflow.py": source}
        self.operator = HttpsOperator(directory, server, self.run.id, options.pop("layer", None) or layer_of(files), **options)
        (directory / "secrets").mkdir()
        (directory / "secrets" / "token").write_text("TOKEN-CANARY\n")
        (directory / "termination-log").write_text("")
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, **env: str) -> subprocess.Popen[bytes]:
        paths = [str(RUNTIME / "src"), str(RUNTIME / "temporalio-shim" / "src")]
        self.process = subprocess.Popen(
            [str(runner_binary())],
            env={
                "PATH": os.environ["PATH"],
                "NTRO_PYTHON": sys.executable,
                "PYTHONPATH": os.pathsep.join(paths),
                "NTRO_API_URL": self.operator.url,
                "NTRO_API_CA": str(self.operator.ca_file),
                "NTRO_TOKEN_FILE": str(self.directory / "secrets" / "token"),
                "NTRO_WORK_DIR": str(self.directory),
                "NTRO_TERMINATION_LOG": str(self.directory / "termination-log"),
                **env,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        return self.process

    def finish(self, **env: str) -> tuple[int, str]:
        """Exit code, and all the container printed."""
        process = self.process or self.start(**env)
        out, err = process.communicate(timeout=60)
        return process.returncode, (out + err).decode()

    def log(self) -> str:
        lines = self.run.server.ask("logs", run=self.run.id)["lines"]
        return "\n".join(f"{line['stream']}: {line['text']}" for line in lines)

    def child(self) -> int:
        """The child's process id, once there is one."""
        assert self.process is not None
        tasks = Path(f"/proc/{self.process.pid}/task")
        children = wait_for(lambda: [p for t in tasks.iterdir() for p in (t / "children").read_text().split()])
        return int(children[0])


@pytest.fixture
def pod(tmp_path: Path) -> Iterator[Callable[..., Pod]]:
    made: list[tuple[Pod, Server]] = []

    def make(body: str, *, lease_ms: int = 2000, outage_wait_ms: int = 3000, cancel_grace_ms: int = 5000, **options: Any) -> Pod:
        times = {"--lease-ms": lease_ms, "--outage-wait-ms": outage_wait_ms, "--cancel-grace-ms": cancel_grace_ms, "--linger-ms": 0}
        server = Server(tmp_path, *[str(part) for pair in times.items() for part in pair], virtual=False)
        made.append((Pod(tmp_path, server, body, **options), server))
        return made[-1][0]

    yield make
    for it, server in made:
        if it.process is not None and it.process.poll() is None:
            it.process.kill()
            it.process.wait()
        it.operator.close()
        server.close()


def wait_for(condition: Callable[[], Any], seconds: float = 20) -> Any:
    until = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < until, "condition not met in time"
        time.sleep(0.01)
    return value


def events(printed: str) -> list[Json]:
    """Every line the container printed must be one of ours."""
    return [json.loads(line) for line in printed.splitlines()]
