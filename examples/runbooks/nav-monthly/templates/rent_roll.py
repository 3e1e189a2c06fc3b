"""Reads the managing agent's rent roll (.csv)."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from decimal import Decimal

from .amounts import day, key, money, month_period, refuse, text
from .models import RentLine, RentRoll

HEADER = ["Unit", "Lease Ref", "Tenant", "Charge", "Collected By", "Due Date", "Rent Due", "Received"]
AGES = ["0-30", "31-60", "61-90", "90+"]
WIDTH = len(HEADER) + len(AGES)

Row = tuple[int, list[str]]


def read_rent_roll(content: bytes) -> RentRoll:
    """The rent roll of one month; its Total row and the agent's net remittance must agree with the rows."""
    # utf-8-sig: exports from spreadsheets begin with a byte order mark.
    reader = csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""))
    rows = iter([(n, [text(c) for c in row]) for n, row in enumerate(reader, start=1) if any(map(text, row))])
    period = _heading(rows)
    lines = _lines(rows)
    roll = RentRoll(period=period, lines=lines)
    _agent_statement(rows, roll)
    return roll


def _heading(rows: Iterator[Row]) -> str:
    """The period named above the column header; leaves the iterator below it."""
    period = ""
    for number, cells in rows:
        if found := re.match(r"Period: (.+)$", cells[0]):
            period = month_period(found[1], f"rent roll row {number}")
        if cells[: len(HEADER)] == HEADER:
            if not period:
                raise refuse("rent roll: no 'Period:' above the header row")
            return period
    raise refuse("rent roll: no header row")


def _lines(rows: Iterator[Row]) -> list[RentLine]:
    """Charges down to the Total row, which must agree column by column."""
    lines: list[RentLine] = []
    for number, cells in rows:
        where = f"rent roll row {number}"
        cells = cells + [""] * (WIDTH - len(cells))
        amounts = [money(c, where) for c in cells[6:WIDTH]]
        if cells[0].lower() == "total":
            columns = [[x.rent_due for x in lines], [x.received for x in lines]]
            columns += [[x.arrears[age] for x in lines] for age in AGES]
            if amounts != [sum(column, Decimal("0.00")) for column in columns]:
                raise refuse(f"{where}: printed totals differ from the sum of the rows")
            return lines
        if cells[3].upper() not in ("RENT", "PARKING", "CREDIT NOTE"):
            raise refuse(f"{where}: unknown charge {cells[3]!r}")
        if cells[4].upper() not in ("DIRECT", "AGENT"):
            raise refuse(f"{where}: unknown collector {cells[4]!r}")
        lines.append(
            RentLine(
                row=number,
                unit=cells[0],
                lease_ref=cells[1],
                tenant=cells[2],
                charge=cells[3].upper(),
                collected_by=cells[4].upper(),
                due_date=day(cells[5], where),
                rent_due=amounts[0],
                received=amounts[1],
                arrears=dict(zip(AGES, amounts[2:], strict=True)),
            )
        )
    raise refuse("rent roll: no Total row")


def _agent_statement(rows: Iterator[Row], roll: RentRoll) -> None:
    """The block under the total: what the agent collected, kept back and paid over."""
    for number, cells in rows:
        where = f"rent roll row {number}"
        amount = money(cells[7], where) if len(cells) > 7 else Decimal("0.00")
        match key(cells[0]):
            case "MANAGEMENTFEEDEDUCTED":
                roll.agent_fee = abs(amount)
            case "REPAIRSANDMAINTENANCEPAID":
                roll.agent_repairs = abs(amount)
            case "NETREMITTANCE":
                roll.remittance, roll.remittance_ref = amount, cells[1]
    collected = sum((x.received for x in roll.lines if x.collected_by == "AGENT"), Decimal("0.00"))
    if collected - roll.agent_fee - roll.agent_repairs != roll.remittance:
        raise refuse("rent roll: net remittance differs from collections less deductions")
