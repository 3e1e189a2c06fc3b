"""The month's figures worked out a second time, by other means and without the runbook's code.

Bank amounts are differences of printed balances; text is taken from the page, not from its table.
"""

from __future__ import annotations

import csv
import re
from decimal import ROUND_HALF_EVEN, ROUND_HALF_UP, Decimal
from pathlib import Path

import openpyxl
import pdfplumber

MONEY = r"\(?[\d,]+\.\d\d\)?"


def number(cell: object) -> Decimal:
    written = str(cell or "0").strip().lstrip("£").replace(",", "")
    if written == "-":
        return Decimal(0)
    return -Decimal(written[1:-1]) if written.startswith("(") else Decimal(written)


def squeeze(written: str) -> str:
    return "".join(c for c in written.upper() if c.isalnum())


def pence(amount: Decimal, rounding: str = ROUND_HALF_EVEN) -> Decimal:
    return amount.quantize(Decimal("0.01"), rounding)


def rent_rows(folder: Path) -> list[list[str]]:
    with (folder / "rent-roll.csv").open(encoding="utf-8-sig", newline="") as file:
        return [row for row in csv.reader(file) if len(row) == 12 and row[0].startswith("Unit ")]


def agent_statement(folder: Path) -> dict[str, Decimal]:
    with (folder / "rent-roll.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.reader(file))
    return {row[0]: number(row[7]) for row in rows if len(row) == 8}


def bank_lines(folder: Path) -> list[tuple[str, Decimal]]:
    """(printed text, amount) of every line, from balance to balance."""
    found: list[tuple[str, Decimal]] = []
    balance = None
    with pdfplumber.open(folder / "bank-statement.pdf") as document:
        written = "\n".join(page.extract_text() for page in document.pages)
    for line in written.splitlines():
        if opening := re.match(rf"Balance brought forward ({MONEY})$", line):
            balance = balance if balance is not None else number(opening[1])
        elif re.match(r"\d\d \w{3} \d{4} ", line) and (end := re.search(rf"({MONEY})$", line)):
            assert balance is not None
            found.append((line, number(end[1]) - balance))
            balance = number(end[1])
        elif found:  # the rest of a wrapped cell
            found[-1] = (f"{found[-1][0]} {line}", found[-1][1])
    return found


def balances(folder: Path) -> dict[str, tuple[str, Decimal]]:
    """Account code to (type, signed balance), debit positive."""
    book = openpyxl.load_workbook(folder / "trial-balance.xlsx", data_only=True)
    rows = book["Trial Balance"].iter_rows(min_row=6, values_only=True)
    return {
        str(code).strip(): (kind, number(debit) - number(credit))
        for code, _, kind, debit, credit in rows
        if code is not None and str(code).strip() != "Total"
    }


def work_out(
    folder: Path,
    *,
    fee_rate: str = "0.05",
    bad_debt_rate: str = "0.02",
    interest: str = "98437.50",
    principal: str = "44062.50",
    units: int = 5_000_000,
) -> dict[str, object]:
    rows = rent_rows(folder)
    gross = sum(number(r[6]) for r in rows)
    overdue = sum(number(c) for r in rows for c in r[9:12])
    agent = agent_statement(folder)
    fee, repairs = -agent["Management fee deducted"], -agent["Repairs and maintenance paid"]

    claimed: dict[str, Decimal] = {}
    for r in rows:
        if r[4] == "DIRECT":
            lease = squeeze(r[1])
            claimed[lease] = claimed.get(lease, Decimal(0)) + number(r[7])
    left = dict(claimed)
    cash = agent["Net remittance"]
    paid_to_lender = Decimal(0)
    for written, amount in bank_lines(folder):
        tenants = [lease for lease in claimed if lease in squeeze(written)]
        if amount > 0 and tenants and amount <= left[tenants[0]]:
            left[tenants[0]] -= amount
            cash += amount
        if amount < 0 and "MORTGAGE" in written:
            paid_to_lender -= amount

    share = Decimal(interest) / (Decimal(interest) + Decimal(principal))
    loan_interest = pence(paid_to_lender * share)
    accrual, provision = pence(gross * Decimal(fee_rate)), pence(overdue * Decimal(bad_debt_rate))
    journal = {
        "1200": cash - paid_to_lender,
        "1100": gross - cash - fee - repairs,
        "5000": fee,
        "5010": repairs,
        "4000": -gross,
        "5005": accrual,
        "2115": -accrual,
        "6060": provision,
        "1101": -provision,
        "6100": loan_interest,
        "2300": paid_to_lender - loan_interest,
    }
    after = {c: (k, b + journal.get(c, Decimal(0))) for c, (k, b) in balances(folder).items()}
    nav = sum(b for k, b in after.values() if k.endswith(("Asset", "Liability")) or k == "Bank")
    return {
        "journal": {code: amount for code, amount in journal.items() if amount},
        "after": {code: balance for code, (_, balance) in after.items()},
        "nav": nav,
        "nav_per_unit": (nav / units).quantize(Decimal("0.0001"), ROUND_HALF_UP),
    }
