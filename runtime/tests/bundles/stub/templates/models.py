from datetime import date
from decimal import Decimal

from pydantic import BaseModel


class Line(BaseModel):
    account: str
    amount: Decimal
    on: date


class Batch(BaseModel):
    lines: list[Line]
    total: Decimal = Decimal("0")
