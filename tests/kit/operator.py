"""The operator on the cluster, to be killed, held at a point and sent away."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from kit.cluster import call, kubectl, wait_for
from kit.people import SYSTEM

# As the end-to-end tests install it: short, so that an outage of several leases is over in seconds.
LEASE_MS = 5_000
LINGER_MS = 2_000


def operator_pids() -> list[int]:
    return [int(p) for p in call("pgrep", "-x", "ntro-operator").out.split()]


def operator_pid() -> int:
    """0 while none is running."""
    return next(iter(operator_pids()), 0)


class Operator:
    """One that a test takes away from all others: such tests are marked `alone`."""

    def kill(self) -> None:
        before = wait_for("the operator runs", operator_pids)
        for pid in before:
            os.kill(pid, signal.SIGKILL)
        wait_for("the operator is gone", lambda: not set(before) & set(operator_pids()))

    def ready(self, timeout: float = 180) -> None:
        def is_ready() -> bool:
            pod = kubectl("-n", SYSTEM, "get", "pod", "ntro-0", "-o", "json").json
            conditions = {c["type"]: c["status"] for c in pod["status"]["conditions"]}
            return conditions["Ready"] == "True" and bool(operator_pids())

        wait_for("the operator is ready", is_ready, timeout)

    def away(self) -> None:
        kubectl("-n", SYSTEM, "scale", "statefulset/ntro", "--replicas=0").ok()
        wait_for("the operator is away", lambda: not operator_pids())

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
