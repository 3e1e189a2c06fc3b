"""The NAV pack: a workbook for people and a summary for machines, the same bytes for the same figures."""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Iterable, Sequence
from datetime import date
from decimal import Decimal
from typing import Any

from openpyxl import Workbook
from openpyxl.styles import Alignment, Font, PatternFill
from openpyxl.utils import get_column_letter

from .models import PackRequest
from .nav import AdjustedAccount, NetAssets, adjusted, net_assets

NUMBER = "#,##0.00;(#,##0.00)"
_RECONCILIATION = ("status", "category", "date", "reference", "details", "amount", "against")
_STAMP = (1980, 1, 1, 0, 0, 0)
_CORE_DATES = re.compile(rb"(<dcterms:(created|modified)[^>]*>)[^<]*")


def figures(request: PackRequest) -> tuple[list[AdjustedAccount], NetAssets]:
    """The closing trial balance and net assets the pack reports."""
    accounts = adjusted(request.inputs.trial_balance.accounts, request.review.journal.lines)
    return accounts, net_assets(accounts, request.inputs.opened.config.units_in_issue)


def workbook(request: PackRequest) -> bytes:
    """Sheets NAV, Journal, Trial balance, Reconciliation, Exceptions."""
    accounts, nav = figures(request)
    names = {a.code: a.name for a in accounts}
    book = Workbook()
    book.remove(book.active)
    _sheet(book, "NAV", ["", "Amount"], _nav_rows(request, nav))
    _sheet(
        book,
        "Journal",
        ["Line", "Account", "Name", "Description", "Debit", "Credit", "Tax code"],
        [
            [n, x.account_code, names[x.account_code], x.description, x.debit, x.credit, x.tax_code or ""]
            for n, x in enumerate(request.review.journal.lines, start=1)
        ],
        totals=(4, 5),
    )
    _sheet(
        book,
        "Trial balance",
        ["Account", "Name", "Type", "Before", "Journal", "After"],
        [[a.code, a.name, a.type, a.before, a.movement, a.after] for a in accounts],
        totals=(3, 4, 5),
    )
    _sheet(
        book,
        "Reconciliation",
        ["Status", "Category", "Date", "Reference", "Details", "Amount", "Against", "Mis-dated"],
        [
            [*(getattr(m, name) for name in _RECONCILIATION), "yes" if m.misdated else ""]
            for m in request.reconciliation.items
        ],
    )
    _sheet(
        book,
        "Exceptions",
        ["Severity", "Code", "Source", "Reference", "Amount", "Detail"],
        [[f.severity, f.code, f.source, f.reference, f.amount, f.detail] for f in request.review.exceptions],
    )
    return save(book)


def summary(request: PackRequest) -> bytes:
    """The figures as JSON; amounts are text."""
    _, nav = figures(request)
    opened = request.inputs.opened
    counts: dict[str, int] = {}
    for finding in request.review.exceptions:
        counts[finding.code] = counts.get(finding.code, 0) + 1
    document = {
        "entity": opened.entity_slug,
        "entity_name": request.inputs.trial_balance.entity_name,
        "period": opened.period,
        "status": "approved",
        "net_assets": nav.model_dump(mode="json"),
        "journal": request.review.totals
        | {"lines": len(request.review.journal.lines)}
        | {"by_account": _by_account(request)},
        "review": {
            "rounds": request.rounds,
            "corrections": request.corrections,
            "comments": request.comments,
        },
        "reconciliation": {
            "matched": sum(m.status == "matched" for m in request.reconciliation.items),
            "open": len(request.reconciliation.open_items()),
            "misdated": sum(m.misdated for m in request.reconciliation.items),
        },
        "exceptions": counts,
    }
    return (json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()


def _by_account(request: PackRequest) -> dict[str, str]:
    totals: dict[str, Decimal] = {}
    for line in request.review.journal.lines:
        totals[line.account_code] = totals.get(line.account_code, Decimal("0.00")) + line.debit - line.credit
    return {code: f"{amount:.2f}" for code, amount in totals.items()}


def _nav_rows(request: PackRequest, nav: NetAssets) -> list[list[Any]]:
    opened, totals = request.inputs.opened, request.review.totals
    return [
        ["Entity", opened.entity_slug],
        ["Company", request.inputs.trial_balance.entity_name],
        ["Period", opened.period],
        ["Total assets", nav.assets],
        ["Total liabilities", nav.liabilities],
        ["Net asset value", nav.nav],
        ["Share capital and reserves", nav.equity],
        ["Result for the year to date", nav.result],
        ["Units in issue", nav.units_in_issue],
        ["Net asset value per unit", nav.nav_per_unit],
        ["Bank per ledger after journal", Decimal(totals["bank_per_ledger"])],
        ["Less: in ledger only", -Decimal(totals["ledger_only"])],
        ["Add: on statement only", Decimal(totals["statement_only"])],
        ["Bank per statement", Decimal(totals["bank_per_statement"])],
        ["Unexplained difference", Decimal(totals["bank_difference"])],
    ]


def _sheet(
    book: Workbook, title: str, header: list[str], rows: Iterable[Sequence[Any]], totals: tuple[int, ...] = ()
) -> None:
    """One sheet with a header row and, for the columns in `totals`, a sum below."""
    sheet = book.create_sheet(title)
    sheet.append(header)
    body = [list(row) for row in rows]
    for row in body:
        sheet.append([_literal(cell) for cell in row])
    if totals:
        sheet.append(
            [
                "Total" if i == 0 else sum((row[i] for row in body), Decimal("0.00")) if i in totals else None
                for i in range(len(header))
            ]
        )
    for cell in sheet[1]:
        cell.font = Font(bold=True, color="FFFFFF")
        cell.fill = PatternFill("solid", start_color="1F3864", end_color="1F3864")
        cell.alignment = Alignment(horizontal="center")
    for row in sheet.iter_rows(min_row=2):
        for cell in row:
            if isinstance(cell.value, Decimal):
                cell.number_format = "0.0000" if cell.value.as_tuple().exponent == -4 else NUMBER
            elif isinstance(cell.value, date):
                cell.number_format = "dd mmm yyyy"
    for index in range(1, len(header) + 1):
        longest = max(len(str(cell.value or "")) for cell in next(sheet.iter_cols(index, index)))
        sheet.column_dimensions[get_column_letter(index)].width = min(longest + 3, 48)
    sheet.freeze_panes = "A2"


def _literal(value: Any) -> Any:
    """Text of outside files is never a formula."""
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@")) else value


def save(book: Workbook) -> bytes:
    """The workbook without the time of saving: fixed zip times, stored members, fixed document dates."""
    raw, out = io.BytesIO(), io.BytesIO()
    book.save(raw)
    with zipfile.ZipFile(raw) as source, zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as target:
        for name in source.namelist():
            content = source.read(name)
            if name == "docProps/core.xml":
                content = _CORE_DATES.sub(rb"\g<1>2000-01-01T00:00:00Z", content)
            target.writestr(zipfile.ZipInfo(name, _STAMP), content)
    return out.getvalue()
