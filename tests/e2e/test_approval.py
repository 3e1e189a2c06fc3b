"""Who may decide what: refused by the API server, or by the operator, never silently counted."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from kit.cluster import BUNDLES, Done, kubectl, wait_for
from kit.objects import as_written, resource
from kit.outside import Outside
from kit.people import ADMIN, Person, service_account
from kit.probe import Probe, config
from kit.tenants import Run, Tenant

POLICY = "ntro-user-actions"


@pytest.fixture
def run(probe: Probe) -> Run:
    run, _ = probe()
    run.reach("Waiting")
    return run


def user_action(run: Run, actor: str, name: str, verb: str = "approve", **changes: Any) -> dict[str, Any]:
    gate = run.tenant.get("gate", run.gate())
    revision = gate["status"]["revision"]
    seen = {
        "name": gate["metadata"]["name"],
        "gateId": gate["spec"]["gateId"],
        "class": gate["spec"]["class"],
        "revision": revision["n"],
        "digest": revision["digest"],
    }
    seen.update(changes.pop("gate", {}))
    spec = {
        "actor": actor,
        "verb": verb,
        "workflow": gate["spec"]["workflow"],
        "run": run.name,
        "runId": gate["spec"]["runId"],
        "gate": seen,
        **changes,
    }
    return resource("UserAction", run.tenant.slug, name, spec)


def create(thing: dict[str, Any], person: Person | None = None) -> Done:
    return kubectl("create", "-f", "-", person=person, send=thing)


def outcome(run: Run, name: str) -> dict[str, Any]:
    def status() -> dict[str, Any] | None:
        found = run.tenant.get("act", name).get("status", {})
        return found if found.get("outcome") else None

    return wait_for(f"user action {name} has an outcome", status)


def test_the_api_server_refuses(run: Run, tenant: Tenant) -> None:
    ada = tenant.approver
    cases: list[tuple[str, dict[str, Any], Person]] = [
        ("a foreign actor", user_action(run, "somebody@else", "a1"), ada),
        ("a foreign group", user_action(run, ada.name, "a2", groups=["system:authenticated", "board"]), ada),
        ("no right to approve", user_action(run, tenant.viewer.name, "a3"), tenant.viewer),
        (
            "a ServiceAccount",
            user_action(run, f"system:serviceaccount:{tenant.slug}:ntro-runner", "a4"),
            service_account(tenant.slug, "ntro-runner"),
        ),
        ("a wildcard holder", user_action(run, ADMIN.name, "a5"), ADMIN),
    ]
    for what, thing, person in cases:
        done = create(thing, person)
        assert done.code != 0, what
        assert "forbidden" in done.err or "denied" in done.err, (what, done.err)
    assert run.phase() == "Waiting"
    incomplete = user_action(run, ada.name, "a6")
    del incomplete["spec"]["gate"]["digest"]
    assert create(incomplete, ada).code != 0


def test_the_operator_refuses_what_was_not_shown(run: Run, tenant: Tenant, outside: Outside) -> None:
    ada = tenant.approver
    zero = "00000000-0000-4000-8000-000000000000"
    cases = [
        ("b1", user_action(run, ada.name, "b1", gate={"revision": 7}), "Superseded"),
        ("b2", user_action(run, ada.name, "b2", gate={"digest": "hmac-sha256:" + "0" * 64}), "Superseded"),
        ("b3", user_action(run, ada.name, "b3", gate={"gateId": zero}), None),
        ("b4", user_action(run, ada.name, "b4", gate={"class": "probe.post"}), None),
        ("b5", user_action(run, ada.name, "b5", runId=zero), None),
    ]
    for name, thing, reason in cases:
        create(thing, ada).ok()
        status = outcome(run, name)
        assert status["outcome"] == "Refused", (name, status)
        assert reason is None or status["reason"] == reason, (name, status)
    assert run.phase() == "Waiting"
    assert [e for e in run.journal() if e.get("type") == "gateDecided"] == []


def test_the_first_of_two_contrary_acts_counts(run: Run, tenant: Tenant) -> None:
    ada = tenant.approver
    gate = run.gate()
    first, second = user_action(run, ada.name, "c1", verb="reject"), user_action(run, ada.name, "c2", verb="approve")
    create(first, ada).ok()
    create(second, ada).ok()
    assert outcome(run, "c1")["outcome"] == "Accepted"
    assert outcome(run, "c2")["outcome"] == "Refused"
    run.reach("Succeeded")
    assert run.tenant.get("gate", gate)["status"]["state"] == "Rejected"
    late = run.tenant.ntro("gate", "approve", gate, person=ada)
    assert late.code == 6 and "rejected" in late.err


@pytest.mark.alone
def test_nothing_counts_while_the_policy_is_away(run: Run, tenant: Tenant) -> None:
    ada = tenant.approver
    policy = kubectl("get", "validatingadmissionpolicy", POLICY, "-o", "json").json
    binding = kubectl("get", "validatingadmissionpolicybinding", POLICY, "-o", "json").json
    prepared = user_action(run, ada.name, "d1")
    forged = user_action(run, "somebody@else", "d2")
    kubectl("delete", "validatingadmissionpolicybinding", POLICY).ok()
    # The API server stops enforcing a moment later: a forged act that gets in shows that it has.
    wait_for("the policy is not enforced", lambda: create(forged).code == 0)
    create(prepared, ada).ok()
    put_back(binding)
    put_back(policy)
    for name in ("d1", "d2"):
        status = outcome(run, name)
        assert (status["outcome"], status["reason"]) == ("Refused", "ApprovalPolicyMissing"), (name, status)
    assert run.phase() == "Waiting"
    enforced(run)
    wait_for("user actions count again", lambda: tenant.ntro("gate", "approve", run.gate(), "-m", "again", person=ada).code == 0)
    run.reach("Succeeded")


@pytest.mark.alone
def test_an_altered_policy_counts_for_nothing(run: Run, tenant: Tenant) -> None:
    policy = kubectl("get", "validatingadmissionpolicy", POLICY, "-o", "json").json
    kubectl(
        *("patch", "validatingadmissionpolicy", POLICY, "--type=json"),
        *("-p", json.dumps([{"op": "replace", "path": "/spec/validations/0/expression", "value": "true"}])),
    ).ok()
    try:
        create(user_action(run, tenant.approver.name, "e1"), tenant.approver).ok()
        status = outcome(run, "e1")
        assert (status["outcome"], status["reason"]) == ("Refused", "ApprovalPolicyMissing")
    finally:
        put_back(policy)
    enforced(run)
    wait_for("user actions count again", lambda: tenant.ntro("gate", "approve", run.gate(), person=tenant.approver).code == 0)
    run.reach("Succeeded")


def put_back(thing: dict[str, Any]) -> None:
    kubectl("replace", "--force", "-f", "-", send=as_written(thing)).ok()


def enforced(run: Run) -> None:
    """The API server enforces the policy again."""
    n = iter(range(1000))

    def refused() -> bool:
        return create(user_action(run, "somebody@else", f"probe-{next(n)}")).code != 0

    wait_for("the policy is enforced", refused)


def test_gate_policy(tenant: Tenant, outside: Outside, fresh_name: Callable[[str], str]) -> None:
    """Users, groups and distinctFrom of the workflow's gatePolicy, frozen when the run starts."""
    key = fresh_name("k")
    rob, ada = tenant.runner, tenant.approver
    tenant.workflow(BUNDLES / "probe", "probe", "--name", key, *config(outside, key), person=rob).ok()
    policy = {"author": rob.name, "gates": [{"step": "review", "groups": ["board"], "distinctFrom": ["initiator"]}]}
    patch = json.dumps({"spec": {"gatePolicy": policy}})
    forged = json.dumps({"spec": {"gatePolicy": {**policy, "author": "somebody@else"}}})
    assert tenant.kubectl("patch", "nwf", key, "--type=merge", "-p", forged, *rob.flags()).code != 0
    tenant.kubectl("patch", "nwf", key, "--type=merge", "-p", patch, *rob.flags()).ok()
    tenant.kubectl("wait", "nwf", key, "--for=condition=Ready", "--timeout=30s").ok()

    allow_approve(tenant, rob.name)
    board_ada, board_rob = Person(ada.name, ("board",)), Person(rob.name, ("board",))
    run = tenant.start(key, person=rob)
    run.reach("Waiting")
    outsider = tenant.ntro("gate", "approve", run.gate(), person=ada)
    assert outsider.code == 6 and "NotInPolicy" in outsider.err
    initiator = tenant.ntro("gate", "approve", run.gate(), person=board_rob)
    assert initiator.code == 6 and "NotDistinct" in initiator.err
    run.approve(person=board_ada).ok()
    run.reach("Succeeded")


def allow_approve(tenant: Tenant, user: str) -> None:
    tenant.kubectl("create", "rolebinding", f"approver-{user.split('@')[0]}", "--role=ntro-approver", f"--user={user}").ok()


def test_two_gates_at_once_and_a_duplicate_never_answer_the_wrong_gate(tenant: Tenant, fresh_name: Callable[[str], str]) -> None:
    key = fresh_name("pair")
    tenant.workflow(BUNDLES / "pair", "pair", "--name", key).ok()
    run = tenant.start(key)
    run.reach("Waiting")
    left, right = run.gate("left"), run.gate("right")
    tenant.ntro("gate", "reject", right, person=tenant.approver).ok()
    duplicate = tenant.ntro("gate", "approve", right, person=tenant.approver)
    assert duplicate.code == 6
    tenant.ntro("gate", "approve", left, person=tenant.approver).ok()
    last = run.gate("last")
    run.reach("Waiting")
    again = tenant.ntro("gate", "approve", left, person=tenant.approver)
    assert again.code == 6
    assert [g["metadata"]["name"] for g in run.gates()] == [last]
    tenant.ntro("gate", "approve", last, person=tenant.approver).ok()
    run.reach("Succeeded")
    assert run.output("-o", "json").json["result"] == {"left": "approve", "right": "reject", "last": "approve"}


def test_an_activity_without_its_approval_is_not_executed(tenant: Tenant, fresh_name: Callable[[str], str]) -> None:
    key = fresh_name("pair")
    tenant.workflow(BUNDLES / "pair", "pair", "--name", key, "--set", "guard=true").ok()
    run = tenant.start(key)
    status = run.reach("Blocked")
    assert status["blocked"]["code"] == "RequirementNotMet"
    assert not [e for e in run.journal() if e.get("type") == "activityScheduled"]
    tenant.ntro("run", "cancel", run.name, person=tenant.runner).ok()
    wait_for("it is cancelled", lambda: run.phase() == "Cancelled")


def test_a_run_that_waits_is_told_that_it_is_cancelled_if_its_runbook_asks_for_it(
    tenant: Tenant, outside: Outside, fresh_name: Callable[[str], str]
) -> None:
    key = fresh_name("undo")
    tenant.workflow(BUNDLES / "soak", "soak", "--name", key, "--set", f"url={outside.url}").ok()
    run = tenant.start(key)
    task = run.reach("Waiting")["runId"]
    wait_for("no pod runs while a person decides", lambda: not run.running_pods())
    tenant.ntro("run", "cancel", run.name, person=tenant.runner).ok()
    status = run.reach("Cancelled")
    assert status["segment"] == 2
    assert outside.effects(task) == [f"{task}/prepare", f"{task}/undo"]


def test_a_gate_that_nobody_answers_in_time_is_rejected(tenant: Tenant, outside: Outside, fresh_name: Callable[[str], str]) -> None:
    key = fresh_name("late")
    tenant.workflow(BUNDLES / "probe", key, "--name", key, *config(outside, key)).ok()
    me = kubectl("auth", "whoami", "-o", "jsonpath={.status.userInfo.username}").ok().out
    policy: dict[str, Any] = {"author": me, "default": {"due": "5s"}}
    tenant.kubectl("patch", "nwf", key, "--type=merge", "-p", json.dumps({"spec": {"gatePolicy": policy}})).ok()
    run = tenant.start(key)
    run.reach("Succeeded")
    gate = run.gates(None)[0]
    assert gate["status"]["state"] == "Rejected" and gate["spec"]["due"]
    assert gate["status"]["decisions"][0]["actor"].startswith("system:serviceaccount:")
    assert outside.effects(f"{key}/post") == []
    policy["default"]["onExpiry"] = "escalate"
    tenant.kubectl("patch", "nwf", key, "--type=merge", "-p", json.dumps({"spec": {"gatePolicy": policy}})).ok()
    wait_for("it is said", lambda: any(c["reason"] == "GatePolicyInvalid" for c in tenant.get("nwf", key)["status"]["conditions"]))
