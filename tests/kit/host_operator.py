"""The operator as a process of this host: its clock is set by a file, its volume is small, and pods reach it all the same."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
import threading
from pathlib import Path

from kit.cluster import kubectl, wait_for
from kit.people import SYSTEM

# As the kubelet does, but sooner.
RESTART = 1.0
API_PORT, HEALTH_PORT = 18443, 18444


def take_over() -> dict[str, str]:
    """Sends the operator of the chart away and lets its Service lead to this host; gives the environment it had."""
    found = kubectl("-n", SYSTEM, "get", "statefulset", "ntro", "-o", "json").json
    environment = {e["name"]: e["value"] for e in found["spec"]["template"]["spec"]["containers"][0]["env"] if "value" in e}
    kubectl("-n", SYSTEM, "scale", "statefulset/ntro", "--replicas=0").ok()
    wait_for("the operator's pod is gone", lambda: kubectl("-n", SYSTEM, "get", "pod", "ntro-0").code != 0)
    remove = json.dumps([{"op": "remove", "path": "/spec/selector"}])
    kubectl("-n", SYSTEM, "patch", "service", "ntro", "--type=json", "-p", remove).ok()
    kubectl("-n", SYSTEM, "delete", "endpoints", "ntro", "--ignore-not-found").ok()
    kubectl("-n", SYSTEM, "delete", "endpointslices", "-l", "kubernetes.io/service-name=ntro").ok()
    address = kubectl("get", "nodes", "-o", "jsonpath={.items[0].status.addresses[0].address}").ok().out
    ports = [{"name": "api", "port": API_PORT}, {"name": "health", "port": HEALTH_PORT}]
    labels = {"kubernetes.io/service-name": "ntro", "endpointslice.kubernetes.io/managed-by": "tests"}
    slice_ = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": "ntro-host", "namespace": SYSTEM, "labels": labels},
        "addressType": "IPv4",
        "ports": ports,
        "endpoints": [{"addresses": [address]}],
    }
    kubectl("apply", "-f", "-", send=slice_).ok()
    return environment


class HostOperator:
    """Started again whenever it ends, until it is told to stop. Its API server is `server`."""

    def __init__(self, environment: dict[str, str], server: str, size: str) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="ntro-soak-", dir="/var/tmp"))
        self.data, self.clock, self.log = (self.directory / name for name in ("data", "clock", "operator.log"))
        self.data.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=700", "ntro-soak", self.data], check=True)
        self.environment = {
            **environment,
            "PATH": os.environ["PATH"],
            "KUBECONFIG": str(self.kubeconfig(server)),
            "NTRO_DATA_DIR": str(self.data),
            "NTRO_NAMESPACE": SYSTEM,
            "NTRO_POD_NAME": "ntro-0",
            "NTRO_API_ADDR": f"0.0.0.0:{API_PORT}",
            "NTRO_HEALTH_ADDR": f"0.0.0.0:{HEALTH_PORT}",
            "NTRO_CLOCK_FILE": str(self.clock),
        }
        self.set_clock(0)
        self.starts = 0
        self.held, self.stopped = threading.Event(), threading.Event()
        self.process: subprocess.Popen[bytes] | None = None
        self.keeper = threading.Thread(target=self.keep, daemon=True)
        self.keeper.start()

    def kubeconfig(self, server: str) -> Path:
        token = kubectl("-n", SYSTEM, "create", "token", "ntro", "--duration=24h").ok().out.strip()
        path = self.directory / "kubeconfig"
        named = {"clusters": [{"name": "x", "cluster": {"server": server}}], "users": [{"name": "x", "user": {"token": token}}]}
        context = {"name": "x", "context": {"cluster": "x", "user": "x"}}
        path.write_text(json.dumps({"apiVersion": "v1", "kind": "Config", "current-context": "x", "contexts": [context], **named}))
        return path

    def keep(self) -> None:
        while not self.stopped.is_set():
            if self.held.is_set():
                self.stopped.wait(0.1)
                continue
            with self.log.open("ab") as log:
                binary = os.environ.get("NTRO_OPERATOR_BIN") or Path(os.environ["NTRO_BIN"]) / "ntro-operator"
                self.process = subprocess.Popen([binary, "run"], env=self.environment, stdout=log, stderr=log)
            self.starts += 1
            self.process.wait()
            self.stopped.wait(RESTART)

    def set_clock(self, seconds: int) -> None:
        # At once: a clock that is half written would be no clock.
        fresh = self.clock.with_suffix(".new")
        fresh.write_text(str(seconds))
        fresh.rename(self.clock)

    def kill(self) -> None:
        """As by kill -9; it stays away until `release`."""
        self.held.set()
        self.end(signal.SIGKILL)

    def release(self) -> None:
        self.held.clear()

    def end(self, how: signal.Signals) -> None:
        if self.process and self.process.poll() is None:
            self.process.send_signal(how)
            self.process.wait()

    def fill(self) -> None:
        """Leaves no byte of the volume free."""
        with (self.data / "filler").open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(1 << 16))
            except OSError:
                pass

    def empty(self) -> None:
        (self.data / "filler").unlink(missing_ok=True)

    def stop(self) -> None:
        """In order, and for good; the volume stays."""
        self.stopped.set()
        self.end(signal.SIGTERM)
        self.keeper.join(30)

    def remove(self) -> None:
        self.stop()
        subprocess.run(["umount", self.data], check=True)
        subprocess.run(["rm", "-rf", self.directory], check=True)
