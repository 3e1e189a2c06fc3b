"""The pack's figures against the independent calculation."""

from __future__ import annotations

import io
import json
from decimal import Decimal

import openpyxl
import pytest

from conftest import BUNDLE
from independent import balances, bank_lines, rent_rows, work_out

APPROVE = {"kind": "approve", "comments": "agreed"}
PERIODS = ["2026-09", "2026-10"]


@pytest.mark.parametrize("period", PERIODS)
@pytest.mark.parametrize(
    ("config", "other"),
    [
        ({}, {}),
        (
            {
                "management_fee_rate": 0.0375,
                "bad_debt_rate": 0.5,
                "units_in_issue": 1_234_567,
                "loan": {"monthly_interest": 100000.01, "monthly_principal": "39999.99"},
            },
            {
                "fee_rate": "0.0375",
                "bad_debt_rate": "0.5",
                "units": 1_234_567,
                "interest": "100000.01",
                "principal": "39999.99",
            },
        ),
    ],
)
def test_pack_agrees_with_independent_calculation(drive, period, config, other) -> None:
    run = drive(period, APPROVE, config=config)
    expected = work_out(BUNDLE / "data" / period, **other)
    summary = json.loads(run.files()["nav-summary.json"])
    by_account = {code: Decimal(amount) for code, amount in summary["journal"]["by_account"].items()}
    assert by_account == expected["journal"]
    assert Decimal(summary["net_assets"]["nav"]) == expected["nav"]
    assert Decimal(summary["net_assets"]["nav_per_unit"]) == expected["nav_per_unit"]
    assert Decimal(run.result["nav"]) == expected["nav"]

    book = openpyxl.load_workbook(io.BytesIO(run.files()["nav-pack.xlsx"]))
    rows = list(book["Trial balance"].iter_rows(min_row=2, values_only=True))
    after = {row[0]: Decimal(str(row[5])).quantize(Decimal("0.01")) for row in rows if row[0] != "Total"}
    assert after == expected["after"]
    journal = list(book["Journal"].iter_rows(min_row=2, values_only=True))
    assert journal[-1][4] == journal[-1][5] == float(summary["journal"]["journal_debit"])


def test_known_figures_of_october(drive) -> None:
    result = drive("2026-10", APPROVE).result
    assert (result["status"], result["nav"], result["nav_per_unit"]) == ("approved", "30352522.31", "6.0705")


def test_october_opens_where_september_closed() -> None:
    """The sample months are one history: September's journal is in October's opening figures."""
    data = BUNDLE / "data"
    september = work_out(data / "2026-09")
    october = balances(data / "2026-10")
    for code in ("1100", "1101", "2300", "4000", "6100", "6060"):
        assert october[code][1] == september["after"][code], code


def test_default_journal_is_the_librarys_own(inputs) -> None:
    """At the default rates the accruals made here equal the library's fixed ones, line by line."""
    from ntro.accounting.proposal import propose_allocation_journal

    from templates.checks import sdk_trial_balance
    from templates.journal import _bank_document, _rent_document, propose
    from templates.reconcile import reconcile

    loaded = inputs("2026-10")
    reconciliation = reconcile(loaded)
    ours = propose(loaded, reconciliation)
    roll = loaded.rent_roll
    gross = sum(x.rent_due for x in roll.lines)
    cash = reconciliation.rent_receipts + reconciliation.remittance
    unpaid = gross - cash - roll.agent_fee - roll.agent_repairs
    theirs = propose_allocation_journal(
        tb=sdk_trial_balance(loaded.trial_balance, "spv"),
        ingested=[_rent_document(gross, unpaid, cash, loaded), _bank_document(reconciliation)],
        gl_map=loaded.opened.config.gl_codes,
        period="2026-10",
        entity_slug="spv",
        mortgage_agreement=loaded.opened.config.loan.model_dump(),
    )

    def postings(journal):
        return sorted((x.account_code, x.debit, x.credit) for x in journal.lines)

    assert postings(ours) == postings(theirs)


@pytest.mark.parametrize("period", PERIODS)
def test_bank_proves_to_the_statement(drive, period) -> None:
    gate = drive(period).gates[0]
    totals = gate["payload"]["totals"]
    ledger, statement = Decimal(totals["bank_per_ledger"]), Decimal(totals["bank_per_statement"])
    assert ledger - Decimal(totals["ledger_only"]) + Decimal(totals["statement_only"]) == statement
    assert totals["bank_difference"] == "0.00"
    assert not [x for x in gate["payload"]["exceptions"] if x["severity"] == "error"]


@pytest.mark.parametrize("period", PERIODS)
def test_sample_data_is_of_real_size(period) -> None:
    folder = BUNDLE / "data" / period
    assert len(balances(folder)) >= 60
    assert len(rent_rows(folder)) >= 100
    assert len(bank_lines(folder)) >= 100
