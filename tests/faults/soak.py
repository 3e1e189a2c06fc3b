"""A mixed load, everything that can go wrong at once, and a checker that reads only the API and the journals.

The operator is a process of this host (`kit/host_operator.py`): its clock is set by a file, its volume is a small tmpfs, its
API server is the cluster's behind a proxy (`proxy.py`) that answers as a troubled one does. Runs are asked for all the time,
by people and by a schedule; people answer gates early, late and in the last second (`people.py`). What goes wrong, and when,
is a function of the seed (`plan.py`). When all is quiet again, nothing may be lost, doubled, stuck without a reason, or
refused though it came in time (`verdict.py`). Needs the cluster of tests/cluster, and root.

    soak.py MINUTES        SEED=n for the faults of an earlier soak
"""

from __future__ import annotations

import base64
import json
import os
import random
import shutil
import signal
import socket
import sqlite3
import ssl
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from faults.people import People, pause
from faults.plan import Fault, plan
from faults.proxy import Proxy
from faults.verdict import TERMINAL, Facts, verdict
from kit.api import Cluster, say
from kit.charts import images, install, pull
from kit.cluster import BUNDLES, kubectl, ntro
from kit.figures import print_figure
from kit.host_operator import HostOperator, take_over
from kit.load import QUOTA
from kit.objects import Object, resource
from kit.operator import LEASE_MS, LINGER_MS
from kit.outside import Outside
from kit.tenants import Tenant

# Unfinished runs that people ask for at most, and seconds between two of them.
AT_ONCE = int(os.environ.get("AT_ONCE", "8"))
BETWEEN = 3.0
VOLUME = "192m"
RESERVE = "8Mi"
# How long everything may take to end once nothing goes wrong any more: longer than a clock is ever set by.
SETTLE = float(os.environ.get("SETTLE", "780"))
DUE = "25s"
# How late a slot may begin, in seconds: an operator that was deaf or had no room is back for less than that.
LATEST = 45.0


def without_certificate() -> ssl.SSLContext:
    config = kubectl("config", "view", "--raw", "--minify", "-o", "json").json
    ca = base64.b64decode(config["clusters"][0]["cluster"]["certificate-authority-data"]).decode()
    return ssl.create_default_context(cadata=ca)


class Soak:
    """The world: cluster, tenant, operator, proxy, people."""

    def __init__(self, seed: int) -> None:
        self.seed, self.rng = seed, random.Random(f"load {seed}")
        self.cluster = Cluster()
        self.tenant = Tenant(f"soak-{int(time.time()) % 1_000_000}")
        self.base = f"/apis/ntro.dev/v1alpha1/namespaces/{self.tenant.slug}"
        self.directory = Path(tempfile.mkdtemp(prefix="ntro-soak-record-", dir="/var/tmp"))
        address = kubectl("get", "nodes", "-o", "jsonpath={.items[0].status.addresses[0].address}").ok().out
        self.outside = Outside(self.directory / "effects", address)
        pull(images()["RUNNER_IMAGE"])
        install(leaseMs=LEASE_MS, lingerMs=LINGER_MS)
        environment = {**take_over(), "NTRO_STORAGE_RESERVE": RESERVE}
        # With a client certificate the operator would be an administrator: its token decides who it is.
        self.proxy = Proxy(self.cluster.host, without_certificate(), seed)
        self.operator = HostOperator(environment, self.proxy.url, VOLUME)
        self.tenant.create()
        hard = json.dumps({"spec": {"hard": QUOTA}})
        self.tenant.kubectl("patch", "resourcequota", "ntro", "--type=merge", "-p", hard).ok()
        self.people: People | None = None

    def prepare(self) -> None:
        """The runbook, and a Workflow of each kind: without a deadline, with one, by a schedule."""
        bundle = ("--path", str(BUNDLES / "soak"), "--plain-http", "--set", f"url={self.outside.url}")
        ntro("workflow", "create", "--tenant", self.tenant.slug, *bundle, "--entity", "open", "--name", "open", timeout=300).ok()
        self.tenant.kubectl("wait", "--for=condition=Ready", "runbook", "--all", "--timeout=120s").ok()
        runbook = self.tenant.items("runbook")[0]["metadata"]["name"]
        me = kubectl("auth", "whoami", "-o", "jsonpath={.status.userInfo.username}").ok().out
        config = {"url": self.outside.url}
        due = {"gatePolicy": {"author": me, "default": {"due": DUE}}, "config": config}
        tick = {"schedule": "* * * * *", "config": {**config, "gate": False}, "missedRunPolicy": "All", "concurrencyPolicy": "Allow"}
        tick["successfulRunsHistoryLimit"] = 1000
        for name, spec in (("due", due), ("tick", tick)):
            whole = {"runbookRef": {"name": runbook}, "entity": name, **spec}
            self.cluster.expect("POST", f"{self.base}/workflows", resource("Workflow", self.tenant.slug, name, whole))

    def run(self, minutes: float) -> dict[str, Any]:
        self.prepare()
        self.people = People(self.cluster, self.tenant, self.seed)
        faults = plan(self.seed, minutes)
        say(f"seed {self.seed}: {len(faults)} faults in {minutes:g} minutes: {dict(Counter(fault.kind for fault in faults))}")
        first, began = time.time(), time.monotonic()
        with ThreadPoolExecutor(1) as pool:
            doing = pool.submit(self.do, faults, began)
            self.load(began + minutes * 60, doing)
            doing.result()
        last = time.time()
        say("nothing goes wrong any more; waiting for all to end")
        # What was due until then is begun by then, now that nothing is in the way.
        pause(time.monotonic() + LATEST)
        self.stop_schedule()
        settled = self.settle()
        self.people.stop()
        self.operator.stop()
        return {"faults": faults, "settled": settled, "facts": self.facts(first, last)}

    def load(self, end: float, doing: Future[None]) -> None:
        assert self.people
        while time.monotonic() < end:
            if self.people.failure:
                raise self.people.failure
            if doing.done():
                doing.result()
            unfinished = [run for run in self.runs() if run.get("status", {}).get("phase") not in (*TERMINAL, "Blocked")]
            if len(unfinished) < AT_ONCE:
                self.people.start(self.rng.choice(["open", "due", "due"]))
            pause(time.monotonic() + BETWEEN)

    def runs(self) -> list[Object]:
        return self.cluster.items(f"{self.base}/workflowruns")

    def do(self, faults: list[Fault], began: float) -> None:
        """What the plan says."""
        turns = sorted([(f.at, n, True) for n, f in enumerate(faults)] + [(f.end, n, False) for n, f in enumerate(faults)])
        for at, n, begins in turns:
            pause(began + at)
            fault = faults[n]
            if begins:
                amount = f" by {fault.amount} s" if fault.kind == "clock" else ""
                say(f"{at:.0f} s: {fault.kind}{amount} for {fault.seconds:.0f} s")
            (self.begin if begins else self.end)(fault)

    def begin(self, fault: Fault) -> None:
        match fault.kind:
            case "kill":
                self.operator.kill()
            case "kill-pod":
                self.kill_pod()
            case "clock":
                self.operator.set_clock(fault.amount)
            case "disk-full":
                self.operator.fill()
            case kind:
                self.proxy.trouble.add(kind)

    def end(self, fault: Fault) -> None:
        match fault.kind:
            case "kill":
                self.operator.release()
            case "clock":
                self.operator.set_clock(0)
            case "disk-full":
                self.operator.empty()
            case kind:
                self.proxy.trouble.discard(kind)

    def kill_pod(self) -> None:
        """Everything in the pod of one run, if there is one."""
        processes: dict[str, list[int]] = {}
        for entry in Path("/proc").iterdir():
            try:
                environment = dict(pair.partition(b"=")[::2] for pair in (entry / "environ").read_bytes().split(b"\0"))
            except OSError:
                continue
            if environment.get(b"NTRO_NAMESPACE") == self.tenant.slug.encode() and b"NTRO_RUN" in environment:
                processes.setdefault(environment[b"NTRO_RUN"].decode(), []).append(int(entry.name))
        if not processes:
            return
        for pid in processes[self.rng.choice(sorted(processes))]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue

    def stop_schedule(self) -> None:
        self.cluster.expect(
            "PATCH", f"{self.base}/workflows/tick", {"spec": {"suspend": True}}, kind="application/merge-patch+json"
        )

    def settle(self) -> bool:
        deadline = time.monotonic() + SETTLE
        while time.monotonic() < deadline:
            phases = Counter(run.get("status", {}).get("phase") for run in self.runs())
            open_actions = [a for a in self.cluster.items(f"{self.base}/useractions") if not a.get("status", {}).get("outcome")]
            if not open_actions and set(phases) <= {*TERMINAL, "Blocked"}:
                return True
            say(f"{dict(phases)}, {len(open_actions)} user actions without an answer")
            time.sleep(10)
        return False

    def facts(self, first: float, last: float) -> Facts:
        assert self.people
        journals, names = self.journals()
        slots = [at for at in range(int(first // 60 + 1) * 60, int(last), 60)]
        workflows = self.cluster.items(f"{self.base}/workflows")
        return Facts(
            runs=self.runs(),
            gates=self.cluster.items(f"{self.base}/gates"),
            actions=self.cluster.items(f"{self.base}/useractions"),
            workflows=workflows,
            jobs=self.cluster.items(f"/apis/batch/v1/namespaces/{self.tenant.slug}/jobs"),
            journals=journals,
            names=names,
            started=self.people.started,
            slots={"tick": [time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at)) for at in slots]},
            effects=self.outside.record.read_text().splitlines(),
            early=self.people.early,
            read_at=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        )

    def journals(self) -> tuple[dict[str, list[Object]], dict[str, str]]:
        """All journals, their chains checked, from a copy of what the operator left."""
        copy, path = self.directory / "journal", self.directory / "socket"
        shutil.copytree(self.operator.data / "journal", copy)
        server = Path(os.environ["NTRO_BIN"]) / "journal-testserver"
        # Virtual: time stands still, and nothing happens to them.
        process = subprocess.Popen([server, path, copy, "--virtual"], stdout=subprocess.PIPE)
        assert process.stdout
        process.stdout.readline()
        database = next(copy.glob("*.sqlite*"))
        with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as rows:
            # What an earlier soak left behind is another tenant's, and served all the same.
            mine = rows.execute("SELECT run_id, name FROM runs WHERE namespace = ?", (self.tenant.slug,))
            names = dict(mine.fetchall())
        journals = {}
        with socket.socket(socket.AF_UNIX) as it:
            it.connect(str(path))
            with it.makefile("rw") as lines:
                for run in names:
                    lines.write(json.dumps({"op": "export", "id": 1, "run": run}) + "\n")
                    lines.flush()
                    reply = json.loads(lines.readline())
                    assert "ok" in reply, f"the journal of {names[run]}: {reply}"
                    entries = [json.loads(line) for line in reply["ok"]["lines"]]
                    journals[run] = [entry for entry in entries if "seq" in entry]
        process.terminate()
        process.wait()
        return journals, names

    def remove(self) -> None:
        self.operator.remove()
        kubectl("delete", "namespace", self.tenant.slug, "--wait=false").ok()
        shutil.rmtree(self.directory)


def report(soak: Soak, minutes: float, came: dict[str, Any]) -> bool:
    facts, found = came["facts"], verdict(came["facts"])
    for what, cases in found.items():
        for case in cases[:20]:
            say(f"{what}: {case}")
    phases = Counter(run.get("status", {}).get("phase") for run in facts.runs)
    blocked = Counter(run["status"]["blocked"]["code"] for run in facts.runs if run.get("status", {}).get("phase") == "Blocked")
    reasons = Counter(action.get("status", {}).get("reason") for action in facts.actions)
    counts = {what: len(cases) for what, cases in found.items()}
    passed = not any(counts.values())
    kinds = Counter(fault.kind for fault in came["faults"])
    figures = {"faults": kinds, "requests": soak.proxy.done, "operatorStarts": soak.operator.starts}
    load = {"runs": len(facts.runs), "phases": phases, "blocked": blocked, "userActions": reasons, "entries": sum(map(len, facts.journals.values()))}
    print(json.dumps({"soak": "verdict", "minutes": minutes, "seed": soak.seed, **figures, **load, **counts, "passed": passed}))
    for what, count in counts.items():
        print_figure("soak", what, count)
    return passed


def main() -> None:
    minutes = float(sys.argv[1])
    seed = int(os.environ.get("SEED") or time.time())
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("told to stop"))
    soak, passed = Soak(seed), False
    try:
        passed = report(soak, minutes, soak.run(minutes))
    finally:
        if passed:
            soak.remove()
        else:
            soak.operator.stop()
            say(f"kept for you to look at: {soak.operator.directory}, {soak.directory}, namespace {soak.tenant.slug}")
    sys.exit(0 if passed else 1)


if __name__ == "__main__":
    main()
