"""The main job: bundle, registry, run, gate, approval, result; on a schedule; and without the CLI."""

from __future__ import annotations

import json
import os
from collections import Counter
from datetime import timedelta

import yaml
from kit.cluster import BUNDLES, NAV_MONTHLY, ROOT, call, kubectl, ntro, wait_for
from kit.outside import Outside
from kit.schedules import cron, next_minute, slot_of
from kit.tenants import Tenant


def test_nav_monthly_from_bundle_to_outputs(tenant: Tenant) -> None:
    tenant.workflow(NAV_MONTHLY, "acme-commercial-spv1", "--schedule", "0 8 5 * *").ok()
    run = tenant.start("nav-monthly", "--period", "2026-10")
    status = run.reach("Waiting")
    assert [w["step"] for w in status["waitingFor"]] == ["review_journal"]
    wait_for("no pod runs while a person decides", lambda: not run.running_pods())

    gate = run.gate("review_journal")
    shown = tenant.ntro("gate", "show", gate, "-o", "json", person=tenant.viewer).json
    assert shown["content"]["display_hint"]["component"] == "DATA_TABLE"
    assert shown["content"]["payload"]

    refused = tenant.ntro("gate", "approve", gate, person=tenant.viewer)
    assert refused.code == 4 and "ntro-approver" in refused.err

    run.approve("review_journal", "-m", "Agreed").ok()
    status = run.reach("Succeeded")
    assert sorted(o["name"] for o in status["outputs"]) == ["nav-pack.xlsx", "nav-summary.json"]
    assert status["segment"] == 2 and len(run.jobs()) <= 2
    summary = json.loads(run.output("nav-summary.json").ok().out)
    assert summary["period"] == "2026-10"

    kinds = Counter(e["type"] for e in run.journal() if "type" in e)
    assert kinds["gateDecided"] == 1 and kinds["runCompleted"] == 1
    assert kinds["activityScheduled"] == kinds["activityCompleted"]


def test_a_run_that_never_waits_is_one_job(tenant: Tenant, outside: Outside) -> None:
    key = f"{tenant.slug}-single"
    tenant.workflow(BUNDLES / "probe", "single", "--name", "single", "--set", f"url={outside.url}", "--set", f"key={key}", "--set", "gate=false").ok()
    run = tenant.start("single")
    assert run.reach("Succeeded")["segment"] == 1
    assert len(run.jobs()) == 1
    assert outside.effects(key) == [f"{key}/prepare"]


def test_reject_and_correct(tenant: Tenant, tmp_path) -> None:
    tenant.workflow(NAV_MONTHLY, "acme-commercial-spv1", "--schedule", "0 8 5 * *").ok()
    run = tenant.start("nav-monthly", "--period", "2026-10")
    run.reach("Waiting")
    gate = run.gate()
    content = tenant.ntro("gate", "show", gate, "-o", "json", person=tenant.viewer).json["content"]
    lines = next(v for v in content["payload"].values() if isinstance(v, list) and v and "debit" in v[0])
    first, second = lines[0], next(line for line in lines if line.get("credit") not in (None, "0", "0.00", 0))
    corrections = [
        {"line": first["line"], "field": "description", "old_value": first["description"], "new_value": "Corrected by a person"},
    ]
    assert second
    file = tmp_path / "values.json"
    file.write_text(json.dumps(corrections))
    tenant.ntro("gate", "correct", gate, "-f", str(file), "-m", "See line", person=tenant.approver).ok()
    wait_for("the corrected journal is put up again", lambda: [g for g in run.gates() if g["metadata"]["name"] != gate])
    run.reach("Waiting")
    second_gate = run.gate()
    again = tenant.ntro("gate", "show", second_gate, "-o", "json", person=tenant.viewer).json
    assert "Corrected by a person" in json.dumps(again)
    tenant.ntro("gate", "reject", second_gate, person=tenant.approver).ok()
    status = run.reach("Succeeded")
    assert not status.get("outputs")
    assert run.output("-o", "json").json["result"]["status"] == "rejected"


def test_a_schedule_fires_once(tenant: Tenant, outside: Outside) -> None:
    key = f"{tenant.slug}-tick"
    due = next_minute(10)
    schedule = cron(due)
    tenant.workflow(
        BUNDLES / "probe", "tick", "--name", "tick", "--schedule", schedule,
        "--set", f"url={outside.url}", "--set", f"key={key}", "--set", "gate=false",
    ).ok()  # fmt: skip
    slot = slot_of("tick", due)
    wait_for("the slot has a run", lambda: tenant.kubectl("get", "nrun", slot).code == 0, timeout=150)
    wait_for("it succeeded", lambda: tenant.get("nrun", slot).get("status", {}).get("phase") == "Succeeded")
    runs = [r["metadata"]["name"] for r in tenant.items("nrun") if r["spec"]["request"]["workflowRef"]["name"] == "tick"]
    assert runs == [slot]
    jobs = [j["metadata"]["name"] for j in tenant.items("job", "-l", f"ntro.dev/run={slot}")]
    assert jobs == [f"{slot}-1"]
    assert outside.effects(key) == [f"{key}/prepare"]
    previous = (due.replace(day=1) - timedelta(days=1)).strftime("%Y-%m")
    assert tenant.get("nrun", slot)["spec"]["request"]["context"]["period"] == previous


def test_manifests_alone_are_enough(tenant: Tenant) -> None:
    out = tenant.workflow(NAV_MONTHLY, "acme-commercial-spv1").ok()
    assert "ready" in out.out
    tenant.kubectl("delete", "nwf,rb", "--all").ok()
    manifests = "\n---\n".join(p.read_text() for p in sorted((ROOT / "examples/manifests").glob("*.yaml")))
    documents = [d for d in yaml.safe_load_all(manifests) if d]
    for document in documents:
        document["metadata"]["namespace"] = tenant.slug
        if document["kind"] == "Runbook":
            source = document["spec"]["source"]
            source["url"] = f"oci://{os.environ['NTRO_REGISTRY']}/{tenant.slug}/nav-monthly"
            source["insecure"] = True
    text = yaml.safe_dump_all(documents)
    kubectl("apply", "-f", "-", stdin=text).ok()
    tenant.kubectl("wait", "--for=condition=Ready", "rb,nwf", "--all", "--timeout=60s").ok()
    again = kubectl("apply", "-f", "-", stdin=text).ok().out
    assert all("unchanged" in line for line in again.splitlines()), again


def test_emitted_yaml_applies_twice_without_change(tenant: Tenant) -> None:
    emitted = tenant.workflow(NAV_MONTHLY, "emitted", "--name", "emitted", "--dry-run", "-o", "yaml").ok().out
    tenant.workflow(NAV_MONTHLY, "emitted", "--name", "emitted").ok()
    kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=emitted).ok()

    def versions() -> list[str]:
        objects = [tenant.get(k, n) for k, n in (("rb", "nav-monthly"), ("nwf", "emitted"))]
        assert all(o["status"]["observedGeneration"] == o["metadata"]["generation"] for o in objects)
        return [o["metadata"]["resourceVersion"] for o in objects]

    # The operator may still be looking at the first one: from then on nothing changes any more.
    def unchanged() -> bool:
        before = versions()
        kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=emitted).ok()
        return before == versions()

    wait_for("applying again changes nothing", unchanged, timeout=20)
    assert unchanged() and unchanged()


def test_check_and_crds() -> None:
    assert ntro("check", "--pre").ok()
    crds = ntro("crds").ok().out
    assert len([d for d in yaml.safe_load_all(crds) if d]) == 5
    assert call("kubectl", "apply", "--dry-run=server", "-f", "-", stdin=crds).code == 0
