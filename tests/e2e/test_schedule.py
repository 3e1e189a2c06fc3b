"""Schedules on the cluster: what fires, what waits, what is skipped, what people ask for afterwards."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import yaml
from kit.cluster import wait_for
from kit.objects import resource
from kit.outside import Outside
from kit.people import Person
from kit.probe import Make
from kit.schedules import cron, next_minute, slot_of, status
from kit.tenants import Run, Tenant


def condition(tenant: Tenant, name: str, kind: str) -> dict[str, Any]:
    return next((c for c in status(tenant, name).get("conditions", []) if c["type"] == kind), {})


def events(tenant: Tenant, name: str) -> list[tuple[str, str]]:
    found = tenant.items("events.events.k8s.io", "--field-selector", f"regarding.name={name}")
    return [(event["reason"], event["note"]) for event in found]


def runs(tenant: Tenant, workflow: str) -> list[dict[str, Any]]:
    found = [r for r in tenant.items("nrun") if r["spec"]["request"]["workflowRef"]["name"] == workflow]
    return sorted(found, key=lambda r: r["metadata"]["name"])


BAD = [
    ({"schedule": "61 8 5 * *"}, "character 1, minute: 61 is out of range 0-59"),
    ({"schedule": "0 8 5 * *", "timeZone": "Europe/Lunnon"}, "`Europe/Lunnon` is not a time zone"),
    ({"schedule": "0 0 31 2 *"}, "never fires"),
    ({"schedule": "0 8 1 * *", "calendar": {"businessDays": [23]}}, "never fires"),
    ({"schedule": "@daily", "calendar": {"businessDays": [1], "holidays": ["2026-13-01"]}}, "calendar.holidays[0]"),
    ({"schedule": "@daily", "timeZone": "europe/london"}, "did you mean `Europe/London`?"),
    ({"schedule": "@daily", "period": {"unit": "Day", "timeZone": "Mars/Base"}}, "`Mars/Base` is not a time zone"),
]


def test_a_malformed_schedule_stalls_says_why_and_recovers_at_once(tenant: Tenant, make: Make) -> None:
    names = [(make(**spec), spec, message) for spec, message in BAD]
    for name, _, message in names:
        stalled = wait_for(f"{name} is stalled", lambda name=name: condition(tenant, name, "Stalled"))
        assert message in stalled["message"], stalled
        assert condition(tenant, name, "ScheduleValid")["status"] == "False"
        assert condition(tenant, name, "Ready")["status"] == "False"
    for name, spec, _ in names:
        gone = dict.fromkeys(set(spec) - {"schedule"})
        patch = {"spec": {**gone, "schedule": "0 8 5 * *"}}
        tenant.kubectl("patch", "nwf", name, "--type=merge", "-p", json.dumps(patch)).ok()
    for name, _, _ in names:
        wait_for(f"{name} is ready", lambda name=name: condition(tenant, name, "Ready").get("status") == "True", timeout=20)
        assert condition(tenant, name, "Stalled") == {}
        assert status(tenant, name)["nextScheduleTime"].endswith("T08:00:00Z")


REFUSED = [
    ({"schedule": "@daily", "schedules": ["@daily"]}, "not both"),
    ({"timeZone": "UTC"}, "need a schedule"),
    ({"schedule": "@daily", "notBefore": "2027-01-01T00:00:00Z", "notAfter": "2026-01-01T00:00:00Z"}, "notBefore"),
    ({"schedule": "@daily", "maxMissedRuns": 3}, "missedRunPolicy All"),
    ({"schedule": "@daily", "maxQueuedRuns": 3}, "concurrencyPolicy Queue"),
    ({"schedule": "@daily", "calendar": {"businessDays": [0]}}, "counted from 1"),
    ({"schedule": "@daily", "calendar": {"holidays": ["2026-12-25"]}}, "need businessDays"),
    ({"schedule": "@daily", "startingDeadlineSeconds": 0}, "startingDeadlineSeconds"),
    ({"schedule": "@daily", "runTemplate": {"labels": {"app": "x"}}}, "labels of runs begin with"),
]


def test_the_api_server_refuses_what_contradicts_itself(tenant: Tenant) -> None:
    for spec, message in REFUSED:
        workflow = resource("Workflow", tenant.slug, "refused", {"runbookRef": {"name": "probe"}, "entity": "refused", **spec})
        done = tenant.kubectl("apply", "--dry-run=server", "-f", "-", send=workflow)
        assert done.code != 0 and message in done.err, (spec, done.err)


@dataclass
class Tick:
    """Workflows that are due in the same minute, each behind an unfinished run of the slot's period; one has its slot asked for."""

    due: datetime
    forbid: Run
    queue: Run
    broken: Run
    replace: Run
    asked: str

    def slot(self, behind: Run) -> Run:
        return Run(behind.tenant, slot_of(self.workflow(behind), self.due))

    def workflow(self, run: Run) -> str:
        return run.name.rsplit("-", 1)[0]


@pytest.fixture(scope="module")
def tick(tenant: Tenant, make: Make, outside: Outside) -> Tick:
    due = next_minute(45)
    period = (due.replace(day=1) - timedelta(days=1)).strftime("%Y-%m")
    hold = f"replace-{tenant.slug}"
    holding = {"url": outside.url, "key": hold, "hold_prepare": hold, "gate": False}
    names = [
        make(gate=True, schedules=[cron(due), cron(due + timedelta(minutes=1))], period={"unit": "Month"}),
        make(gate=True, schedule=cron(due), concurrencyPolicy="Queue"),
        make(gate=True, schedule=cron(due), concurrencyPolicy="Queue"),
        make(schedule=cron(due), concurrencyPolicy="Replace", config=holding),
    ]
    runs = [tenant.start(name, "--period", period) for name in names]
    asked = make(schedule=cron(due))
    backfill(tenant, asked, slot_of(asked, due), f"{due:%Y-%m-%dT%H:%M:00Z}", period, tenant.runner).ok()
    for run in runs[:3]:
        run.reach("Waiting")
    outside.wait_reached(hold)
    assert datetime.now(UTC) < due, "the minute came before everything was made"
    return Tick(due, *runs, asked)


def test_forbid_skips_behind_a_waiting_run_and_says_so(tenant: Tenant, tick: Tick) -> None:
    name = tick.workflow(tick.forbid)
    wait_for("both slots are skipped", lambda: status(tenant, name).get("missed", {}).get("count") == 2, timeout=180)
    assert status(tenant, name)["missed"]["reason"] == "RunWaiting"

    def has_event(slot: datetime) -> bool:
        """An Event of its own: which slot, of which period, behind which run."""
        words = [f"slot {slot:%Y-%m-%dT%H:%M:00Z} for ", f"run {tick.forbid.name} ", "is waiting for a gate"]
        return any(r == "RunWaiting" and all(word in note for word in words) for r, note in events(tenant, name))

    for slot in (tick.due, tick.due + timedelta(minutes=1)):
        wait_for(f"there is an Event for {slot}", lambda slot=slot: has_event(slot))
    assert [r["metadata"]["name"] for r in runs(tenant, name)] == [tick.forbid.name]


def test_queue_waits_behind_its_period_and_starts_when_that_has_ended(tenant: Tenant, tick: Tick) -> None:
    name = tick.workflow(tick.queue)
    queued = wait_for("the slot is queued", lambda: status(tenant, name).get("queued"), timeout=120)
    assert (queued[0]["heldBy"], queued[0]["reason"]) == (tick.queue.name, "RunWaiting")
    assert "queued" in tenant.ntro("workflow", "get", name).ok().out
    tick.queue.approve()
    tick.queue.reach("Succeeded")
    second = tick.slot(tick.queue)
    wait_for("the queued slot has its run", lambda: tenant.kubectl("get", "nrun", second.name).code == 0)
    second.approve()
    second.reach("Succeeded")
    wait_for("nothing is queued", lambda: "queued" not in status(tenant, name))
    assert "missed" not in status(tenant, name)


def test_a_queued_slot_that_cannot_be_started_waits_until_it_can(tenant: Tenant, tick: Tick) -> None:
    name = tick.workflow(tick.broken)
    wait_for("the slot is queued", lambda: status(tenant, name).get("queued"), timeout=120)
    good = tenant.get("nwf", name)["spec"]["config"]

    def set_gate(gate: object) -> None:
        patch = {"spec": {"config": {**good, "gate": gate}}}
        tenant.kubectl("patch", "nwf", name, "--type=merge", "-p", json.dumps(patch)).ok()

    set_gate("perhaps")
    wait_for("it is stalled", lambda: condition(tenant, name, "Stalled"))
    tick.broken.approve()
    tick.broken.reach("Succeeded")
    wait_for("the slot still waits", lambda: [q["reason"] for q in status(tenant, name).get("queued", [])] == ["NotStarted"])
    set_gate(False)
    tick.slot(tick.broken).reach("Succeeded")
    wait_for("nothing is queued", lambda: "queued" not in status(tenant, name))
    assert "missed" not in status(tenant, name)


def test_a_slot_that_a_person_asked_for_before_it_was_due_has_that_run(tenant: Tenant, tick: Tick, outside: Outside) -> None:
    run = Run(tenant, slot_of(tick.asked, tick.due))
    run.reach("Succeeded", timeout=180)
    assert run.object()["spec"]["request"]["trigger"]["initiator"] == tenant.runner.name
    assert datetime.fromisoformat(run.jobs()[0]["metadata"]["creationTimestamp"]) >= tick.due
    wait_for("nothing is queued", lambda: "queued" not in status(tenant, tick.asked))
    assert "missed" not in status(tenant, tick.asked) and len(runs(tenant, tick.asked)) == 1
    assert outside.effects(f"{tick.asked}/") == [f"{tick.asked}/prepare"]


def test_a_run_that_was_refused_begins_when_its_workflow_is_put_right(tenant: Tenant, make: Make, outside: Outside) -> None:
    name = make(config={"url": outside.url, "key": "refused", "gate": "perhaps"})
    run = tenant.start(name)
    wait_for("it is refused", lambda: any(c["type"] == "Stalled" for c in run.status().get("conditions", [])))
    patch = {"spec": {"config": {"gate": False}}}
    tenant.kubectl("patch", "nwf", name, "--type=merge", "-p", json.dumps(patch)).ok()
    run.reach("Succeeded")


def test_replace_cancels_and_starts_when_the_old_pod_is_gone(tenant: Tenant, tick: Tick, outside: Outside) -> None:
    second = tick.slot(tick.replace)
    wait_for("the slot has its run", lambda: tenant.kubectl("get", "nrun", second.name).code == 0, timeout=180)
    assert tick.replace.phase() == "Cancelled"
    assert not tick.replace.running_pods()
    outside.release(f"replace-{tenant.slug}")
    second.reach("Succeeded")


def test_an_edit_never_starts_what_was_due_before_it(tenant: Tenant, make: Make) -> None:
    name = make(schedule="0 0 1 1 *", suspend=True)
    ago = datetime.now(UTC) - timedelta(minutes=2)
    patch = {"spec": {"schedule": cron(ago), "suspend": None, "startingDeadlineSeconds": 3600}}
    tenant.kubectl("patch", "nwf", name, "--type=merge", "-p", json.dumps(patch)).ok()
    wait_for("it is seen", lambda: status(tenant, name).get("nextScheduleTime", "").startswith(str(ago.year + 1)))
    assert runs(tenant, name) == []


def test_backfill_gives_each_slot_one_run_however_often_it_is_asked_for(tenant: Tenant, make: Make, outside: Outside) -> None:
    name = make(schedule="0 8 5 * *", timeZone="Europe/London")
    args = ("workflow", "backfill", name, "--from", "2026-05-05", "--to", "2026-07-05")
    plan = tenant.ntro(*args, "--dry-run", person=tenant.runner).ok().out
    assert plan.count("to be started") == 3 and "2026-04" in plan and f"{name}-20260505t0700z" in plan
    assert runs(tenant, name) == []
    done = tenant.ntro(*args, "--max-parallel", "2", person=tenant.runner).ok()
    assert "3 slots: 3 runs started" in done.out and "3 succeeded" in done.out
    again = tenant.ntro(*args, person=tenant.runner).ok()
    assert "3 slots: 0 runs started, 3 already existed" in again.out
    found = runs(tenant, name)
    assert [r["spec"]["request"]["context"]["period"] for r in found] == ["2026-04", "2026-05", "2026-06"]
    assert {r["spec"]["request"]["trigger"]["initiator"] for r in found} == {tenant.runner.name}
    assert len(outside.effects(f"{name}/")) == 3
    # The claim of a slot outlives the objects.
    tenant.kubectl("delete", "nrun", *(r["metadata"]["name"] for r in found)).ok()
    later = tenant.ntro(*args, "-o", "json", person=tenant.runner).json
    assert later == {"slots": 3, "started": 0, "before": 3, "succeeded": 0, "waiting": 0, "failed": 0}
    assert len(outside.effects(f"{name}/")) == 3


def backfill(tenant: Tenant, workflow: str, name: str, slot: str, period: str, person: Person) -> Any:
    request = {
        "workflowRef": {"name": workflow},
        "context": {"period": period},
        "trigger": {"kind": "Backfill", "initiator": person.name, "scheduledTime": slot},
    }
    run = resource("WorkflowRun", tenant.slug, name, {"request": request})
    return tenant.kubectl("create", "-f", "-", person=person, send=run)


def test_a_backfill_of_what_is_no_slot_is_refused(tenant: Tenant, make: Make) -> None:
    name = make(schedule="0 8 5 * *")
    refused = backfill(tenant, name, f"{name}-20260505t0800z", "2026-06-05T08:00:00Z", "2026-05", tenant.runner)
    assert refused.code != 0 and f"must be named {name}-20260605t0800z" in refused.err, refused.err
    stranger = backfill(tenant, name, f"{name}-20260605t0800z", "2026-06-05T08:00:00Z", "2026-05", tenant.viewer)
    assert stranger.code != 0 and "orbidden" in stranger.err
    table = [
        ("20260606t0800z", "2026-06-06T08:00:00Z", "2026-05", "NotASlot"),
        ("20260605t0800z", "2026-06-05T08:00:00Z", "2026-06", "PeriodMismatch"),
    ]
    for suffix, slot, period, reason in table:
        run = f"{name}-{suffix}"
        backfill(tenant, name, run, slot, period, tenant.runner).ok()
        wait_for(f"{run} is stalled", lambda run=run: any(c["type"] == "Stalled" for c in Run(tenant, run).status().get("conditions", [])))
        assert any(c["reason"] == reason for c in Run(tenant, run).status()["conditions"]), (run, reason)
        assert Run(tenant, run).jobs() == []


def test_a_period_of_another_length_is_refused(tenant: Tenant, make: Make) -> None:
    run = tenant.start(make(period={"unit": "Month"}), "--period", "2026-Q4")
    wait_for("it is stalled", lambda: any(c["reason"] == "PeriodInvalid" for c in run.status().get("conditions", [])))
    assert tenant.ntro("workflow", "run", make(), "--period", "2026-13").code != 0


def test_a_pod_that_cannot_start_blocks_its_run(tenant: Tenant, make: Make) -> None:
    image = "registry.invalid/ntro-runner@sha256:" + "0" * 64
    pending = tenant.start(make(pendingDeadlineSeconds=10, runTemplate={"image": image}))
    assert pending.reach("Blocked")["blocked"]["code"] == "PendingTimeout"
    wait_for("its Job is ended", lambda: not pending.jobs() and not pending.running_pods())


def test_history_and_time_to_live_delete_only_what_was_told(tenant: Tenant, make: Make) -> None:
    name = make(ttlSecondsAfterFinished=5)
    run = tenant.start(name)
    wait_for("it is deleted", lambda: tenant.kubectl("get", "nrun", run.name).code != 0)
    after = status(tenant, name)
    assert after["lastSuccessfulTime"] and condition(tenant, name, "LastRunSucceeded")["message"] == run.name
    assert "active" not in after


def test_an_ended_run_goes_with_its_workflow(tenant: Tenant, make: Make) -> None:
    name = make()
    run = tenant.start(name)
    run.reach("Succeeded")
    wait_for("it belongs to its Workflow", lambda: [o["kind"] for o in run.object()["metadata"].get("ownerReferences", [])] == ["Workflow"])
    whole = json.loads(tenant.kubectl("get", "nrun", run.name, "-o", "json", "--show-managed-fields").ok().out)
    assert "managedFields" not in whole["metadata"] and whole["status"]["phase"] == "Succeeded"
    tenant.kubectl("delete", "nwf", name).ok()
    wait_for("it is gone", lambda: tenant.kubectl("get", "nrun", run.name).code != 0)


def test_next_reads_a_file_or_the_cluster(tenant: Tenant, make: Make, tmp_path) -> None:
    spec = {"schedule": "0 8 * * *", "timeZone": "Europe/London", "calendar": {"businessDays": [5], "holidays": ["2026-12-25"]}}
    name = make(**spec)
    file = tmp_path / "workflow.yaml"
    workflow = resource("Workflow", tenant.slug, name, {"runbookRef": {"name": "probe"}, "entity": "e", **spec})
    file.write_text(yaml.safe_dump(workflow))
    of_file = tenant.ntro("workflow", "next", str(file), "-n", "4", "--after", "2026-11-23", "-o", "json").json
    assert [s["slot"] for s in of_file] == ["2026-12-07T08:00:00Z", "2027-01-07T08:00:00Z", "2027-02-05T08:00:00Z", "2027-03-05T08:00:00Z"]
    assert [s["period"] for s in of_file][:2] == ["2026-11", "2026-12"]
    assert tenant.ntro("workflow", "next", name, "-n", "4", "--after", "2026-11-23", "-o", "json").json == of_file
    wait_for("the status agrees", lambda: status(tenant, name).get("nextScheduleTime") == tenant.ntro("workflow", "next", name, "-n", "1", "-o", "json").json[0]["starts"])
