"""Each activity leaves one line in the file named by STUB_EFFECTS when it has its effect."""

import asyncio
import os
from datetime import date
from decimal import Decimal

from ntro.capabilities import storage
from ntro.workflow import activity

from .models import Batch, Line


def effect(name):
    fd = os.open(os.environ["STUB_EFFECTS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(fd, f"{name} {activity.info().idempotency_key}\n".encode())
    os.close(fd)


@activity.defn(name="stub.read")
async def read(source: str, count: int) -> Batch:
    effect(f"read-{source}")
    await asyncio.sleep(0)
    return Batch(lines=[Line(account=f"{source}{i}", amount=Decimal("1.10") * i, on=date(2026, 10, 31)) for i in range(count)])


@activity.defn(name="stub.sum")
def total(batches: list[Batch]) -> Batch:
    effect("sum")
    lines = [line for batch in batches for line in batch.lines]
    return Batch(lines=lines, total=sum((line.amount for line in lines), Decimal("0")))


@activity.defn(name="stub.post")
async def post(batch: Batch) -> str:
    effect("post")
    await storage.write(path="posted.json", content=batch.model_dump_json().encode(), content_type="application/json")
    return "posted"


@activity.defn(name="stub.slow")
async def slow() -> str:
    await asyncio.sleep(3600)
    return "never"
