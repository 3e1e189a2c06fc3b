"""The supervisor against an operator over real TLS, with a real confined child."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_journal import FakeJournal
from fake_operator import FakeOperator, layer_of
from ntro_runtime.sandbox import landlock_abi

ROOT = Path(__file__).parent.parent
HEAD = "---\nslug: probe\nname: Probe\n---\n"
WORKFLOW = """
from ntro.workflow import NtroWorkflow, WorkflowError, runbook, activity
import asyncio, logging, os, sys, time
from pathlib import Path

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

    def __init__(self, directory: Path, body: str, *, workflow: str = WORKFLOW, **settings: int) -> None:
        self.directory = directory
        config = {"token": str(directory / "secrets" / "token"), "dir": str(directory)}
        self.journal = FakeJournal(
            directory / "journal.sock", {"config": config, "period": "2026-10"}, {"act": {"effect": "none"}}, **settings
        )
        files = {
            "runbook.md": HEAD,
            "templates/__init__.py": "",
            "templates/workflow.py": workflow.format(body=textwrap.indent(body, "    ")),
        }
        self.operator = FakeOperator(directory, self.journal, layer_of(files))
        (directory / "secrets").mkdir()
        (directory / "secrets" / "token").write_text("TOKEN-CANARY\n")
        (directory / "termination-log").write_text("")
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, **env: str) -> subprocess.Popen[bytes]:
        paths = [str(ROOT / "src"), str(ROOT / "temporalio-shim" / "src")]
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "ntro_runtime"],
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": os.pathsep.join(paths),
                "NTRO_API_URL": self.operator.url,
                "NTRO_API_CA": str(self.operator.ca_file),
                "NTRO_TOKEN": str(self.directory / "secrets" / "token"),
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

    def result(self) -> Any:
        completed = self.journal.of("runCompleted")
        return json.loads(completed[0]["result"]["inline"]) if completed else None


@pytest.fixture
def pod(tmp_path: Path) -> Iterator[Callable[..., Pod]]:
    pods = []

    def make(body: str, **options: Any) -> Pod:
        pods.append(Pod(tmp_path, body, **options))
        return pods[-1]

    yield make
    for each in pods:
        if each.process is not None and each.process.poll() is None:
            each.process.kill()
        each.operator.close()


def wait_for(condition: Callable[[], Any], seconds: float = 20) -> Any:
    until = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < until, "condition not met in time"
        time.sleep(0.01)
    return value


def test_what_the_bundle_prints_is_in_the_log_stream_and_nowhere_else(pod: Callable[..., Pod]) -> None:
    it = pod(
        """
print("CANARY-print")
logging.getLogger("x").warning("CANARY-logging %s", 1)
os.write(2, b"CANARY-fd2\\n")
os.write(1, b"CANARY-unfinished")
raise RuntimeError("CANARY-exception")
""",
        lingerMs=100,
    )
    code, printed = it.finish()
    assert code == 1 or code == 143 or code == 70 or code == 0 or code == 75, printed
    assert "CANARY" not in printed
