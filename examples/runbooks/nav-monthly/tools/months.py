"""Two months of the sample property: what happened, and the books and papers that follow from it.

The journal a reviewer approves for September is carried into October, so both months are one history.
"""

from __future__ import annotations

import calendar
from dataclasses import dataclass, field
from datetime import date

from estate import (
    BAD_DEBT_PERCENT,
    CHART,
    LOAN_INTEREST,
    LOAN_PRINCIPAL,
    MANAGEMENT_FEE_PERCENT,
    Lease,
    leases,
)


@dataclass
class RollRow:
    lease: Lease
    charge: str
    due: int
    received: int
    arrears: list[int]


@dataclass
class Txn:
    """A bank statement line or a ledger posting; money in is positive."""

    day: date
    kind: str
    ref: str
    details: str
    amount: int
    code: str = ""


@dataclass
class Story:
    """What departs from everybody paying in full and on time, by lease reference."""

    unpaid: set[str] = field(default_factory=set)
    part_paid: dict[str, int] = field(default_factory=dict)
    credit_notes: dict[str, int] = field(default_factory=dict)
    in_advance: dict[str, int] = field(default_factory=dict)
    instalments: set[str] = field(default_factory=set)
    paid_twice: set[str] = field(default_factory=set)
    bank_short: dict[str, int] = field(default_factory=dict)
    misdated_receipt: dict[str, date] = field(default_factory=dict)
    odd_reference: dict[str, str] = field(default_factory=dict)
    extra_statement: list[Txn] = field(default_factory=list)
    repairs: int = 0


@dataclass
class Month:
    period: str
    roll: list[RollRow]
    agent_fee: int
    agent_repairs: int
    statement: list[Txn]
    statement_opening: int
    ledger_opening: int
    ledger: list[Txn]
    carried: list[Txn]
    balances: dict[str, int]

    @property
    def year_month(self) -> tuple[int, int]:
        return int(self.period[:4]), int(self.period[5:])

    @property
    def last_day(self) -> date:
        year, month = self.year_month
        return date(year, month, calendar.monthrange(year, month)[1])

    @property
    def remittance(self) -> int:
        return sum(r.received for r in self.roll if r.lease.agent) - self.agent_fee - self.agent_repairs


def _payments(year: int, month: int, shift: int) -> list[Txn]:
    """Routine payments and receipts that are in the ledger and on the statement."""
    rows = [
        (1, "DD", "EDF-88213", "EDF ENERGY COMMON PARTS", -412_866, "5030"),
        (2, "DD", "SWW-1002", "SOUTH WEST WATER", -96_417, "5030"),
        (2, "BACS", "SC-REC", "SERVICE CHARGE FLOAT", 1_250_000, "1105"),
        (5, "BACS", "INV-4471", "GUARDLINE SECURITY", -592_000, "5040"),
        (6, "BACS", "INV-20911", "BRIGHTWORKS CLEANING", -447_100, "5050"),
        (7, "DD", "BIFFA-771", "BIFFA WASTE SERVICES", -206_815, "5120"),
        (8, "BACS", "CN-AXA-17", "AXA PREMIUM REFUND CREDIT NOTE", 84_250, "5020"),
        (9, "BACS", "INV-0087", "OTIS LIFT MAINTENANCE", -148_530, "5110"),
        (12, "FPO", "LEG-3312", "HARGREAVE LEGAL LLP", -374_900, "5080"),
        (13, "BACS", "INV-661", "GREENWAY LANDSCAPING", -137_000, "5090"),
        (14, "BACS", "INV-7782", "PENROSE FIRE SAFETY", -182_840, "5100"),
        (15, "DD", "NNDR-2041", "CITY COUNCIL BUSINESS RATES", -283_746, "5060"),
        (16, "BACS", "CAR-118", "CARDINAL ADVERTISING RENT", 55_000, "4070"),
        (19, "BACS", "MGT-FEE", "ASSET MANAGEMENT FEE", -1_640_218, "2115"),
        (20, "BACS", "VAL-26", "STRATTON VALUERS", -195_000, "6020"),
        (21, "BACS", "DIR-PAY", "DIRECTORS FEES", -166_666, "6050"),
        (22, "BACS", "ADM-77", "CHANNEL FUND ADMINISTRATION", -250_000, "6010"),
        (23, "DD", "HMRC-VAT", "HMRC VAT", -101_325, "2140"),
        (26, "BACS", "INV-9315", "WESSEX ROOFING REPAIRS", -318_400, "5010"),
        (27, "BACS", "INV-9316", "WESSEX ROOFING REPAIRS", -318_400, "5010"),
        (28, "INT", "INTEREST", "GROSS INTEREST", 88_417, "4050"),
    ]
    fixed = {"MGT-FEE"}
    return [
        Txn(date(year, month, d), kind, ref, text, a if ref in fixed else a + shift * (d - 14), code)
        for d, kind, ref, text, a, code in rows
    ]


_NON_CASH = [  # account, amount; each pair sums to nothing
    ("6070", 353_750), ("0041", -236_667), ("0051", -117_083),
    ("5020", 1_020_000), ("1130", -1_020_000),
    ("6110", 310_000), ("2310", -310_000),
    ("6120", 1_875_000), ("2190", -1_875_000),
]  # fmt: skip


def _roll(story: Story, aged: dict[str, list[int]]) -> list[RollRow]:
    """One row per charge. `aged` holds what was unpaid before this month, 31-60 first."""
    rows = []
    for lease in leases():
        due = lease.rent
        credit = story.credit_notes.get(lease.ref, 0)
        received = due - credit
        if lease.ref in story.unpaid:
            received = 0
        received = story.part_paid.get(lease.ref, received) + story.in_advance.get(lease.ref, 0)
        rows.append(
            RollRow(lease, "RENT", due, received, [due - credit - received, *aged.get(lease.ref, [0, 0, 0])])
        )
        if lease.parking:
            paid = 0 if lease.ref in story.unpaid else lease.parking
            rows.append(RollRow(lease, "PARKING", lease.parking, paid, [lease.parking - paid, 0, 0, 0]))
        if credit:
            rows.append(RollRow(lease, "CREDIT NOTE", -credit, 0, [0, 0, 0, 0]))
    return rows


def _receipts(story: Story, roll: list[RollRow], year: int, month: int) -> list[Txn]:
    """Statement lines of tenants who pay the company itself; rent and parking come in one sum."""
    paid: dict[str, int] = {}
    by_ref = {row.lease.ref: row.lease for row in roll}
    for row in roll:
        if not row.lease.agent and row.received:
            paid[row.lease.ref] = paid.get(row.lease.ref, 0) + row.received
    found = []
    for index, (ref, amount) in enumerate(paid.items()):
        day = story.misdated_receipt.get(ref, date(year, month, 1 + index * 5 % 13))
        written = story.odd_reference.get(ref, ref)
        details = by_ref[ref].tenant.upper()
        amount -= story.bank_short.get(ref, 0)
        parts = [amount // 2, amount - amount // 2] if ref in story.instalments else [amount]
        if ref in story.paid_twice:
            parts = [amount, amount]
        for n, part in enumerate(parts):
            found.append(Txn(day.replace(day=day.day + 8 * n), "BACS", written, details, part))
    return found


def _in_bank_order(lines: list[Txn], misdated: dict[str, date]) -> list[Txn]:
    """By date, but a mis-dated line stands where the bank booked it, in mid-month."""
    wrong = set(misdated)
    return sorted(lines, key=lambda t: (15 if t.ref in wrong else t.day.day, t.kind, t.ref, t.amount))


def _journal(month: Month, matched_receipts: int) -> dict[str, int]:
    """The allocation journal at the default rates, by account, debit positive."""
    gross = sum(r.due for r in month.roll)
    cash = matched_receipts + month.remittance
    overdue = sum(sum(r.arrears[1:]) for r in month.roll)
    fee, provision = _percent(gross, MANAGEMENT_FEE_PERCENT), _percent(overdue, BAD_DEBT_PERCENT)
    return {
        "1200": cash - LOAN_INTEREST - LOAN_PRINCIPAL,
        "1100": gross - cash - month.agent_fee - month.agent_repairs,
        "5000": month.agent_fee,
        "5010": month.agent_repairs,
        "4000": -gross,
        "5005": fee,
        "2115": -fee,
        "6060": provision,
        "1101": -provision,
        "6100": LOAN_INTEREST,
        "2300": LOAN_PRINCIPAL,
    }


def _percent(amount: int, percent: int) -> int:
    """Half to even, in pence."""
    whole, rest = divmod(amount * percent, 100)
    return whole + (1 if rest > 50 or (rest == 50 and whole % 2) else 0)


def _post(balances: dict[str, int], ledger: list[Txn]) -> None:
    for txn in ledger:
        balances["1200"] += txn.amount
        balances[txn.code] -= txn.amount
    for code, amount in _NON_CASH:
        balances[code] += amount


def _month(
    period: str, story: Story, balances: dict[str, int], aged: dict[str, list[int]], carried: list[Txn],
    unpresented: list[Txn], ledger: list[Txn],
) -> Month:  # fmt: skip
    """`ledger` is posted on top of the balances; `unpresented` of it is not on the statement."""
    year, number = int(period[:4]), int(period[5:])
    roll = _roll(story, aged)
    fee = sum(r.due for r in roll if r.lease.agent) * 6 // 100
    opening = balances["1200"]
    month = Month(period, roll, fee, story.repairs, [], opening - sum(t.amount for t in carried),
                  opening, ledger, carried, balances)  # fmt: skip
    remit = Txn(date(year, number, 18), "BACS", f"HPM-REMIT-{year}{number:02d}",
                "HARCOURT PROPERTY MANAGEMENT NET RENTS BLOCKS G AND H", month.remittance)  # fmt: skip
    loan = Txn(date(year, number, 25), "DD", "NGB-004471", "NORTHGATE BANK MORTGAGE 004471",
               -LOAN_INTEREST - LOAN_PRINCIPAL)  # fmt: skip
    routine = _payments(year, number, 113 * number)
    cleared = [Txn(date(year, number, 2), t.kind, t.ref, t.details, t.amount) for t in carried]
    lines = _receipts(story, roll, year, number) + routine + cleared + [remit, loan] + story.extra_statement
    month.statement = _in_bank_order(lines, story.misdated_receipt)
    _post(balances, ledger + unpresented)
    month.ledger = sorted([*ledger, *unpresented], key=lambda t: (t.day, t.ref))
    return month


def months() -> list[Month]:
    """September and October 2026."""
    balances = {code: amount for code, _, _, amount in CHART}
    rent = {lease.ref: lease.rent for lease in leases()}
    aged = {"KC-B07": [rent["KC-B07"], rent["KC-B07"], 0], "KC-D04": [31_250, 0, 0]}
    balances["1100"] = sum(sum(v) for v in aged.values())
    balances["3100"] = -sum(balances.values())

    story = Story(
        unpaid={"KC-B07"},
        part_paid={"KC-D04": rent["KC-D04"] * 3 // 5},
        credit_notes={"KC-C03": 45_000},
        misdated_receipt={"KC-E08": date(2026, 8, 9)},
        repairs=118_600,
    )
    ledger = _payments(2026, 9, 113 * 9)
    _redate(ledger, "INV-661", date(2026, 10, 13))
    unpresented = [Txn(date(2026, 9, 30), "BACS", "INV-5520", "ATLAS BUILDING REPAIRS", -264_000, "5010")]
    september = _month("2026-09", story, dict(balances), aged, [], unpresented, ledger)
    balances = dict(september.balances)
    receipts = sum(r.received for r in september.roll if not r.lease.agent)
    for code, amount in _journal(september, receipts).items():
        balances[code] += amount
    aged = {}
    for row in september.roll:
        if any(row.arrears):
            before = aged.get(row.lease.ref, [0, 0, 0])
            now = [row.arrears[0], row.arrears[1], row.arrears[2] + row.arrears[3]]
            aged[row.lease.ref] = [a + b for a, b in zip(before, now, strict=True)]
    return [september, _october(balances, aged, rent, unpresented)]


def _redate(ledger: list[Txn], ref: str, day: date) -> None:
    next(t for t in ledger if t.ref == ref).day = day


def _october(
    balances: dict[str, int], aged: dict[str, list[int]], rent: dict[str, int], carried: list[Txn]
) -> Month:
    story = Story(
        unpaid={"KC-B07"},
        part_paid={"KC-D04": rent["KC-D04"] // 2},
        credit_notes={"KC-C03": 125_000, "KC-F10": 48_075},
        in_advance={"KC-E02": 240_000},
        instalments={"KC-A12"},
        paid_twice={"KC-C09"},
        bank_short={"KC-D11": 1_500},
        misdated_receipt={"KC-E08": date(2026, 9, 9)},
        odd_reference={"KC-A05": "KC A05 OCT RENT", "KC-F02": "kc/f02", "KC-C11": "RENT KCC11"},
        extra_statement=[
            Txn(date(2026, 10, 28), "CHG", "CHARGES", "COMMISSION AND CHARGES", -6_240),
            Txn(date(2026, 10, 29), "CHG", "CHARGES", "REFUND OF CHARGES", 4_500),
        ],
        repairs=211_840,
    )
    ledger = _payments(2026, 10, 113 * 10)
    _redate(ledger, "INV-7782", date(2026, 11, 14))
    twice = next(t for t in ledger if t.ref == "INV-4471")
    unpresented = [
        Txn(date(2026, 10, 30), "BACS", "INV-5561", "ATLAS BUILDING REPAIRS", -187_350, "5010"),
        Txn(date(2026, 10, 7), "BACS", twice.ref, twice.details, twice.amount, twice.code),
    ]
    return _month("2026-10", story, balances, aged, carried, unpresented, ledger)
