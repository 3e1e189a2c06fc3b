"""Writes the sample files of every month: `python tools/generate.py [directory]` (default: `data/`).

The same bytes every time: nothing depends on the clock, on chance or on the compression library.
"""

from __future__ import annotations

import csv
import io
import re
import sys
import zipfile
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from openpyxl import Workbook
from openpyxl.styles import Font
from openpyxl.worksheet.worksheet import Worksheet
from reportlab.lib import colors
from reportlab.lib.pagesizes import A4
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import Table, TableStyle

from estate import CHART, COMPANY
from months import Month, RollRow, Txn, months

ROLL = ["Unit", "Lease Ref", "Tenant", "Charge", "Collected By", "Due Date", "Rent Due", "Received"]
AGES = ["0-30 Days", "31-60 Days", "61-90 Days", "90+ Days"]
ROWS_PER_PAGE = 32


def pounds(pence: int) -> str:
    """`1,250.00`; negative as `(1,250.00)`."""
    plain = f"{abs(pence) // 100:,}.{abs(pence) % 100:02d}"
    return f"({plain})" if pence < 0 else plain


def exact(pence: int) -> Decimal:
    return Decimal(pence) / 100


# ── rent roll ──


def rent_roll(month: Month) -> bytes:
    """Comma separated, with a byte order mark, a heading, blank rows, totals and the agent's statement."""
    out = io.StringIO(newline="")
    write = csv.writer(out, lineterminator="\r\n").writerow
    write([f"{COMPANY} - rent roll"])
    write([f"Period: {month.last_day:%B %Y}"])
    write(["Prepared by Harcourt Property Management LLP. Rents are exempt from VAT."])
    write([])
    write([*ROLL, *AGES])
    for index, row in enumerate(month.roll):
        if index == 52:
            write([""] * 12)
        write(_roll_cells(index, row, month))
    sums = [sum(r.due for r in month.roll), sum(r.received for r in month.roll)]
    sums += [sum(r.arrears[i] for r in month.roll) for i in range(4)]
    write(["Total", "", "", "", "", "", *map(pounds, sums)])
    write([])
    collected = sum(r.received for r in month.roll if r.lease.agent)
    reference = f"HPM-REMIT-{month.period.replace('-', '')}"
    for label, ref, amount in [
        ("Collected by agent", "", collected),
        ("Management fee deducted", "", -month.agent_fee),
        ("Repairs and maintenance paid", "", -month.agent_repairs),
        ("Net remittance", reference, month.remittance),
    ]:
        write([label, ref, "", "", "", "", "", pounds(amount)])
    return out.getvalue().encode("utf-8-sig")


def _roll_cells(index: int, row: RollRow, month: Month) -> list[str]:
    year, number = month.year_month
    due = pounds(row.due)
    tenant, ref = row.lease.tenant, row.lease.ref
    if index == 7:
        tenant, ref = f"{tenant}  ", f" {ref} "
    if index == 20:
        due = f"£{due}"
    return [
        row.lease.unit, ref, tenant, row.charge, "AGENT" if row.lease.agent else "DIRECT",
        f"{date(year, number, 1):%d/%m/%Y}", due, pounds(row.received),
        *("-" if a == 0 and index % 3 == 0 else pounds(a) for a in row.arrears),
    ]  # fmt: skip


# ── trial balance ──


def trial_balance(month: Month) -> bytes:
    """A workbook with the accounts, and the bank ledger on a second sheet."""
    book = Workbook()
    sheet = book.active
    sheet.title = "Trial Balance"
    sheet.append([COMPANY])
    sheet.append(["Trial Balance"])
    sheet.append([f"As at {month.last_day.day} {month.last_day:%B %Y}"])
    sheet.append([])
    sheet.append(["Account Code", "Account", "Account Type", "Debit", "Credit"])
    debits, credits, section = 0, 0, ""
    for code, name, kind, _ in CHART:
        balance = month.balances[code]
        if kind != section:
            if section == "Fixed Asset":
                sheet.append([])
            section = kind
            sheet.append([None, kind])
        cells, debit, credit = _account_cells(code, name, kind, balance)
        debits, credits = debits + debit, credits + credit
        sheet.append(cells)
    sheet.append(["Total", None, None, exact(debits), exact(credits)])
    sheet["A1"].font = Font(bold=True)
    _bank_ledger(book.create_sheet("Bank 1200"), month)
    return _reproducible(book)


def _account_cells(code: str, name: str, kind: str, balance: int) -> tuple[list[object], int, int]:
    """A row, and what it adds to the two printed totals. Some cells are typed as people type them."""
    debit, credit = max(balance, 0), max(-balance, 0)
    if code in ("0041", "0051"):  # depreciation as a negative debit
        return [code, name, kind, pounds(balance), None], balance, 0
    number: object = int(code) if code in ("1200", "4000") else code
    if code in ("1100", "2310", "6050"):
        number, name = f"{code} ", f"{name}  "
    if code in ("0010", "2300", "3010"):  # text with thousands separators
        left, right = (pounds(v) if v else None for v in (debit, credit))
    else:
        left, right = (exact(v) if v else None for v in (debit, credit))
    return [number, name, kind, left, right], debit, credit


def _bank_ledger(sheet: Worksheet, month: Month) -> None:
    sheet.append([COMPANY])
    sheet.append(["Account transactions - 1200 Bank - current account"])
    sheet.append([])
    sheet.append(["Date", "Source", "Reference", "Details", "Debit", "Credit"])
    for txn in month.carried:
        sheet.append(_ledger_cells(txn, "B/F"))
    sheet.append(["Opening balance", None, None, None, exact(month.ledger_opening), None])
    for txn in month.ledger:
        sheet.append(_ledger_cells(txn, "PAY" if txn.amount < 0 else "REC"))
    closing = month.ledger_opening + sum(t.amount for t in month.ledger)
    sheet.append(["Closing balance", None, None, None, exact(closing), None])


def _ledger_cells(txn: Txn, source: str) -> list[object]:
    day: object = datetime(txn.day.year, txn.day.month, txn.day.day)
    if txn.ref in ("INV-7782", "INV-661"):  # typed as text
        day = f"{txn.day:%d/%m/%Y}"
    amount = exact(abs(txn.amount))
    sides = (amount, None) if txn.amount > 0 else (None, amount)
    return [day, source, txn.ref, txn.details.title(), *sides]


def _reproducible(book: Workbook) -> bytes:
    """Fixed member times and document dates, nothing compressed."""
    raw, out = io.BytesIO(), io.BytesIO()
    book.save(raw)
    with zipfile.ZipFile(raw) as source, zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as target:
        for name in source.namelist():
            content = source.read(name)
            if name == "docProps/core.xml":
                content = re.sub(rb"\d{4}-\d\d-\d\dT[\d:]+Z", b"2000-01-01T00:00:00Z", content)
            target.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), content)
    return out.getvalue()


# ── bank statement ──


def bank_statement(month: Month) -> bytes:
    """Pages with a repeated header, balances carried over, and totals on the last."""
    balance = month.statement_opening
    rows: list[list[str]] = []
    paid_out = paid_in = 0
    for txn in month.statement:
        balance += txn.amount
        out, into = (0, txn.amount) if txn.amount > 0 else (-txn.amount, 0)
        if txn.details.startswith("REFUND"):  # a refund is a negative payment
            out, into = -txn.amount, 0
        paid_out, paid_in = paid_out + out, paid_in + into
        rows.append(
            [f"{txn.day:%d %b %Y}", txn.kind, txn.ref, _wrapped(txn.details),
             pounds(out) if out else "", pounds(into) if into else "", pounds(balance)]
        )  # fmt: skip
    pages = [rows[i : i + ROWS_PER_PAGE] for i in range(0, len(rows), ROWS_PER_PAGE)]
    output = io.BytesIO()
    canvas = Canvas(output, pagesize=A4, invariant=1, pageCompression=0)
    canvas.setTitle(f"Statement {month.period}")
    before = pounds(month.statement_opening)
    for number, page in enumerate(pages, start=1):
        body = [["Date", "Type", "Reference", "Details", "Paid out", "Paid in", "Balance"]]
        body.append(["", "", "", "Balance brought forward", "", "", before])
        body += page
        before = page[-1][6]
        if number < len(pages):
            body.append(["", "", "", "Balance carried forward", "", "", before])
        else:
            body.append(["", "", "", "Totals", pounds(paid_out), pounds(paid_in), before])
        _page(canvas, month, number, len(pages), body)
    canvas.save()
    return output.getvalue()


def _wrapped(details: str) -> str:
    """Long details go on over two lines of the cell."""
    if len(details) <= 34:
        return details
    cut = details.rfind(" ", 0, 34)
    return f"{details[:cut]}\n{details[cut + 1 :]}"


def _page(canvas: Canvas, month: Month, number: int, pages: int, body: list[list[str]]) -> None:
    width, height = A4
    year, m = month.year_month
    canvas.setFont("Helvetica-Bold", 13)
    canvas.drawString(40, height - 45, "Northgate Bank plc")
    canvas.setFont("Helvetica", 9)
    canvas.drawString(40, height - 62, COMPANY)
    canvas.drawString(40, height - 75, "Account number: 40718823  Sort code: 20-44-71")
    first, last = date(year, m, 1), month.last_day
    canvas.drawString(
        40, height - 88,
        f"Statement period: {first.day} {first:%B %Y} to {last.day} {last:%B %Y}",
    )  # fmt: skip
    canvas.drawRightString(width - 40, height - 45, f"Page {number} of {pages}")
    table = Table(body, colWidths=[56, 32, 92, 168, 56, 56, 62])
    table.setStyle(
        TableStyle(
            [
                ("FONT", (0, 0), (-1, -1), "Helvetica", 7),
                ("FONT", (0, 0), (-1, 0), "Helvetica-Bold", 7),
                ("GRID", (0, 0), (-1, -1), 0.4, colors.grey),
                ("ALIGN", (4, 0), (-1, -1), "RIGHT"),
                ("VALIGN", (0, 0), (-1, -1), "TOP"),
            ]
        )
    )
    _, used = table.wrapOn(canvas, width, height)
    table.drawOn(canvas, 36, height - 105 - used)
    canvas.showPage()


def files(month: Month) -> dict[str, bytes]:
    """The month's input files by name."""
    return {
        "trial-balance.xlsx": trial_balance(month),
        "rent-roll.csv": rent_roll(month),
        "bank-statement.pdf": bank_statement(month),
    }


def main(target: Path) -> None:
    for month in months():
        folder = target / month.period
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files(month).items():
            (folder / name).write_bytes(content)
            print(f"{folder / name}: {len(content)} bytes")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent.parent / "data")
