"""Canaries in every place a payload can be: none reaches the Kubernetes API, a log of a pod, a metric or etcd."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from kit.cluster import BUNDLES, call, kubectl, wait_for
from kit.people import SYSTEM
from kit.portforward import metrics
from kit.tenants import Run, Tenant

CANARY = "canary-7f3a"


def everywhere(tenant: Tenant) -> dict[str, str]:
    """Everything the Kubernetes API, the pods' logs and the metrics show."""
    kinds = kubectl("api-resources", "--verbs=list", "--namespaced", "-o", "name").ok().out.split()
    places = {kind: tenant.kubectl("get", kind, "-o", "yaml").ok().out for kind in kinds}
    for pod in tenant.kubectl("get", "pods", "-o", "name").ok().out.split():
        places[f"logs of {pod}"] = tenant.kubectl("logs", pod, "--all-containers").out
        places[f"description of {pod}"] = tenant.kubectl("describe", pod).out
    places["log of the operator"] = kubectl("-n", SYSTEM, "logs", "ntro-0").ok().out
    places["metrics of the operator"] = text = metrics()
    assert "ntro_schedules_armed" in text, text
    return places


def no_canary(tenant: Tenant) -> None:
    places = everywhere(tenant)
    assert any(text for place, text in places.items() if place.startswith("logs of")), "no log of a pod was read"
    found = [place for place, text in places.items() if CANARY in text]
    assert not found, found


@pytest.mark.parametrize("ending", ["result", "exception", "crash"])
def test_canaries(ending: str, tenant: Tenant, fresh_name: Callable[[str], str], tmp_path: Path) -> None:
    key = fresh_name("leaky")
    tenant.workflow(BUNDLES / "leaky", "leaky", "--name", key, "--set", f"ending={ending}").ok()
    run = tenant.start(key)
    run.reach("Waiting")
    wait_for("the pod has ended", lambda: not run.running_pods())
    no_canary(tenant)
    check_leaks(run)
    corrections = tmp_path / "values.json"
    corrections.write_text(json.dumps([{"new_value": f"{CANARY}-correction"}]))
    gate = run.gate()
    tenant.ntro("gate", "correct", gate, "-f", str(corrections), "-m", f"{CANARY}-comment", person=tenant.approver).ok()
    run.reach("Succeeded" if ending == "result" else "Blocked")
    no_canary(tenant)
    not_in_etcd()

    logs = tenant.ntro("run", "logs", run.name, person=tenant.viewer).ok().out
    wanted = ["print", "logging", "fd1", "fd2", "child", "child2"]
    wanted += {"result": [], "exception": ["exception"], "crash": ["before-crash"]}[ending]
    missing = [place for place in wanted if f"{CANARY}-{place}" not in logs]
    assert not missing, (missing, logs)
    if ending == "result":
        result = run.output("-o", "json").json["result"]
        assert result["result"] == f"{CANARY}-final"
        assert f"{CANARY}-correction" in json.dumps(result["corrections"])
        assert run.output("secret.txt").ok().out == f"{CANARY}-output"
    reads = [e for e in run.journal() if e.get("type") == "payloadRead"]
    assert {tenant.viewer.name} <= {e["actor"] for e in reads}
    if ending == "exception":
        blocked = run.status()["blocked"]
        assert blocked["code"] == "CodeError" and blocked["site"].startswith("templates/workflow.py:")
    if ending != "result":
        tenant.ntro("run", "cancel", run.name, person=tenant.runner).ok()


def check_leaks(run: Run) -> None:
    """What hostile code in the runner could do, by its own account."""
    content = run.tenant.ntro("gate", "show", run.gate(), "-o", "json", person=run.tenant.viewer).json["content"]
    row = content["payload"]["rows"][0]
    assert row["tokens"] == []
    for place in ("stdout of init", "stderr of init", "termination log", "memory of init", "environment of init"):
        assert row[place] != "done", (place, row[place])


def not_in_etcd() -> None:
    """Looks into etcd's own files: keys and values, old revisions included."""
    directory = Path(call("pgrep", "-a", "-x", "etcd").ok().out.split("--data-dir ")[1].split()[0])
    found = subprocess.run(["grep", "-rl", "--binary-files=text", CANARY, str(directory)], capture_output=True, text=True)
    assert found.stdout == "", found.stdout


def test_no_canary_in_the_bundle_itself() -> None:
    """Or the tests above would prove nothing about the words the program makes at run time."""
    for path in (BUNDLES / "leaky").rglob("*"):
        assert path.is_dir() or CANARY not in path.read_text(), path
