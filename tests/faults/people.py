"""The people of a soak: they ask for runs and answer gates, early, just in time, late, or not at all."""

from __future__ import annotations

import random
import threading
import time
from datetime import UTC, datetime
from typing import Any

from kit.api import Cluster
from kit.objects import Object, resource
from kit.people import OPERATOR
from kit.tenants import Tenant

# How much of the gates is answered how. `near` is around the deadline, on either side of it.
MANNERS = {"soon": 5, "near": 5, "reject": 1, "cancel": 1, "silent": 1}
# Nobody waits for longer than this for a deadline that a set clock has moved far away.
LONGEST = 60.0
EVERY = 0.5


def seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def answer_at(gate: Object, seed: int) -> tuple[str, float]:
    """How a gate is answered, and when, by the API server's clock. Pure."""
    rng = random.Random(f"{seed} {gate['spec']['runId']}")
    manner = rng.choices([*MANNERS], [*MANNERS.values()])[0]
    opened, due = seconds(gate["metadata"]["creationTimestamp"]), gate["spec"].get("due")
    latest = opened + LONGEST
    if manner == "near" and due:
        return manner, min(latest, seconds(due) + rng.uniform(-3, 2))
    if manner == "silent":
        # One without a deadline would wait for ever.
        return (manner, float("inf")) if due and seconds(due) < latest else ("soon", latest)
    return manner, opened + rng.uniform(1, 20)


class People:
    """One thread that answers what is open, and notes what was closed for its deadline before that had passed."""

    def __init__(self, cluster: Cluster, tenant: Tenant, seed: int) -> None:
        self.cluster, self.tenant, self.seed = cluster, tenant, seed
        self.base = f"/apis/ntro.dev/v1alpha1/namespaces/{tenant.slug}"
        self.started: list[str] = []
        self.answered: set[str] = set()
        self.early: list[str] = []
        self.failure: BaseException | None = None
        self.stopped = threading.Event()
        threading.Thread(target=self.answer, daemon=True).start()

    def start(self, workflow: str) -> None:
        name = f"{workflow}-{len(self.started):04}"
        trigger = {"kind": "Manual", "initiator": self.tenant.runner.name}
        request = {"workflowRef": {"name": workflow}, "context": {"period": "2026-10"}, "trigger": trigger}
        run = resource("WorkflowRun", self.tenant.slug, name, {"request": request})
        self.cluster.expect("POST", f"{self.base}/workflowruns", run, as_user=self.tenant.runner.name)
        self.started.append(name)

    def answer(self) -> None:
        try:
            while not self.stopped.wait(EVERY):
                for gate in self.cluster.items(f"{self.base}/gates"):
                    self.look(gate)
        except (RuntimeError, OSError, KeyError) as failure:
            self.failure = failure

    def look(self, gate: Object) -> None:
        name, status = gate["metadata"]["name"], gate.get("status", {})
        state, due, now = status.get("state"), gate["spec"].get("due"), datetime.now(UTC).timestamp()
        by_operator = any(d["actor"] == OPERATOR.name for d in status.get("decisions", []))
        if (state == "Expired" or by_operator) and due and now < seconds(due) and name not in self.early:
            self.early.append(name)
        if state != "Open" or name in self.answered or "revision" not in status:
            return
        manner, at = answer_at(gate, self.seed)
        if now < at:
            return
        self.act(gate, "cancel" if manner == "cancel" else "reject" if manner == "reject" else "approve")
        self.answered.add(name)

    def act(self, gate: Object, verb: str) -> None:
        spec, revision = gate["spec"], gate["status"]["revision"]
        person = self.tenant.runner if verb == "cancel" else self.tenant.approver
        about: dict[str, Any] = {key: spec[key] for key in ("workflow", "run", "runId")}
        if verb != "cancel":
            seen = {"gateId": spec["gateId"], "class": spec["class"], "revision": revision["n"], "digest": revision["digest"]}
            about["gate"] = {"name": gate["metadata"]["name"], **seen}
        action = resource("UserAction", self.tenant.slug, f"a-{spec['gateId']}", {"actor": person.name, "verb": verb, **about})
        status, answer = self.cluster.call("POST", f"{self.base}/useractions", action, as_user=person.name)
        if status >= 300 and status != 409:
            raise RuntimeError(f"{verb} of {gate['metadata']['name']}: {status} {answer.get('message')}")

    def stop(self) -> None:
        self.stopped.set()


def pause(until: float) -> None:
    time.sleep(max(0.0, until - time.monotonic()))
