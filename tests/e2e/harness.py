"""What the end-to-end tests share: kubectl and ntro as people use them, waiting for conditions, and an outside world."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

ROOT = Path(__file__).resolve().parents[2]
NTRO = Path(os.environ["NTRO_BIN"]) / "ntro"
SYSTEM = "ntro-system"
BUNDLES = Path(__file__).parent / "bundles"
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

    @property
    def json(self) -> Any:
        return json.loads(self.ok().out)


def call(*command: str | Path, stdin: str | None = None, env: dict[str, str] | None = None, timeout: float = 180) -> Done:
    """Runs a command; an empty value in `env` takes the variable away."""
    done = subprocess.run(
        [str(c) for c in command],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=timeout,
        env={key: value for key, value in {**os.environ, **(env or {})}.items() if value},
    )
    return Done(done.returncode, done.stdout, done.stderr)


def kubectl(*args: str, stdin: str | None = None, timeout: float = 180) -> Done:
    return call("kubectl", *args, stdin=stdin, timeout=timeout)


def wait_for(what: str, probe: Callable[[], T | None], timeout: float = 90, instead: Callable[[], str] = str) -> T:
    """Asks until `probe` gives something true; when the time is up, fails with `what` and what `instead` finds then."""
    until = time.monotonic() + timeout
    while True:
        try:
            answer = probe()
        except (AssertionError, subprocess.TimeoutExpired, KeyError, IndexError):
            answer = None
        if answer:
            return answer
        assert time.monotonic() < until, f"not within {timeout:.0f} s: {what}\n{instead()}"
        time.sleep(0.1)


@dataclass
class Person:
    """Somebody with a name and groups, as the API server would know them."""

    name: str
    groups: tuple[str, ...] = ()

    def flags(self) -> list[str]:
        groups = ("system:authenticated", *self.groups)
        return ["--as", self.name, *(f for g in groups for f in ("--as-group", g))]


@dataclass
class Tenant:
    """A prepared tenant namespace with one person of each role."""

    slug: str
    viewer: Person = field(init=False)
    approver: Person = field(init=False)
    runner: Person = field(init=False)

    def __post_init__(self) -> None:
        self.viewer = Person(f"vera@{self.slug}")
        self.approver = Person(f"ada@{self.slug}")
        self.runner = Person(f"rob@{self.slug}")

    def create(self, *more: str) -> None:
        ntro(
            *("tenant", "create", self.slug, "--registry", f"{os.environ['NTRO_REGISTRY']}/{self.slug}"),
            *("--viewer", self.viewer.name, "--approver", self.approver.name, "--runner", self.runner.name),
            *more,
        ).ok()
        wait_for(f"tenant {self.slug} is known to the operator", lambda: self.kubectl("get", "configmap", "ntro-ca").code == 0)

    def kubectl(self, *args: str, stdin: str | None = None, timeout: float = 180) -> Done:
        return kubectl("-n", self.slug, *args, stdin=stdin, timeout=timeout)

    def get(self, kind: str, name: str) -> dict[str, Any]:
        value: dict[str, Any] = self.kubectl("get", kind, name, "-o", "json").json
        return value

    def items(self, kind: str, *selector: str) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = self.kubectl("get", kind, "-o", "json", *selector).json["items"]
        return items

    def ntro(self, *args: str, person: Person | None = None, timeout: float = 180) -> Done:
        return ntro(*args, "--tenant", self.slug, person=person, timeout=timeout)

    def workflow(self, path: Path, entity: str, *more: str, person: Person | None = None) -> Done:
        return self.ntro("workflow", "create", "--path", str(path), "--entity", entity, "--plain-http", *more, person=person)

    def start(self, workflow: str, *more: str, person: Person | None = None) -> Run:
        out = self.ntro("workflow", "run", workflow, "-o", "name", *more, person=person or self.runner).ok().out
        return Run(self, out.strip().split("/")[1])


def ntro(*args: str, person: Person | None = None, timeout: float = 180, env: dict[str, str] | None = None) -> Done:
    """The command line, with the registry from the tenant's namespace and not from this shell."""
    return call(NTRO, *(person.flags() if person else []), *args, timeout=timeout, env={"NTRO_REGISTRY": "", **(env or {})})


@dataclass
class Run:
    """One run of a tenant."""

    tenant: Tenant
    name: str

    def object(self) -> dict[str, Any]:
        return self.tenant.get("nrun", self.name)

    def status(self) -> dict[str, Any]:
        return self.object().get("status", {})

    def phase(self) -> str:
        return str(self.status().get("phase", ""))

    def reach(self, *phases: str, timeout: float = 120) -> dict[str, Any]:
        """Waits for one of the phases; a phase that no run leaves by itself ends the wait at once."""

        def reached() -> dict[str, Any] | None:
            status = self.status()
            phase = status.get("phase")
            if phase in phases:
                return status
            if phase in ("Succeeded", "Failed", "Cancelled", "Blocked"):
                raise Ended(f"{self.name} is {phase}: {json.dumps(status, indent=1)}")
            return None

        return wait_for(f"{self.name} is {' or '.join(phases)}", reached, timeout, self.story)

    def story(self) -> str:
        """What keeps the run from going on, as far as the cluster knows: its status, its pods, the newest events."""
        status = self.status()
        lines = [f"phase: {status.get('phase')}", f"load of this machine: {Path('/proc/loadavg').read_text().strip()}"]
        lines += [f"{c['type']}={c['status']}: {c.get('reason')}: {c.get('message')}" for c in status.get("conditions", [])]
        lines += [f"job {j['metadata']['name']}: {json.dumps(j.get('status', {}))[:300]}" for j in self.jobs()]
        for pod in self.pods():
            states = [c.get("state") for key in ("initContainerStatuses", "containerStatuses") for c in pod["status"].get(key, [])]
            lines.append(f"pod {pod['metadata']['name']} made {pod['metadata']['creationTimestamp']}: {pod['status'].get('phase')} {json.dumps(states)}")
        columns = "custom-columns=TIME:.metadata.creationTimestamp,KIND:.involvedObject.kind,NAME:.involvedObject.name,WHAT:.reason,MESSAGE:.message"
        events = self.tenant.kubectl("get", "events", "--sort-by=.metadata.creationTimestamp", "-o", columns).out.splitlines()
        log = kubectl("-n", SYSTEM, "logs", "ntro-0", "--tail=200").out.splitlines()
        return "\n".join([*lines, *events[-8:], *[line[:300] for line in log if self.name in line][-5:]])

    def gates(self, state: str | None = "Open") -> list[dict[str, Any]]:
        gates = [g for g in self.tenant.items("gate") if g["spec"]["run"] == self.name]
        return [g for g in gates if state is None or g.get("status", {}).get("state") == state]

    def gate(self, step: str | None = None) -> str:
        """Waits for an open gate and gives its name."""

        def find() -> str | None:
            names = [g["metadata"]["name"] for g in self.gates() if step in (None, g["spec"]["step"])]
            return names[0] if names else None

        return wait_for(f"{self.name} opens a gate {step or ''}", find)

    def approve(self, step: str | None = None, *more: str, person: Person | None = None) -> Done:
        """Approves a gate. In a tenant that is seconds old the policy is not verified yet, and a person repeats the command."""
        gate, until = self.gate(step), time.monotonic() + 10
        while True:
            done = self.tenant.ntro("gate", "approve", gate, *more, person=person or self.tenant.approver)
            if "policy that proves who acts" not in done.err or time.monotonic() > until:
                return done

    def jobs(self) -> list[dict[str, Any]]:
        return self.tenant.items("job", "-l", f"ntro.dev/run={self.name}")

    def pods(self) -> list[dict[str, Any]]:
        return self.tenant.items("pod", "-l", f"ntro.dev/run={self.name}")

    def running_pods(self) -> list[str]:
        return [p["metadata"]["name"] for p in self.pods() if p["status"].get("phase") in ("Pending", "Running")]

    def output(self, *more: str) -> Done:
        return self.tenant.ntro("run", "output", self.name, *more, person=self.tenant.viewer)

    def journal(self) -> list[dict[str, Any]]:
        """The whole journal, from the audit export."""
        lines = self.output("--audit").ok().out.splitlines()
        return [json.loads(line) for line in lines]

    def processes(self) -> list[int]:
        """Process ids of the run's containers on this node."""
        mark = f"NTRO_RUN={self.name}".encode()
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                if mark in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
            except OSError:
                continue
        return sorted(found)

    def kill(self) -> None:
        """kill -9 of everything in the run's pod."""
        for pid in wait_for(f"{self.name} has a process", self.processes):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue


class Ended(Exception):
    """A run ended, or was blocked, where it should not have been."""


class Operator:
    """The operator on the cluster, to be killed, held at a point and sent away."""

    def pids(self) -> list[int]:
        return [int(p) for p in call("pgrep", "-x", "ntro-operator").out.split()]

    def kill(self) -> None:
        before = wait_for("the operator runs", self.pids)
        for pid in before:
            os.kill(pid, signal.SIGKILL)
        wait_for("the operator is gone", lambda: not set(before) & set(self.pids()))

    def ready(self, timeout: float = 180) -> None:
        def is_ready() -> bool:
            pod = kubectl("-n", SYSTEM, "get", "pod", "ntro-0", "-o", "json").json
            conditions = {c["type"]: c["status"] for c in pod["status"]["conditions"]}
            return conditions["Ready"] == "True" and bool(self.pids())

        wait_for("the operator is ready", is_ready, timeout)

    def away(self) -> None:
        kubectl("-n", SYSTEM, "scale", "statefulset/ntro", "--replicas=0").ok()
        wait_for("the operator is away", lambda: not self.pids())

    def back(self) -> None:
        kubectl("-n", SYSTEM, "scale", "statefulset/ntro", "--replicas=1").ok()
        self.ready()

    def volume(self) -> Path:
        """The operator's data directory on this node."""
        name = kubectl("-n", SYSTEM, "get", "pvc", "data-ntro-0", "-o", "jsonpath={.spec.volumeName}").ok().out
        return Path(kubectl("get", "pv", name, "-o", "jsonpath={.spec.local.path}").ok().out)

    def arm(self, point: str) -> Path:
        """The next time the operator passes `point`, it dies as by kill -9. Gives the file that is gone when it has."""
        directory = self.volume() / "failpoints"
        directory.mkdir(exist_ok=True)
        directory.chmod(0o777)
        file = directory / point
        file.touch()
        file.chmod(0o666)
        return file


class Outside:
    """The world outside the system: an append-only record of effects, and things that take as long as a test wants."""

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


def names(prefix: str) -> Iterator[str]:
    """Names that no earlier session of tests has used, nor one that runs beside this."""
    stamp = f"{int(time.time()) % 1_000_000:06d}{os.environ.get('PYTEST_XDIST_WORKER', '').removeprefix('gw')}"
    n = 0
    while True:
        n += 1
        yield f"{prefix}-{stamp}-{n}"
