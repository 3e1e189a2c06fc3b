"""Precreated runs, whose objects exist a little before their slot: none starts before it, and a change in between counts."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from kit.cluster import wait_for
from kit.outside import Outside
from kit.probe import Make
from kit.schedules import cron, next_minute, slot_of, status
from kit.tenants import Run, Tenant


@dataclass
class Slots:
    """Workflows that are due in the same minute, seen when the object of each one's run is there and its slot is not."""

    tenant: Tenant
    due: datetime
    period: str
    names: dict[str, str]

    def run(self, what: str) -> Run:
        return Run(self.tenant, slot_of(self.names[what], self.due))

    def there(self, what: str) -> bool:
        return self.tenant.kubectl("get", "nrun", self.run(what).name).code == 0

    def patch(self, what: str, spec: dict[str, Any]) -> None:
        self.tenant.kubectl("patch", "nwf", self.names[what], "--type=merge", "-p", json.dumps({"spec": spec})).ok()

    def gone(self, what: str) -> None:
        wait_for(f"the object of {what} is gone", lambda: not self.there(what), timeout=20)

    def wait_for_slot(self) -> None:
        wait_for("the slot is due", lambda: datetime.now(UTC) > self.due, timeout=120)


@pytest.fixture(scope="module")
def slots(tenant: Tenant, make: Make) -> Slots:
    due = next_minute(50)
    period = (due.replace(day=1) - timedelta(days=1)).strftime("%Y-%m")
    what = ["plain", "suspended", "edited", "deleted", "hindered", "removed"]
    names = {one: make(gate=one == "hindered", schedule=cron(due), period={"unit": "Month"}) for one in what}
    slots = Slots(tenant, due, period, names)
    wait_for("all objects are there", lambda: all(slots.there(one) for one in what), timeout=120)
    assert datetime.now(UTC) < due, "the slot came before everything was made"
    slots.patch("suspended", {"suspend": True})
    slots.patch("edited", {"schedule": cron(due + timedelta(days=1))})
    tenant.kubectl("delete", "nwf", names["deleted"]).ok()
    tenant.kubectl("delete", "nrun", slots.run("removed").name).ok()
    tenant.start(names["hindered"], "--period", period)
    assert datetime.now(UTC) < due, "the slot came before everything was done"
    return slots


def test_it_begins_at_its_slot_and_not_before(tenant: Tenant, slots: Slots, outside: Outside) -> None:
    run = slots.run("plain")
    before = run.object()
    assert "phase" not in before["status"] and run.jobs() == []
    listed = tenant.ntro("run", "list", "--workflow", slots.names["plain"]).ok().out
    assert "Scheduled" in listed, listed
    assert status(tenant, slots.names["plain"]).get("active") is None
    assert outside.effects(f"{slots.names['plain']}/") == []
    cancel = tenant.ntro("run", "cancel", run.name, person=tenant.runner)
    assert cancel.code != 0 and "not begun" in cancel.err, cancel
    assert datetime.now(UTC) < slots.due
    run.reach("Succeeded")
    after = run.object()
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert after["status"]["runId"] == before["metadata"]["labels"]["ntro.dev/run-id"]
    made = datetime.fromisoformat(run.jobs()[0]["metadata"]["creationTimestamp"])
    assert made >= slots.due
    assert outside.effects(f"{slots.names['plain']}/") == [f"{slots.names['plain']}/prepare"]


@pytest.mark.parametrize("what", ["suspended", "edited", "deleted"])
def test_what_is_not_due_any_more_is_deleted_and_never_begins(slots: Slots, outside: Outside, what: str) -> None:
    slots.gone(what)
    slots.wait_for_slot()
    slots.run("plain").reach("Succeeded")
    assert not slots.there(what) and outside.effects(f"{slots.names[what]}/") == []


def test_a_run_that_came_in_the_way_has_the_slot_skipped(tenant: Tenant, slots: Slots) -> None:
    name = slots.names["hindered"]
    missed = wait_for("the slot is skipped", lambda: status(tenant, name).get("missed"), timeout=120)
    assert missed["count"] == 1 and missed["reason"] in ("RunUnfinished", "RunWaiting"), missed
    slots.gone("hindered")


def test_who_deletes_it_gets_it_back_at_the_slot(slots: Slots, outside: Outside) -> None:
    slots.wait_for_slot()
    wait_for("it is there", lambda: slots.there("removed"))
    slots.run("removed").reach("Succeeded")
    assert len(outside.effects(f"{slots.names['removed']}/")) == 1
