"""Inputs no retry can mend end the run with one clear error, and nothing is written."""

from __future__ import annotations

import io
import re

import openpyxl
import pytest
from ntro.workflow import WorkflowError


def refused(drive, match: str, period: str = "2026-10", **options) -> None:
    with pytest.raises(WorkflowError, match=match) as error:
        drive(period, {"kind": "approve"}, **options)
    assert error.value.non_retryable and error.value.type == "InvalidInput"


def test_missing_period_names_it_and_what_there_is(drive) -> None:
    refused(drive, r"^no data for period 2026-11; available: 2026-09, 2026-10$", period="2026-11")


@pytest.mark.parametrize("period", ["", "..", "2026-10/..", "/etc"])
def test_period_is_never_a_path(drive, period) -> None:
    refused(drive, "^no data for period", period=period)


def test_missing_file(drive, altered) -> None:
    altered(damage=lambda files: files.pop("rent-roll.csv"))
    refused(drive, "^period 2026-10: rent-roll.csv missing$")


@pytest.mark.parametrize(
    ("config", "field"),
    [
        ({"management_fee_rate": 1.5}, "management_fee_rate"),
        ({"tolerance": -1}, "tolerance"),
        ({"units_in_issue": 0}, "units_in_issue"),
        ({"gl_codes": {"bank": "1200"}}, "gl_codes"),
        ({"gl_codes": {"bank": "1200", "rental_income": "4000", "rent": "1"}}, "gl_codes"),
    ],
)
def test_configuration_is_checked(drive, config, field) -> None:
    refused(drive, f"^config: {field} not valid$", config=config)


def test_account_of_the_map_must_exist(drive) -> None:
    codes = {"bank": "1200", "rental_income": "4999"}
    refused(drive, "Missing required GL codes: 4999", config={"gl_codes": codes})


def rewrite(name: str, change):
    """Changes cells of one sheet of the workbook."""

    def damage(files) -> None:
        book = openpyxl.load_workbook(io.BytesIO(files["trial-balance.xlsx"]))
        change(book[name])
        out = io.BytesIO()
        book.save(out)
        files["trial-balance.xlsx"] = out.getvalue()

    return damage


def row_of(sheet, label: str) -> int:
    return next(r for r in range(1, sheet.max_row + 1) if str(sheet.cell(r, 1).value).strip() == label)


def raise_debit(sheet) -> None:
    sheet.cell(row_of(sheet, "5020"), 4).value += 1
    sheet.cell(row_of(sheet, "Total"), 4).value += 1


def test_trial_balance_out_of_balance(drive, altered) -> None:
    altered(damage=rewrite("Trial Balance", raise_debit))
    refused(drive, "^trial balance: debits .* differ from credits")


def test_trial_balance_total_not_its_rows(drive, altered) -> None:
    def change(sheet) -> None:
        sheet.cell(row_of(sheet, "5020"), 4).value += 1

    altered(damage=rewrite("Trial Balance", change))
    refused(drive, "printed totals differ from the sum of the rows")


def test_account_listed_twice(drive, altered) -> None:
    def change(sheet) -> None:
        sheet.cell(row_of(sheet, "5030"), 1).value = "5020"

    altered(damage=rewrite("Trial Balance", change))
    refused(drive, "account 5020 appears twice")


def test_trial_balance_of_another_month(drive, altered) -> None:
    def change(sheet) -> None:
        sheet["A3"] = "As at 30 September 2026"

    altered(damage=rewrite("Trial Balance", change))
    refused(drive, "^trial balance: TB period 2026-09 != expected 2026-10$")


def test_bank_ledger_that_does_not_add_up(drive, altered) -> None:
    def change(sheet) -> None:
        sheet.cell(row_of(sheet, "Closing balance"), 5).value += 1

    altered(damage=rewrite("Bank 1200", change))
    refused(drive, "closing balance differs from opening balance and movements")


def test_bank_ledger_that_is_not_account_1200(drive, altered) -> None:
    def change(sheet) -> None:
        for label in ("Opening balance", "Closing balance"):
            sheet.cell(row_of(sheet, label), 5).value += 1

    altered(damage=rewrite("Bank 1200", change))
    refused(drive, "closing balance differs from the bank account of the trial balance")


def test_rent_roll_of_another_month(drive, altered) -> None:
    def damage(files) -> None:
        files["rent-roll.csv"] = files["rent-roll.csv"].replace(b"October 2026", b"September 2026", 1)

    altered(damage=damage)
    refused(drive, "^rent roll: is for 2026-09, expected 2026-10$")


def test_rent_roll_line_lost(drive, altered) -> None:
    def damage(files) -> None:
        files["rent-roll.csv"] = re.sub(rb"Unit D7,.*\r\n", b"", files["rent-roll.csv"])

    altered(damage=damage)
    refused(drive, "printed totals differ from the sum of the rows")


def test_remittance_that_is_not_collections_less_deductions(drive, altered) -> None:
    def damage(files) -> None:
        files["rent-roll.csv"] = files["rent-roll.csv"].replace(b'"(2,118.40)"', b'"(2,018.40)"')

    altered(damage=damage)
    refused(drive, "net remittance differs from collections less deductions")


def test_statement_of_another_month(drive, altered) -> None:
    def damage(files) -> None:
        files["bank-statement.pdf"] = files["bank-statement.pdf"].replace(
            b"1 October 2026 to", b"1 August 2026 to"
        )

    altered(damage=damage)
    refused(drive, "^bank statement: runs 2026-08-01 to 2026-10-31, expected 2026-10$")


def test_statement_line_lost(drive, altered, monkeypatch) -> None:
    """A line missing from the table breaks the chain of balances."""
    from ntro.capabilities import files as capability

    original = capability.parse

    async def lossy(**options):
        grid = await original(**options)
        if options["format"] == "pdf":
            del grid.cells[40]
        return grid

    monkeypatch.setattr(capability, "parse", lossy)
    refused(drive, "balance does not follow from the line before")


def test_statement_that_opens_elsewhere(drive, altered) -> None:
    def change(month) -> None:
        month.statement_opening += 100

    altered(change)
    refused(drive, "opening balance differs from the ledger less items carried forward")


def test_remittance_not_on_the_statement_is_shown_to_the_reviewer(drive, altered) -> None:
    def change(month) -> None:
        month.statement = [t for t in month.statement if not t.ref.startswith("HPM-REMIT")]

    altered(change)
    payload = drive("2026-10").gates[0]["payload"]
    codes = {e["code"]: e for e in payload["exceptions"]}
    assert codes["REMITTANCE_MISSING"]["severity"] == "error"
    assert payload["totals"]["journal_balanced"] == "yes" and payload["totals"]["bank_difference"] == "0.00"


def test_receipt_not_on_the_statement_becomes_arrears(drive, altered) -> None:
    def change(month) -> None:
        lost = next(t for t in month.statement if t.ref == "KC-A01")
        month.statement.remove(lost)
        change.amount = lost.amount

    before = drive("2026-10").gates[0]["payload"]
    altered(change)
    after = drive("2026-10").gates[0]["payload"]

    def arrears(payload) -> float:
        return next(float(x["debit"]) for x in payload["journal"] if x["account_code"] == "1100")

    assert arrears(after) - arrears(before) == pytest.approx(change.amount / 100)
    assert "RECEIPT_NOT_ON_STATEMENT" in {e["code"] for e in after["exceptions"]}


def test_more_paid_than_charged_credits_the_arrears(drive, altered) -> None:
    """Everybody pays, one tenant a year ahead: the arrears account is credited, not left out."""

    def change(month) -> None:
        row = next(r for r in month.roll if r.lease.ref == "KC-A01")
        row.received += 5_000_000
        row.arrears[0] -= 5_000_000
        next(t for t in month.statement if t.ref == "KC-A01").amount += 5_000_000

    altered(change)
    payload = drive("2026-10").gates[0]["payload"]
    (line,) = [x for x in payload["journal"] if x["account_code"] == "1100"]
    assert (line["debit"], line["credit"]) == ("0.00", "46861.00")
    assert payload["totals"]["bank_difference"] == "0.00"
