"""Reads the bank statement (.pdf): a ruled table on every page, header and balances repeated."""

from __future__ import annotations

import re
from decimal import Decimal

from ntro.capabilities import files

from .amounts import day, money, refuse, text
from .models import BankLine, BankStatement

HEADER = ["Date", "Type", "Reference", "Details", "Paid out", "Paid in", "Balance"]


async def read_bank_statement(content: bytes) -> BankStatement:
    """The statement's lines. Every printed balance and the printed totals must follow from the lines, so a
    line lost at a page break cannot go unnoticed."""
    grid = await files.parse(content=content, format="pdf")
    found = re.search(r"Statement period: (\d+ \w+ \d{4}) to (\d+ \w+ \d{4})", grid.plain_text)
    account = re.search(r"Account number: (\S+)", grid.plain_text)
    if not found or not account:
        raise refuse("bank statement: no account number or statement period in the heading")
    opening, lines, totals = _table(grid.cells)
    paid_out = -sum((x.amount for x in lines if x.amount < 0), Decimal("0.00"))
    paid_in = sum((x.amount for x in lines if x.amount > 0), Decimal("0.00"))
    closing = lines[-1].balance if lines else opening
    # Refunds are printed as negative payments, so only the difference of the totals is comparable.
    if totals is None or totals[1] - totals[0] != paid_in - paid_out or totals[2] != closing:
        raise refuse("bank statement: printed totals differ from the lines")
    return BankStatement(
        account=account[1],
        start=day(found[1], "bank statement period"),
        end=day(found[2], "bank statement period"),
        pages=int(grid.metadata["page_count"]),
        opening=opening,
        closing=closing,
        lines=lines,
    )


def _table(
    cells: list[list[str]],
) -> tuple[Decimal, list[BankLine], tuple[Decimal, Decimal, Decimal] | None]:
    """Opening balance, lines in the bank's order, and the totals (paid out, paid in, closing balance)."""
    opening: Decimal | None = None
    balance = Decimal("0.00")
    lines: list[BankLine] = []
    totals = None
    for number, row in enumerate(cells, start=1):
        where = f"bank statement table row {number}"
        row = [text(c) for c in row]
        if row == HEADER or not any(row):
            continue
        if len(row) != len(HEADER):
            raise refuse(f"{where}: {len(row)} columns instead of {len(HEADER)}")
        paid_out, paid_in, printed = (money(c, where) for c in row[4:])
        label = row[3].lower()
        if label == "totals":
            totals = (paid_out, paid_in, printed)
        elif label.startswith("balance brought forward") and opening is None:
            opening = balance = printed
        elif label.startswith(("balance brought forward", "balance carried forward")):
            if printed != balance:
                raise refuse(f"{where}: balance carried over a page does not follow from the lines")
        else:
            balance += paid_in - paid_out
            if opening is None or printed != balance:
                raise refuse(f"{where}: balance does not follow from the line before")
            lines.append(
                BankLine(
                    number=len(lines) + 1,
                    date=day(row[0], where),
                    type=row[1],
                    reference=row[2],
                    details=row[3],
                    amount=paid_in - paid_out,
                    balance=printed,
                )
            )
    if opening is None:
        raise refuse("bank statement: no opening balance")
    return opening, lines, totals
