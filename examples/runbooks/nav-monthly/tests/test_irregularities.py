"""Each oddity of real files: it is in the sample, and it is treated as the runbook says."""

from __future__ import annotations

from collections import Counter
from datetime import date
from decimal import Decimal

import openpyxl
import pdfplumber
import pytest

from conftest import BUNDLE
from independent import bank_lines, number, rent_rows

OCTOBER = BUNDLE / "data" / "2026-10"


@pytest.fixture(scope="module")
def roll_text() -> str:
    return (OCTOBER / "rent-roll.csv").read_bytes().decode()


@pytest.fixture(scope="module")
def sheet_rows() -> dict[str, list[tuple]]:
    book = openpyxl.load_workbook(OCTOBER / "trial-balance.xlsx", data_only=True)
    return {sheet.title: list(sheet.iter_rows(values_only=True)) for sheet in book}


@pytest.fixture
def october(inputs):
    from templates.reconcile import reconcile

    loaded = inputs("2026-10")
    return loaded, reconcile(loaded)


def findings(reconciliation, code: str) -> dict[str, Decimal]:
    return {f.reference: f.amount for f in reconciliation.exceptions if f.code == code}


def items(reconciliation, reference: str):
    return [m for m in reconciliation.items if m.reference == reference]


def test_rent_roll_oddities_are_read_through(roll_text, october) -> None:
    lines = october[0].rent_roll.lines
    assert roll_text.startswith("\ufeff") and "\r\n,,,,,,,,,,,\r\n" in roll_text
    assert '"(1,250.00)"' in roll_text and "£" in roll_text and " KC-A07 ," in roll_text
    assert len(lines) == len(rent_rows(OCTOBER))
    assert {x.lease_ref for x in lines} == {r[1].strip() for r in rent_rows(OCTOBER)}
    assert sum(x.rent_due for x in lines) == sum(number(r[6]) for r in rent_rows(OCTOBER))
    assert all(x.tenant == x.tenant.strip() for x in lines)


def test_one_lease_with_two_charges_is_one_receipt(october) -> None:
    loaded, reconciliation = october
    charges = [x for x in loaded.rent_roll.lines if x.lease_ref == "KC-B06"]
    assert [x.charge for x in charges] == ["RENT", "PARKING"]
    (item,) = items(reconciliation, "KC-B06")
    assert (item.category, item.amount) == ("rent_receipt", sum(x.received for x in charges))


def test_credit_notes_reduce_income_and_are_listed(october) -> None:
    loaded, reconciliation = october
    assert findings(reconciliation, "CREDIT_NOTE") == {
        "KC-C03": Decimal("-1250.00"),
        "KC-F10": Decimal("-480.75"),
    }
    (paid,) = items(reconciliation, "KC-C03")
    rent = next(x for x in loaded.rent_roll.lines if x.lease_ref == "KC-C03")
    assert paid.amount == rent.rent_due - Decimal("1250.00")


def test_tenant_in_arrears_has_no_receipt_and_is_listed_by_age(october) -> None:
    loaded, reconciliation = october
    unpaid = next(x for x in loaded.rent_roll.lines if x.lease_ref == "KC-B07")
    assert unpaid.received == 0 and unpaid.arrears["90+"] > 0
    assert items(reconciliation, "KC-B07") == []
    overdue = sum(v for k, v in unpaid.arrears.items() if k != "0-30")
    assert findings(reconciliation, "ARREARS")["KC-B07"] == overdue
    assert findings(reconciliation, "ARREARS_CONTROL") == {}


def test_payment_in_advance_is_a_negative_in_parentheses(roll_text, october) -> None:
    assert '"(2,400.00)"' in roll_text
    assert findings(october[1], "PREPAID") == {"KC-E02": Decimal("-2400.00")}


def test_mis_dated_statement_line_counts_and_is_listed(october) -> None:
    loaded, reconciliation = october
    line = next(x for x in loaded.statement.lines if x.reference == "KC-E08")
    assert line.date == date(2026, 9, 9) and 1 < line.number < len(loaded.statement.lines)
    (item,) = items(reconciliation, "KC-E08")
    assert item.misdated and item.category == "rent_receipt"
    assert findings(reconciliation, "MISDATED")["KC-E08"] == line.amount


def test_mis_dated_ledger_posting_is_matched_and_listed(sheet_rows, october) -> None:
    typed = next(r for r in sheet_rows["Bank 1200"] if r[2] == "INV-7782")
    assert typed[0] == "14/11/2026"
    (item,) = items(october[1], "INV-7782")
    assert item.status == "matched" and item.misdated
    assert "INV-7782" in findings(october[1], "MISDATED")


def test_instalments_under_one_reference_are_added(october) -> None:
    loaded, reconciliation = october
    parts = items(reconciliation, "KC-A12")
    assert [p.category for p in parts] == ["rent_receipt"] * 2
    claimed = sum(x.received for x in loaded.rent_roll.lines if x.lease_ref == "KC-A12")
    assert sum(p.amount for p in parts) == claimed


def test_rent_paid_twice_stays_unallocated_once(october) -> None:
    paid = items(october[1], "KC-C09")
    assert Counter(p.category for p in paid) == {"rent_receipt": 1, "unallocated": 1}
    assert paid[0].amount == paid[1].amount
    assert findings(october[1], "RECEIPT_BEYOND_RENT_ROLL") == {"KC-C09": paid[0].amount}


def test_short_receipt_is_unpaid_rent(october) -> None:
    assert findings(october[1], "SHORT_RECEIPT") == {"KC-D11": Decimal("15.00")}


@pytest.mark.parametrize(
    ("written", "lease"), [("KC A05 OCT RENT", "KC-A05"), ("kc/f02", "KC-F02"), ("RENT KCC11", "KC-C11")]
)
def test_references_match_however_written(october, written, lease) -> None:
    (item,) = items(october[1], written)
    assert item.against == f"rent roll {lease}"


def test_tenant_called_mortgage_is_not_the_mortgage(october) -> None:
    assert "MORTGAGE ADVICE" in next(t for t, _ in bank_lines(OCTOBER) if "KC-F01" in t)
    assert [m.reference for m in october[1].items if m.category == "mortgage"] == ["NGB-004471"]


def test_duplicate_ledger_posting_is_told_from_an_unpresented_one(sheet_rows, october) -> None:
    assert [r[2] for r in sheet_rows["Bank 1200"]].count("INV-4471") == 2
    assert Counter(m.status for m in items(october[1], "INV-4471")) == {"matched": 1, "ledger only": 1}
    assert list(findings(october[1], "DUPLICATE_REFERENCE")) == ["INV-4471"]
    assert list(findings(october[1], "UNPRESENTED")) == ["INV-5561"]


def test_same_amount_under_two_references_is_matched_one_to_one(october) -> None:
    one, other = items(october[1], "INV-9315")[0], items(october[1], "INV-9316")[0]
    assert one.status == other.status == "matched" and one.against != other.against


def test_item_carried_forward_clears_this_month(sheet_rows, october) -> None:
    assert [r[2] for r in sheet_rows["Bank 1200"] if r[1] == "B/F"] == ["INV-5520"]
    (item,) = items(october[1], "INV-5520")
    assert item.status == "matched" and not item.misdated


def test_bank_charges_and_their_refund_are_open_items(october) -> None:
    charges = items(october[1], "CHARGES")
    assert {(c.status, c.amount) for c in charges} == {
        ("statement only", Decimal("-62.40")),
        ("statement only", Decimal("45.00")),
    }


def test_statement_pages_repeat_their_header(october) -> None:
    with pdfplumber.open(OCTOBER / "bank-statement.pdf") as document:
        pages = [page.extract_text() for page in document.pages]
    assert len(pages) == october[0].statement.pages == 4
    assert all("Paid out Paid in Balance" in page for page in pages)
    assert "(45.00)" in pages[-1]
    lines = october[0].statement.lines
    assert [x.amount for x in lines] == [amount for _, amount in bank_lines(OCTOBER)]
    assert any(x.details == "HARCOURT PROPERTY MANAGEMENT NET RENTS BLOCKS G AND H" for x in lines)


def test_trial_balance_cells_as_people_type_them(sheet_rows, october) -> None:
    rows = sheet_rows["Trial Balance"]
    assert any(not any(r) for r in rows[6:-1]), "a blank row"
    cells = {str(r[0]).strip(): r for r in rows if r[0] is not None}
    assert cells["0010"][3] == "48,500,000.00" and cells["0041"][3].startswith("(")
    assert cells["1200"][0] == 1200 and cells["1100"][0] == "1100 " and cells["6050"][1].endswith("  ")
    accounts = {a.code: a for a in october[0].trial_balance.accounts}
    assert accounts["0010"].debit == Decimal("48500000.00")
    assert accounts["0041"].credit > 0 and accounts["0041"].debit == 0
    assert accounts["6050"].name == "Directors' fees" and "1100" in accounts and "1200" in accounts


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("1,234,567.89", "1234567.89"),
        ("(45.00)", "-45.00"),
        (" £ 1,000 ", "1000.00"),
        ("-", "0.00"),
        ("", "0.00"),
        (None, "0.00"),
        ("-12.5", "-12.50"),
        (0.1 + 0.2 - 0.2, "0.10"),
        (1234.56, "1234.56"),
    ],
)
def test_amounts(written, value) -> None:
    from templates.amounts import money

    assert str(money(written, "here")) == value


@pytest.mark.parametrize(
    "written", ["1,23.00", "12,3456", "1.234", "(-5)", "5 OD", "n/a", "1e5", "((5))", 1.234, float("nan")]
)
def test_what_is_not_an_amount_is_refused(written) -> None:
    from ntro.workflow import WorkflowError

    from templates.amounts import money

    with pytest.raises(WorkflowError, match=r"here: .* is not an amount") as refused:
        money(written, "here")
    assert refused.value.non_retryable
