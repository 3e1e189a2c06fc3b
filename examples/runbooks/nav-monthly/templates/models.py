"""What travels between the workflow and its activities.

Money is `Decimal` in pounds, two places, and crosses JSON as text. Dates are calendar dates without a zone.
"""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any, Literal

from ntro.accounting.models import JournalProposal
from pydantic import BaseModel, ConfigDict, Field, field_validator

ZERO = Decimal("0.00")

DEFAULT_GL_CODES = {
    "bank": "1200",
    "rental_income": "4000",
    "tenant_arrears": "1100",
    "mgmt_fees": "5000",
    "repairs_maintenance": "5010",
    "mgmt_fees_expense": "5005",
    "mgmt_fees_payable": "2115",
    "bad_debt_expense": "6060",
    "bad_debt_provision": "1101",
    "mortgage_interest_expense": "6100",
    "loan_principal": "2300",
}


class LoanTerms(BaseModel):
    """The agreed monthly instalment, split. Cash paid is divided in this proportion."""

    monthly_interest: Decimal = Decimal("98437.50")
    monthly_principal: Decimal = Decimal("44062.50")

    @field_validator("*", mode="before")
    @classmethod
    def _exact(cls, value: Any) -> Any:
        return str(value) if isinstance(value, float) else value


class NavConfig(BaseModel):
    """The `global` part of `config_schema`; keys of other runbooks are ignored."""

    model_config = ConfigDict(extra="ignore")

    management_fee_rate: Decimal = Field(default=Decimal("0.05"), ge=0, lt=1)
    bad_debt_rate: Decimal = Field(default=Decimal("0.02"), ge=0, le=1)
    tolerance: Decimal = Field(default=ZERO, ge=0)
    date_window_days: int = Field(default=5, ge=0, le=31)
    units_in_issue: int = Field(default=5_000_000, gt=0)
    gl_codes: dict[str, str] = Field(default_factory=lambda: dict(DEFAULT_GL_CODES))
    loan: LoanTerms = Field(default_factory=LoanTerms)

    @field_validator("management_fee_rate", "bad_debt_rate", "tolerance", mode="before")
    @classmethod
    def _exact(cls, value: Any) -> Any:
        # JSON numbers arrive as binary floats; their shortest text is what was written.
        return str(value) if isinstance(value, float) else value

    @field_validator("gl_codes")
    @classmethod
    def _roles(cls, value: dict[str, str]) -> dict[str, str]:
        missing = {"bank", "rental_income"} - value.keys()
        unknown = value.keys() - DEFAULT_GL_CODES.keys()
        if missing or unknown:
            raise ValueError(f"roles missing: {sorted(missing)}, unknown: {sorted(unknown)}")
        return value


class PeriodRequest(BaseModel):
    period: str
    entity_slug: str
    config: dict[str, Any] = Field(default_factory=dict)


class OpenPeriod(BaseModel):
    """A period whose input files exist, with its checked configuration."""

    period: str
    entity_slug: str
    config: NavConfig
    files: list[str]


class Account(BaseModel):
    """One trial balance account; at most one of `debit` and `credit` is not zero, neither is negative."""

    code: str
    name: str
    type: str
    debit: Decimal = ZERO
    credit: Decimal = ZERO


class LedgerLine(BaseModel):
    """One posting on the bank ledger. `amount` is positive for money in. `source` `B/F` marks an item of an
    earlier month that the bank had not yet shown then."""

    row: int
    date: date
    source: str
    reference: str
    details: str
    amount: Decimal


class TrialBalanceFile(BaseModel):
    entity_name: str
    as_at: date
    period: str
    accounts: list[Account]
    ledger_opening: Decimal
    ledger_closing: Decimal
    ledger: list[LedgerLine]


class RentLine(BaseModel):
    """One charge of one lease. `arrears` is keyed by age in days: `0-30`, `31-60`, `61-90`, `90+`."""

    row: int
    unit: str
    lease_ref: str
    tenant: str
    charge: Literal["RENT", "PARKING", "CREDIT NOTE"]
    collected_by: Literal["DIRECT", "AGENT"]
    due_date: date
    rent_due: Decimal
    received: Decimal
    arrears: dict[str, Decimal]


class RentRoll(BaseModel):
    """The managing agent's rent roll. Fees and repairs are what the agent kept back from `remittance`."""

    period: str
    lines: list[RentLine]
    agent_fee: Decimal = ZERO
    agent_repairs: Decimal = ZERO
    remittance: Decimal = ZERO
    remittance_ref: str = ""


class BankLine(BaseModel):
    """One statement line, numbered in the bank's order. `amount` is positive for money in."""

    number: int
    date: date
    type: str
    reference: str
    details: str
    amount: Decimal
    balance: Decimal


class BankStatement(BaseModel):
    account: str
    start: date
    end: date
    pages: int
    opening: Decimal
    closing: Decimal
    lines: list[BankLine]


class Inputs(BaseModel):
    opened: OpenPeriod
    trial_balance: TrialBalanceFile
    rent_roll: RentRoll
    statement: BankStatement


class InputChecks(BaseModel):
    """Figures agreed while checking the inputs, each one a control total of a file."""

    accounts: int
    trial_balance_total: Decimal
    gross_rent: Decimal
    overdue_arrears: Decimal
    statement_closing: Decimal


class Finding(BaseModel):
    """Something a person should look at. `error`: a figure is not proved; `warning`, `info`: it explains."""

    severity: Literal["error", "warning", "info"]
    code: str
    source: str
    reference: str = ""
    amount: Decimal = ZERO
    detail: str = ""


class Match(BaseModel):
    """One reconciled or open item. `status` says on which side it stands."""

    status: Literal["matched", "statement only", "ledger only"]
    category: Literal["rent_receipt", "agent_remittance", "mortgage", "ledger", "unallocated"]
    date: date
    reference: str
    details: str
    amount: Decimal
    against: str = ""
    misdated: bool = False


class Reconciliation(BaseModel):
    items: list[Match]
    exceptions: list[Finding]
    rent_receipts: Decimal
    remittance: Decimal
    statement_only: Decimal
    ledger_only: Decimal

    def open_items(self) -> list[Match]:
        return [item for item in self.items if item.status != "matched"]


class JournalRequest(BaseModel):
    inputs: Inputs
    reconciliation: Reconciliation


class Correction(BaseModel):
    """One change a reviewer asks for; `line` counts from 1 as in the table shown."""

    line: int
    field: str
    old_value: Any = None
    new_value: Any = None


class CorrectionRequest(BaseModel):
    inputs: Inputs
    reconciliation: Reconciliation
    journal: JournalProposal
    corrections: list[Any]


class Review(BaseModel):
    """A balanced journal as shown at the gate, and what became of the last corrections."""

    journal: JournalProposal
    exceptions: list[Finding]
    totals: dict[str, str]
    applied: int = 0
    refused: list[str] = Field(default_factory=list)


class PackRequest(BaseModel):
    inputs: Inputs
    reconciliation: Reconciliation
    review: Review
    rounds: int
    corrections: int
    comments: str = ""


class PackResult(BaseModel):
    """The figures of the pack and the SHA-256 of each file written."""

    nav: Decimal
    nav_per_unit: Decimal
    units_in_issue: int
    files: dict[str, str]
