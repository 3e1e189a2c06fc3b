"""The review gate: approve, reject, correct, and answers that are none of these."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from ntro.types.wire import PendingAction

APPROVE = {"kind": "approve"}
WRITE = "nav_monthly.write_pack"


def line_of(gate: dict[str, Any], account: str) -> dict[str, Any]:
    return next(x for x in gate["payload"]["journal"] if x["account_code"] == account)


def change(line: int, field: str, new: Any, old: Any = None) -> dict[str, Any]:
    return {"line": line, "field": field, "old_value": old, "new_value": new}


def correct(*changes: dict[str, Any]) -> dict[str, Any]:
    return {"kind": "correct", "corrections": list(changes)}


def test_waits_at_the_gate_and_writes_nothing(drive) -> None:
    run = drive("2026-10")
    assert run.result is None and run.files() == {} and WRITE not in run.executed
    (gate,) = run.gates
    PendingAction.model_validate(gate)
    assert gate["kind"] == "interactive_review" and gate["display_hint"]["component"] == "DATA_TABLE"
    payload = gate["payload"]
    assert json.loads(json.dumps(payload)) == payload
    for dataset in gate["display_hint"]["config"]["datasets"]:
        rows = payload[dataset["data_key"]]
        keys = {column["key"] for column in dataset.get("columns", [])}
        assert rows and all(keys <= set(row) for row in rows if keys)
    assert [x["line"] for x in payload["journal"]] == list(range(1, len(payload["journal"]) + 1))


@pytest.mark.parametrize(
    "answer",
    [
        APPROVE,
        {"type": "approved"},
        {"action": "approve"},
        {"kind": "approve", "type": "approved", "action": "approve", "actor": "ann", "corrections": []},
    ],
)
def test_approve_writes_the_pack_once(drive, answer) -> None:
    run = drive("2026-09", answer)
    assert run.result["status"] == "approved" and run.executed.count(WRITE) == 1
    assert set(run.files()) == set(run.result["files"]) == {"nav-pack.xlsx", "nav-summary.json"}
    assert (run.result["rounds"], run.result["corrections"]) == (1, 0)


@pytest.mark.parametrize(
    ("answer", "comments"),
    [
        ({"kind": "reject", "comments": "wrong rent roll"}, "wrong rent roll"),
        ({"type": "rejected", "reason": "no"}, "no"),
    ],
)
def test_reject_ends_without_a_pack(drive, answer, comments) -> None:
    run = drive("2026-09", answer)
    assert run.result == {
        "status": "rejected",
        "period": "2026-09",
        "entity_slug": "acme-commercial-spv1",
        "rounds": 1,
        "corrections": 0,
        "comments": comments,
    }
    assert WRITE not in run.executed and run.files() == {}


def test_correct_shows_the_corrected_journal_and_its_figures_reach_the_pack(drive) -> None:
    def fee_up(gate: dict[str, Any]) -> dict[str, Any]:
        expense, payable = line_of(gate, "5005"), line_of(gate, "2115")
        return correct(
            change(expense["line"], "debit", "20,000.00", expense["debit"]),
            change(payable["line"], "credit", 20000, payable["credit"]),
        )

    plain = drive("2026-10", APPROVE).result
    run = drive("2026-10", fee_up, {"kind": "approve", "comments": "fee agreed"})
    first, second = run.gates
    assert line_of(first, "5005")["debit"] == "18133.39" and line_of(second, "5005")["debit"] == "20000.00"
    assert second["payload"]["round"] == 2
    assert second["payload"]["feedback"]["payload"]["message"] == "2 corrections applied"
    assert second["payload"]["totals"]["journal_balanced"] == "yes"
    assert (run.result["rounds"], run.result["corrections"]) == (2, 2)
    assert Decimal(plain["nav"]) - Decimal(run.result["nav"]) == Decimal("20000.00") - Decimal("18133.39")
    summary = json.loads(run.files()["nav-summary.json"])
    assert summary["journal"]["by_account"]["5005"] == "20000.00"
    assert summary["review"] == {"rounds": 2, "corrections": 2, "comments": "fee agreed"}


def test_corrections_add_up_over_rounds_and_can_still_be_rejected(drive) -> None:
    def text(gate: dict[str, Any]) -> dict[str, Any]:
        return correct(change(1, "description", f"round {gate['payload']['round']}"))

    def account(gate: dict[str, Any]) -> dict[str, Any]:
        return correct(change(line_of(gate, "5010")["line"], "account_code", "5090", "5010"))

    run = drive("2026-10", text, account, text, {"kind": "reject"})
    last = run.gates[-1]["payload"]["journal"]
    assert last[0]["description"] == "round 3" and "5090" in {x["account_code"] for x in last}
    assert (run.result["status"], run.result["rounds"], run.result["corrections"]) == ("rejected", 4, 3)
    assert run.executed.count("nav_monthly.apply_corrections") == 3 and WRITE not in run.executed


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ([change(1, "debit", "1.00")], "the journal would not balance"),
        ([change(99, "debit", "1.00")], "there is no line 99"),
        ([change(0, "debit", "1.00")], "there is no line 0"),
        ([change(1, "side", "Cr")], "'side' cannot be changed"),
        ([change(1, "account_code", "9999")], "account 9999 is not in the trial balance"),
        ([change(1, "debit", "lots")], "'lots' is not an amount"),
        ([change(1, "debit", "2.00", "1.00")], "is no longer '1.00'"),
        ([change(1, "credit", "5.00")], "line 1: exactly one of debit and credit"),
        ([change(1, "debit", "0")], "line 1: exactly one of debit and credit"),
        ([change(1, "debit", "(5.00)")], "line 1: exactly one of debit and credit"),
        ([change(1, "tax_code", "VAT_99")], "malformed: tax_code"),
        ([{"field": "debit"}], "malformed: line"),
        (["rubbish"], "malformed"),
        ([], "no corrections given"),
        ([change(1, "description", "fine"), change(99, "debit", "1")], "there is no line 99"),
    ],
)
def test_refused_corrections_leave_the_journal_and_say_why(drive, changes, reason) -> None:
    run = drive("2026-09", correct(*changes))
    first, second = run.gates
    assert second["payload"]["journal"] == first["payload"]["journal"]
    assert second["payload"]["totals"] == first["payload"]["totals"]
    assert reason in second["payload"]["feedback"]["payload"]["message"]
    assert second["payload"]["feedback"]["level"] == "warning"


def test_moving_bank_money_shows_that_the_bank_is_no_longer_proved(drive) -> None:
    def move(gate: dict[str, Any]) -> dict[str, Any]:
        bank, arrears = line_of(gate, "1200"), line_of(gate, "1100")
        hundred = Decimal("100.00")
        return correct(
            change(bank["line"], "debit", str(Decimal(bank["debit"]) + hundred)),
            change(arrears["line"], "debit", str(Decimal(arrears["debit"]) - hundred)),
        )

    first, second = drive("2026-10", move).gates
    assert first["payload"]["totals"]["bank_difference"] == "0.00"
    assert second["payload"]["totals"]["bank_difference"] == "-100.00"
    assert "BANK_NOT_PROVED" in {e["code"] for e in second["payload"]["exceptions"]}


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"kind": "maybe"},
        {"kind": "approve", "type": "rejected"},
        {"kind": "reject", "type": "approved"},
        {"action": "reject", "type": "approved"},
        {"kind": "approve", "corrections": "all"},
        {"comments": "looks good"},
    ],
)
def test_unclear_answer_asks_again_and_approves_nothing(drive, answer) -> None:
    run = drive("2026-09", answer)
    assert run.result is None and len(run.gates) == 2 and WRITE not in run.executed
    assert "neither" in run.gates[1]["payload"]["feedback"]["payload"]["message"]


def test_approval_with_corrections_is_shown_again_first(drive) -> None:
    answer = {"kind": "approve", "corrections": [change(1, "description", "new text")]}
    run = drive("2026-09", answer)
    assert run.result is None and WRITE not in run.executed
    assert run.gates[1]["payload"]["journal"][0]["description"] == "new text"


def test_steps_follow_the_manifest(drive) -> None:
    from conftest import RUNTIME

    run = drive("2026-09", correct(change(1, "description", "x")), APPROVE)
    assert {s["status"] for s in RUNTIME.workflow.current_steps()} == {"completed"}
    assert run.executed == [
        "nav_monthly.open_period",
        "nav_monthly.load_trial_balance",
        "nav_monthly.load_rent_roll",
        "nav_monthly.load_bank_statement",
        "nav_monthly.check_inputs",
        "nav_monthly.reconcile_bank",
        "nav_monthly.propose_journal",
        "nav_monthly.apply_corrections",
        "nav_monthly.write_pack",
    ]
