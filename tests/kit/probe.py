"""The probe runbook on the cluster: an effect, a gate, a second effect, each reported to the outside world once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kit.cluster import BUNDLES
from kit.objects import resource
from kit.outside import Outside
from kit.tenants import Run, Tenant

# Starts a run with a key of its own; further arguments are `name=value` of its config.
Probe = Callable[..., tuple[Run, str]]
# Makes a Workflow without a gate, with more of a spec; gives its name, which is also its key.
Make = Callable[..., str]


def config(outside: Outside, key: str, *more: str) -> list[str]:
    """The flags of a Workflow of the probe runbook; `more` are `name=value` of its config."""
    return [f for pair in (f"url={outside.url}", f"key={key}", *more) for f in ("--set", pair)]


def install(tenant: Tenant, outside: Outside, key: str, *more: str) -> None:
    """Makes the Workflow named `key`."""
    tenant.workflow(BUNDLES / "probe", "probe", "--name", key, *config(outside, key, *more)).ok()


def started(tenant: Tenant, outside: Outside, key: str, *more: str) -> Run:
    """A run of a Workflow made for it, named `key`."""
    install(tenant, outside, key, *more)
    return tenant.start(key)


def starter(tenant: Tenant, outside: Outside, fresh_name: Callable[[str], str]) -> Probe:
    def start(*more: str) -> tuple[Run, str]:
        key = fresh_name("k")
        return started(tenant, outside, key, *more), key

    return start


def maker(tenant: Tenant, outside: Outside, fresh_name: Callable[[str], str]) -> Make:
    install(tenant, outside, "seed")  # the Runbook, once

    def make(gate: bool = False, **spec: Any) -> str:
        key = fresh_name("s")
        values = {"url": outside.url, "key": key, "gate": gate}
        workflow = resource("Workflow", tenant.slug, key, {"runbookRef": {"name": "probe"}, "entity": key, "config": values, **spec})
        tenant.kubectl("apply", "--server-side", "-f", "-", send=workflow).ok()
        return key

    return make


def finish(run: Run, key: str, outside: Outside) -> None:
    run.approve()
    run.reach("Succeeded", timeout=180)
    once(key, outside)


def once(key: str, outside: Outside) -> None:
    assert sorted(outside.effects(key)) == [f"{key}/post", f"{key}/prepare"]


def finish_repeated(run: Run, key: str, outside: Outside) -> None:
    """The same after the first effect was interrupted: it is idempotent and may have happened again, the second may not."""
    run.reach("Waiting", timeout=180)
    run.approve()
    run.reach("Succeeded", timeout=180)
    assert set(outside.effects(key)) == {f"{key}/post", f"{key}/prepare"}
    assert len(outside.effects(f"{key}/post")) == 1


def no_two_jobs_at_once(tenant: Tenant) -> None:
    """Segments of every run of the tenant are disjoint in time, by what the API server recorded."""
    runs: dict[str, list[tuple[str, str]]] = {}
    for job in tenant.items("job"):
        started = job["status"].get("startTime")
        ended = job["status"].get("completionTime") or next(
            (c["lastTransitionTime"] for c in job["status"].get("conditions", []) if c["type"] == "Failed"), None
        )
        if started and ended:
            runs.setdefault(job["metadata"]["labels"]["ntro.dev/run"], []).append((started, ended))
    assert runs, f"no Job of {tenant.slug} has ended"
    for name, spans in runs.items():
        spans.sort()
        assert all(a[1] <= b[0] for a, b in zip(spans, spans[1:], strict=False)), (name, spans)
