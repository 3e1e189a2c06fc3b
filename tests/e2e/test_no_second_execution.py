"""A slot and a name execute once, whatever is deleted, re-applied or restored."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from kit.cluster import kubectl, wait_for
from kit.objects import as_written
from kit.operator import Operator
from kit.outside import Outside
from kit.people import Person
from kit.probe import install, started
from kit.tenants import Run, Tenant


def reapply(tenant: Tenant, *objects: dict) -> None:
    for thing in objects:
        # By the person who started it, as the admission policy wants the initiator to be.
        initiator = thing["spec"].get("request", {}).get("trigger", {}).get("initiator")
        kubectl("create", "-f", "-", person=Person(initiator) if initiator else None, send=as_written(thing)).ok()


def test_delete_everything_at_rest_and_reapply(tenant: Tenant, outside: Outside, fresh_name: Callable[[str], str]) -> None:
    key = fresh_name("k")
    run = started(tenant, outside, key)
    run.reach("Waiting")
    run.approve()
    run.reach("Succeeded")
    workflow, old = tenant.get("nwf", key), run.object()
    tenant.kubectl("delete", "job", "-l", f"ntro.dev/run={run.name}").ok()
    tenant.kubectl("delete", "nrun", run.name).ok()
    tenant.kubectl("delete", "nwf", key).ok()
    reapply(tenant, workflow, old)
    wait_for("the run says that it ran already", lambda: already_ran(run))
    assert run.jobs() == []
    assert sorted(outside.effects(key)) == [f"{key}/post", f"{key}/prepare"]


def already_ran(run: Run) -> bool:
    status = run.status()
    reasons = [c["reason"] for c in status.get("conditions", [])] + [status.get("blocked", {}).get("code")]
    return "AlreadyRan" in reasons


@pytest.mark.alone
def test_yesterdays_store_is_refused(tenant: Tenant, operator: Operator, outside: Outside, fresh_name: Callable[[str], str], tmp_path) -> None:
    """The copy is taken before the approval: replaying from it would post a second time."""
    key = fresh_name("k")
    run = started(tenant, outside, key)
    run.reach("Waiting")
    wait_for("no pod runs", lambda: not run.running_pods())
    volume = operator.volume()
    operator.away()
    shutil.copytree(volume, tmp_path / "yesterday", symlinks=True)
    operator.back()
    run.approve()
    wait_for("the effect", lambda: outside.effects(f"{key}/post"))
    run.reach("Succeeded")
    operator.away()
    shutil.move(volume, tmp_path / "today")
    shutil.copytree(tmp_path / "yesterday", volume, symlinks=True)
    copy_owner(tmp_path / "today", volume)
    try:
        operator.back()
        wait_for("the run is blocked", lambda: "JournalBehind" in json.dumps(run.status()))
        assert run.phase() == "Succeeded", "a terminal phase never changes"
        assert len(outside.effects(f"{key}/post")) == 1
    finally:
        operator.away()
        shutil.rmtree(volume)
        shutil.move(tmp_path / "today", volume)
        operator.back()


@pytest.mark.alone
def test_a_store_behind_an_open_run_is_refused(tenant: Tenant, operator: Operator, outside: Outside, fresh_name: Callable[[str], str], tmp_path) -> None:
    key, hold = fresh_name("k"), fresh_name("h")
    install(tenant, outside, key, f"hold_post={hold}")
    volume = operator.volume()
    operator.away()
    shutil.copytree(volume, tmp_path / "yesterday", symlinks=True)
    operator.back()
    run = tenant.start(key)
    run.reach("Waiting")
    wait_for("no pod runs", lambda: not run.running_pods())
    operator.away()
    shutil.move(volume, tmp_path / "today")
    shutil.copytree(tmp_path / "yesterday", volume, symlinks=True)
    copy_owner(tmp_path / "today", volume)
    try:
        operator.back()
        wait_for("the run is blocked", lambda: "JournalBehind" in json.dumps(run.status()))
        assert run.running_pods() == []
        assert outside.effects(f"{key}/prepare") == [f"{key}/prepare"]
    finally:
        operator.away()
        shutil.rmtree(volume)
        shutil.move(tmp_path / "today", volume)
        operator.back()
    outside.release(hold)


def copy_owner(source: Path, target: Path) -> None:
    """The operator's files are its own again; the directory that is the volume belongs to who made it."""
    theirs = (source / "journal" / "journal.sqlite").stat()
    for path in target.rglob("*"):
        os.chown(path, theirs.st_uid, theirs.st_gid)
    whole = source.stat()
    os.chown(target, whole.st_uid, whole.st_gid)
    target.chmod(whole.st_mode)
