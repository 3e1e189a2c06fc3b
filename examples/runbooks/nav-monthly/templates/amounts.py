"""Text of real files into exact values: amounts, dates, references."""

from __future__ import annotations

import re
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from ntro.workflow import WorkflowError

PENNY = Decimal("0.01")
NOISE = 1e-6
_AMOUNT = re.compile(r"^(?P<neg>-?)(?P<digits>\d{1,3}(,\d{3})+|\d+)(?P<pence>\.\d{1,2})?$")
_DATE_FORMATS = ("%d/%m/%Y", "%d %b %Y", "%d %B %Y", "%Y-%m-%d")


def refuse(message: str) -> WorkflowError:
    """An input that no retry can mend."""
    return WorkflowError(message, type="InvalidInput", non_retryable=True)


def text(value: Any) -> str:
    """A cell's text without outer blanks, inner runs of white space (line breaks too) made one space."""
    return " ".join(str(value if value is not None else "").replace("\u00a0", " ").split())


def money(value: Any, where: str) -> Decimal:
    """Pounds to two places. Empty and `-` are zero; `(1,250.00)` is minus 1250.00; `£` is allowed.

    Spreadsheet numbers are binary floats; the noise that formulas leave in them is rounded away.
    """
    if isinstance(value, float) and abs(value - round(value, 2)) < NOISE:
        return Decimal(str(round(value, 2))).quantize(PENNY)
    raw = text(value).replace("£", "").replace(" ", "")
    if raw in ("", "-"):
        return Decimal("0.00")
    sign = 1
    if raw.startswith("(") and raw.endswith(")"):
        sign, raw = -1, raw[1:-1]
    found = _AMOUNT.match(raw)
    if not found or (sign == -1 and found["neg"]):
        raise refuse(f"{where}: {text(value)!r} is not an amount")
    return (sign * Decimal(raw.replace(",", ""))).quantize(PENNY)


def day(value: Any, where: str) -> date:
    """A calendar date: a spreadsheet date, or text with the day first."""
    if isinstance(value, datetime):
        return value.date()
    if isinstance(value, date):
        return value
    for form in _DATE_FORMATS:
        try:
            return datetime.strptime(text(value), form).date()
        except ValueError:
            continue
    raise refuse(f"{where}: {text(value)!r} is not a date")


def period_of(when: date) -> str:
    """The `YYYY-MM` a date falls in."""
    return f"{when.year:04d}-{when.month:02d}"


def month_period(label: str, where: str) -> str:
    """`October 2026` as `2026-10`."""
    return period_of(day(f"1 {label}", where))


def key(reference: str) -> str:
    """A reference for comparing: letters and digits only, upper case."""
    return re.sub(r"[^A-Z0-9]", "", reference.upper())
