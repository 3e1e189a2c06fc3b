"""A tenant, the runs in it, and what people do with them."""

from __future__ import annotations

import json
import os
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kit.cluster import Done, kubectl, ntro, wait_for
from kit.people import SYSTEM, Person


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

    def kubectl(self, *args: str, **more: Any) -> Done:
        return kubectl("-n", self.slug, *args, **more)

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


@dataclass
class Run:
    """One run of a tenant."""

    tenant: Tenant
    name: str

    def object(self) -> dict[str, Any]:
        return self.tenant.get("nrun", self.name)

    def status(self) -> dict[str, Any]:
        status: dict[str, Any] = self.object().get("status", {})
        return status

    def phase(self) -> str:
        return str(self.status().get("phase", ""))

    def reach(self, *phases: str, timeout: float = 120) -> dict[str, Any]:
        """Waits for one of the phases; a phase that no run leaves without a user action ends the wait at once."""

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
        """What keeps the run from ending, as far as the cluster knows: its status, its pods, the newest events."""
        status = self.status()
        lines = [f"phase: {status.get('phase')}", f"load of this machine: {Path('/proc/loadavg').read_text().strip()}"]
        lines += [f"{c['type']}={c['status']}: {c.get('reason')}: {c.get('message')}" for c in status.get("conditions", [])]
        lines += [f"job {j['metadata']['name']}: {json.dumps(j.get('status', {}))[:300]}" for j in self.jobs()]
        for pod in self.pods():
            states = [c.get("state") for key in ("initContainerStatuses", "containerStatuses") for c in pod["status"].get(key, [])]
            lines.append(
                f"pod {pod['metadata']['name']} made {pod['metadata']['creationTimestamp']}: {pod['status'].get('phase')} {json.dumps(states)}"
            )
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
        gate, deadline = self.gate(step), time.monotonic() + 10
        while True:
            done = self.tenant.ntro("gate", "approve", gate, *more, person=person or self.tenant.approver)
            if "policy that proves who acts" not in done.err or time.monotonic() > deadline:
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
