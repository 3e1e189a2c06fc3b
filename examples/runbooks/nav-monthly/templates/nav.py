"""Closing trial balance after the journal, and net asset value."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import ROUND_HALF_UP, Decimal

from ntro.accounting.models import JournalLine
from pydantic import BaseModel

from .amounts import refuse
from .models import ZERO, Account

UNIT_PLACES = Decimal("0.0001")
ASSETS = ("Fixed Asset", "Current Asset", "Bank")
LIABILITIES = ("Current Liability", "Long Term Liability")
RESULT = ("Revenue", "Direct Cost", "Overhead", "Finance Cost", "Tax")
EQUITY = ("Equity",)


class AdjustedAccount(BaseModel):
    """An account before and after the journal; signed amounts are positive for a debit."""

    code: str
    name: str
    type: str
    before: Decimal
    movement: Decimal

    @property
    def after(self) -> Decimal:
        return self.before + self.movement


class NetAssets(BaseModel):
    """`nav = assets - liabilities = equity + result`, all positive in the usual case."""

    assets: Decimal
    liabilities: Decimal
    equity: Decimal
    result: Decimal
    nav: Decimal
    nav_per_unit: Decimal
    units_in_issue: int


def adjusted(accounts: Sequence[Account], lines: Sequence[JournalLine]) -> list[AdjustedAccount]:
    """Every account of the trial balance with the journal posted to it."""
    movement = dict.fromkeys((a.code for a in accounts), ZERO)
    for line in lines:
        movement[line.account_code] += line.debit - line.credit
    return [
        AdjustedAccount(
            code=a.code, name=a.name, type=a.type, before=a.debit - a.credit, movement=movement[a.code]
        )
        for a in accounts
    ]


def net_assets(accounts: Sequence[AdjustedAccount], units_in_issue: int) -> NetAssets:
    """Net asset value, proved from both sides of the balance sheet."""
    unknown = sorted({a.type for a in accounts} - {*ASSETS, *LIABILITIES, *RESULT, *EQUITY})
    if unknown:
        raise refuse(f"trial balance: unknown account type {', '.join(unknown)}")

    def total(types: tuple[str, ...]) -> Decimal:
        return sum((a.after for a in accounts if a.type in types), ZERO)

    assets, liabilities = total(ASSETS), -total(LIABILITIES)
    equity, result = -total(EQUITY), -total(RESULT)
    nav = assets - liabilities
    if nav != equity + result:
        raise refuse(f"net assets {nav} differ from equity and result {equity + result}")
    return NetAssets(
        assets=assets,
        liabilities=liabilities,
        equity=equity,
        result=result,
        nav=nav,
        nav_per_unit=(nav / units_in_issue).quantize(UNIT_PLACES, ROUND_HALF_UP),
        units_in_issue=units_in_issue,
    )
