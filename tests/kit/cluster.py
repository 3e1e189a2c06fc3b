"""kubectl, helm and ntro as people run them, on the cluster that KUBECONFIG names, and waiting for what they show."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from kit.people import Person

T = TypeVar("T")

ROOT = Path(__file__).resolve().parents[2]
BUNDLES = ROOT / "tests/bundles"
NAV_MONTHLY = ROOT / "examples/runbooks/nav-monthly"


@dataclass
class Done:
    """What a command printed and how it ended."""

    code: int
    out: str
    err: str

    def ok(self) -> Done:
        assert self.code == 0, f"exit code {self.code}\n{self.out}\n{self.err}"
        return self

    def refused(self, message: str) -> None:
        """It failed, and `message` is part of what it said, however the lines were broken."""
        assert self.code != 0, f"accepted, though it should say: {message}"
        assert message in " ".join(self.err.split()), self.err

    @property
    def json(self) -> Any:
        return json.loads(self.ok().out)


def call(*command: str | Path, stdin: str | None = None, env: Mapping[str, str] | None = None, timeout: float = 180) -> Done:
    """Runs a command; an empty value in `env` takes the variable away."""
    done = subprocess.run(
        [str(c) for c in command],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=timeout,
        env={key: value for key, value in {**os.environ, **(env or {})}.items() if value},
        check=False,
    )
    return Done(done.returncode, done.stdout, done.stderr)


def kubectl(*args: str, person: Person | None = None, send: Any = None, stdin: str | None = None, timeout: float = 180) -> Done:
    """As `person`, or else as the administrator; `send` is what `-f -` reads, as JSON."""
    flags = person.flags() if person else []
    return call("kubectl", *flags, *args, stdin=stdin if send is None else json.dumps(send), timeout=timeout)


def helm(*args: str, timeout: float = 180) -> Done:
    return call("helm", *args, timeout=timeout)


def ntro(*args: str, person: Person | None = None, timeout: float = 180, env: Mapping[str, str] | None = None) -> Done:
    """The command line, with the registry from the tenant's namespace and not from this shell."""
    program = Path(os.environ["NTRO_BIN"]) / "ntro"
    return call(program, *(person.flags() if person else []), *args, timeout=timeout, env={"NTRO_REGISTRY": "", **(env or {})})


def wait_for(what: str, probe: Callable[[], T | None], timeout: float = 90, instead: Callable[[], str] = str) -> T:
    """Asks until `probe` gives something true; when the time is up, fails with `what` and what `instead` finds then."""
    deadline = time.monotonic() + timeout
    while True:
        failure: Exception | None = None
        try:
            if answer := probe():
                return answer
        except (AssertionError, subprocess.TimeoutExpired, KeyError, IndexError) as raised:
            failure = raised
        if time.monotonic() >= deadline:
            raise AssertionError(f"not within {timeout:.0f} s: {what}\n{instead()}") from failure
        time.sleep(0.1)
