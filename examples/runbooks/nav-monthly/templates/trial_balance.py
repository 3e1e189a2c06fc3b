"""Reads the trial balance workbook: a sheet of accounts and the bank ledger of the month."""

from __future__ import annotations

import io
import re
from decimal import Decimal
from typing import Any

from openpyxl import load_workbook

from .amounts import day, key, money, period_of, refuse, text
from .models import Account, LedgerLine, TrialBalanceFile

TB_HEADER = ("Account Code", "Account", "Account Type", "Debit", "Credit")
LEDGER_HEADER = ("Date", "Source", "Reference", "Details", "Debit", "Credit")

Row = tuple[int, list[Any]]


def read_trial_balance(content: bytes) -> TrialBalanceFile:
    """The workbook's accounts and bank ledger; its printed totals must agree with its rows."""
    book = load_workbook(io.BytesIO(content), data_only=True, read_only=True)
    try:
        accounts_rows = _rows(book, "Trial Balance")
        ledger_rows = _rows(book, "Bank 1200")
    finally:
        book.close()

    title = text(accounts_rows[0][1][0]) if accounts_rows else ""
    as_at = None
    for _, cells in accounts_rows:
        if found := re.match(r"As at (.+)$", text(cells[0])):
            as_at = day(found[1], "trial balance heading")
            break
    if as_at is None:
        raise refuse("trial balance: no 'As at' date in the heading")
    opening, ledger, closing = _ledger(_below(ledger_rows, LEDGER_HEADER, "bank ledger"))
    return TrialBalanceFile(
        entity_name=title,
        as_at=as_at,
        period=period_of(as_at),
        accounts=_accounts(_below(accounts_rows, TB_HEADER, "trial balance")),
        ledger_opening=opening,
        ledger_closing=closing,
        ledger=ledger,
    )


def _rows(book: Any, sheet: str) -> list[Row]:
    """Rows with any content, with their number in the sheet."""
    if sheet not in book.sheetnames:
        raise refuse(f"trial balance workbook: no sheet {sheet!r}")
    rows = enumerate(book[sheet].iter_rows(values_only=True), start=1)
    return [(number, list(cells)) for number, cells in rows if any(text(c) for c in cells)]


def _below(rows: list[Row], header: tuple[str, ...], what: str) -> list[Row]:
    for index, (_, cells) in enumerate(rows):
        if tuple(text(c) for c in cells[: len(header)]) == header:
            return rows[index + 1 :]
    raise refuse(f"{what}: no header row {', '.join(header)}")


def _accounts(rows: list[Row]) -> list[Account]:
    """Accounts with balances on their proper side. Section headings have no code and are passed over."""
    accounts: dict[str, Account] = {}
    debit_sum = credit_sum = Decimal("0.00")
    for number, cells in rows:
        where = f"trial balance row {number}"
        code = text(cells[0])
        if not re.match(r"^\d+$", code):
            if code.lower() == "total":
                printed = money(cells[3], where), money(cells[4], where)
                if printed != (debit_sum, credit_sum):
                    raise refuse(f"{where}: printed totals differ from the sum of the rows")
                return list(accounts.values())
            continue
        if code in accounts:
            raise refuse(f"{where}: account {code} appears twice")
        debit, credit = money(cells[3], where), money(cells[4], where)
        debit_sum, credit_sum = debit_sum + debit, credit_sum + credit
        net = debit - credit
        accounts[code] = Account(
            code=code,
            name=text(cells[1]),
            type=text(cells[2]),
            debit=max(net, Decimal("0.00")),
            credit=max(-net, Decimal("0.00")),
        )
    raise refuse("trial balance: no Total row")


def _ledger(rows: list[Row]) -> tuple[Decimal, list[LedgerLine], Decimal]:
    """Opening balance, lines, closing balance. `B/F` items are not part of the month's movement."""
    opening: Decimal | None = None
    balance = Decimal("0.00")
    lines: list[LedgerLine] = []
    for number, cells in rows:
        where = f"bank ledger row {number}"
        label = key(text(cells[0]))
        amount = money(cells[4], where) - money(cells[5], where)
        if label == "OPENINGBALANCE":
            opening = balance = amount
        elif label == "CLOSINGBALANCE":
            if opening is None or balance != amount:
                raise refuse(f"{where}: closing balance differs from opening balance and movements")
            return opening, lines, amount
        else:
            line = LedgerLine(
                row=number,
                date=day(cells[0], where),
                source=text(cells[1]),
                reference=text(cells[2]),
                details=text(cells[3]),
                amount=amount,
            )
            lines.append(line)
            if line.source != "B/F":
                balance += amount
    raise refuse("bank ledger: no closing balance row")
