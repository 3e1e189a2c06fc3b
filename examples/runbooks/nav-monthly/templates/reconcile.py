"""Bank to books: every statement line against the rent roll, the agent's remittance, the loan or the ledger.

Cash decides. What the rent roll claims but the bank does not show stays unpaid; what the bank shows beyond
the claim is left unallocated for a person.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import date
from decimal import Decimal

from .amounts import key, period_of
from .checks import overdue_arrears
from .models import (
    ZERO,
    BankLine,
    Finding,
    Inputs,
    LedgerLine,
    Match,
    NavConfig,
    Reconciliation,
    RentLine,
)


def reconcile(inputs: Inputs) -> Reconciliation:
    """Matches and open items of the month, with what a reviewer should know about them."""
    work = _Work(inputs)
    work.agent_remittance()
    work.rent_receipts()
    work.mortgage()
    work.ledger()
    work.leftovers()
    work.tenants()
    work.items.sort(key=lambda item: (item.status, item.date, item.reference, item.amount))

    def total(**wanted: str) -> Decimal:
        chosen = (x for x in work.items if all(getattr(x, k) == v for k, v in wanted.items()))
        return sum((x.amount for x in chosen), ZERO)

    return Reconciliation(
        items=work.items,
        exceptions=work.findings,
        rent_receipts=total(category="rent_receipt"),
        remittance=total(category="agent_remittance"),
        statement_only=total(status="statement only"),
        ledger_only=total(status="ledger only"),
    )


class _Work:
    """Statement lines still to be explained, and what has been found so far."""

    def __init__(self, inputs: Inputs) -> None:
        self.inputs = inputs
        self.config: NavConfig = inputs.opened.config
        self.period = inputs.opened.period
        self.open: list[BankLine] = list(inputs.statement.lines)
        self.items: list[Match] = []
        self.findings: list[Finding] = []
        self.beyond: set[int] = set()
        for line in self.open:
            if self.misdated(line.date):
                self.find(
                    "warning", "MISDATED", "bank", line.reference, line.amount, f"dated {line.date:%d %b %Y}"
                )

    def misdated(self, when: date) -> bool:
        return period_of(when) != self.period

    def find(
        self, severity: str, code: str, source: str, reference: str, amount: Decimal, detail: str
    ) -> None:
        self.findings.append(
            Finding(
                severity=severity, code=code, source=source, reference=reference, amount=amount, detail=detail
            )
        )

    def match(self, line: BankLine, category: str, against: str, *, misdated: bool = False) -> None:
        self.open.remove(line)
        self.items.append(
            Match(
                status="matched",
                category=category,
                date=line.date,
                reference=line.reference,
                details=line.details,
                amount=line.amount,
                against=against,
                misdated=misdated or self.misdated(line.date),
            )
        )

    def agent_remittance(self) -> None:
        roll = self.inputs.rent_roll
        if not roll.remittance:
            return
        wanted = key(roll.remittance_ref)
        for line in self.open:
            if line.amount > 0 and wanted and wanted in key(line.reference + line.details):
                self.match(line, "agent_remittance", f"net remittance {roll.remittance_ref}")
                if line.amount != roll.remittance:
                    self.find(
                        "error",
                        "REMITTANCE_DIFFERS",
                        "bank",
                        line.reference,
                        line.amount - roll.remittance,
                        "paid over differs from the agent's statement",
                    )
                return
        self.find(
            "error",
            "REMITTANCE_MISSING",
            "rent roll",
            roll.remittance_ref,
            roll.remittance,
            "the agent's remittance is not on the statement",
        )

    def rent_receipts(self) -> None:
        """Receipts that name a lease, first come first taken, up to what the rent roll says was received."""
        claimed: dict[str, Decimal] = defaultdict(lambda: ZERO)
        leases: dict[str, RentLine] = {}
        for line in self.inputs.rent_roll.lines:
            if line.collected_by == "DIRECT":
                claimed[key(line.lease_ref)] += line.received
                leases.setdefault(key(line.lease_ref), line)
        got: dict[str, Decimal] = defaultdict(lambda: ZERO)
        for line in list(self.open):
            lease = _named(line, leases) if line.amount > 0 else None
            if lease and got[lease] + line.amount <= claimed[lease] + self.config.tolerance:
                got[lease] += line.amount
                self.match(line, "rent_receipt", f"rent roll {leases[lease].lease_ref}")
            elif lease:
                self.beyond.add(line.number)
                self.find(
                    "warning",
                    "RECEIPT_BEYOND_RENT_ROLL",
                    "bank",
                    line.reference,
                    line.amount,
                    f"{leases[lease].lease_ref} is already paid as the rent roll says; left unallocated",
                )
        for lease, amount in claimed.items():
            short = amount - got[lease]
            if short > self.config.tolerance:
                code = "SHORT_RECEIPT" if got[lease] else "RECEIPT_NOT_ON_STATEMENT"
                detail = f"rent roll says {amount}, the bank shows {got[lease]}; treated as unpaid"
                self.find("warning", code, "rent roll", leases[lease].lease_ref, short, detail)

    def mortgage(self) -> None:
        loan = self.config.loan
        expected = loan.monthly_interest + loan.monthly_principal
        for line in self.open:
            if line.amount < 0 and "mortgage" in line.details.lower():
                self.match(line, "mortgage", "loan agreement")
                if abs(-line.amount - expected) > self.config.tolerance:
                    self.find(
                        "warning",
                        "LOAN_PAYMENT_DIFFERS",
                        "bank",
                        line.reference,
                        -line.amount - expected,
                        f"the agreed instalment is {expected}",
                    )
                return

    def ledger(self) -> None:
        """Ledger postings one to one: same reference and amount first, then same amount and near date."""
        remaining = list(self.inputs.trial_balance.ledger)
        for posting in list(remaining):
            same = [
                x
                for x in self.open
                if x.amount == posting.amount and key(x.reference) == key(posting.reference)
            ]
            if same:
                self._pair(posting, min(same, key=lambda x: abs(x.date - posting.date)))
                remaining.remove(posting)
        for posting in list(remaining):
            near = [x for x in self.open if x.amount == posting.amount and self._near(x.date, posting.date)]
            if len(near) == 1 and not _names_other(near[0], posting):
                self._pair(posting, near[0])
                remaining.remove(posting)
        for posting in remaining:
            self._unpresented(posting)

    def _near(self, one: date, other: date) -> bool:
        return abs((one - other).days) <= self.config.date_window_days

    def _pair(self, posting: LedgerLine, line: BankLine) -> None:
        carried = posting.source == "B/F"
        wrong = not carried and (self.misdated(posting.date) or not self._near(posting.date, line.date))
        self.match(line, "ledger", f"ledger row {posting.row}", misdated=wrong)
        if wrong:
            detail = f"posted as {posting.date:%d %b %Y}, the bank shows {line.date:%d %b %Y}"
            self.find("warning", "MISDATED", "ledger", posting.reference, posting.amount, detail)

    def _unpresented(self, posting: LedgerLine) -> None:
        twins = [
            x
            for x in self.inputs.trial_balance.ledger
            if key(x.reference) == key(posting.reference) and x.amount == posting.amount
        ]
        if len(twins) > 1:
            detail = "posted more than once, paid once; reverse the second posting"
            self.find("warning", "DUPLICATE_REFERENCE", "ledger", posting.reference, posting.amount, detail)
        else:
            detail = "not yet on the statement"
            self.find("info", "UNPRESENTED", "ledger", posting.reference, posting.amount, detail)
        self.items.append(
            Match(
                status="ledger only",
                category="ledger",
                date=posting.date,
                reference=posting.reference,
                details=posting.details,
                amount=posting.amount,
                against=f"ledger row {posting.row}",
            )
        )

    def leftovers(self) -> None:
        for line in self.open:
            self.items.append(
                Match(
                    status="statement only",
                    category="unallocated",
                    date=line.date,
                    reference=line.reference,
                    details=line.details,
                    amount=line.amount,
                    misdated=self.misdated(line.date),
                )
            )
            if line.number not in self.beyond:
                self.find("warning", "NOT_IN_LEDGER", "bank", line.reference, line.amount, line.details)
        self.open = []

    def tenants(self) -> None:
        """Arrears, payments in advance and credit notes of the rent roll."""
        self._arrears_control()
        for line in self.inputs.rent_roll.lines:
            overdue = sum((v for age, v in line.arrears.items() if age != "0-30"), ZERO)
            if overdue > 0:
                detail = f"{line.tenant}: {overdue} unpaid for more than 30 days"
                self.find("warning", "ARREARS", "rent roll", line.lease_ref, overdue, detail)
            if line.charge == "CREDIT NOTE":
                detail = f"{line.tenant}: reduces rental income"
                self.find("info", "CREDIT_NOTE", "rent roll", line.lease_ref, line.rent_due, detail)
            elif line.arrears["0-30"] < 0:
                detail = f"{line.tenant}: paid in advance"
                self.find("info", "PREPAID", "rent roll", line.lease_ref, line.arrears["0-30"], detail)

    def _arrears_control(self) -> None:
        """Before the journal the ledger holds what the rent roll calls unpaid for more than 30 days."""
        code = self.config.gl_codes.get("tenant_arrears")
        ledger = sum((a.debit - a.credit for a in self.inputs.trial_balance.accounts if a.code == code), ZERO)
        difference = ledger - overdue_arrears(self.inputs)
        if code and difference:
            detail = "arrears in the ledger differ from the rent roll's over 30 days"
            self.find("warning", "ARREARS_CONTROL", "ledger", code, difference, detail)


def _named(line: BankLine, leases: Iterable[str]) -> str | None:
    """The lease a receipt names, however it is punctuated; the longest if one reference contains another."""
    written = key(line.reference) + " " + key(line.details)
    return max((lease for lease in leases if lease in written), key=len, default=None)


def _names_other(line: BankLine, posting: LedgerLine) -> bool:
    """Both sides have a reference, and they differ."""
    return bool(key(line.reference) and key(posting.reference)) and key(line.reference) != key(
        posting.reference
    )
