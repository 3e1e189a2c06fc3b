"""The allocation journal: proposed from reconciled figures, corrected by a reviewer, always balanced."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

from ntro.accounting.models import JournalLine, JournalLineCorrection, JournalProposal
from ntro.accounting.proposal import propose_allocation_journal
from ntro.accounting.validation import validate_journal_balance, validate_post_journal_tb_balanced
from ntro.workflow import WorkflowError
from pydantic import ValidationError

from .amounts import PENNY, money, refuse
from .checks import overdue_arrears, sdk_trial_balance
from .models import ZERO, Correction, Finding, Inputs, Reconciliation, Review

# The library's accruals have fixed rates, so its map leaves those roles out and they are made here.
_OWN_ROLES = {"mgmt_fees_expense", "mgmt_fees_payable", "bad_debt_expense", "bad_debt_provision"}
_FIELDS = ("account_code", "description", "debit", "credit", "tax_code")


def propose(inputs: Inputs, reconciliation: Reconciliation) -> JournalProposal:
    """Rent, loan and accruals of the month as one balanced journal."""
    opened, roll = inputs.opened, inputs.rent_roll
    codes = opened.config.gl_codes
    gross = sum((x.rent_due for x in roll.lines), ZERO)
    cash = reconciliation.rent_receipts + reconciliation.remittance
    unpaid = gross - cash - roll.agent_fee - roll.agent_repairs
    loan = opened.config.loan
    proposal = propose_allocation_journal(
        tb=sdk_trial_balance(inputs.trial_balance, opened.entity_slug),
        ingested=[_rent_document(gross, unpaid, cash, inputs), _bank_document(reconciliation)],
        gl_map={role: code for role, code in codes.items() if role not in _OWN_ROLES},
        period=opened.period,
        entity_slug=opened.entity_slug,
        mortgage_agreement={
            "monthly_interest": loan.monthly_interest,
            "monthly_principal": loan.monthly_principal,
        },
        validate=False,
    )
    lines = list(proposal.lines)
    if unpaid < 0 and "tenant_arrears" in codes:
        # More was paid than charged: the library posts arrears only one way.
        lines.append(_line(codes["tenant_arrears"], f"Arrears cleared — {opened.period}", credit=-unpaid))
    lines += _accruals(inputs, gross)
    validate_or_refuse(lines)
    return proposal.model_copy(update={"lines": [x for x in lines if x.debit or x.credit]})


def _rent_document(gross: Decimal, unpaid: Decimal, cash: Decimal, inputs: Inputs) -> dict[str, Any]:
    roll = inputs.rent_roll
    fields = {
        "total_rent_due": gross,
        "total_arrears": unpaid,
        "overdue_arrears_30d": overdue_arrears(inputs),
        "net_remittance": cash,
        "management_fee_gross": roll.agent_fee,
        "repairs_gross": roll.agent_repairs,
    }
    return {"source": "rent-roll", "extracted_payload": {"schema_slug": "rent-roll", "fields": fields}}


def _bank_document(reconciliation: Reconciliation) -> dict[str, Any]:
    """Statement lines as the library takes them; remittances are rent received through the agent."""
    category = {"rent_receipt": "rent_receipt", "agent_remittance": "rent_receipt", "mortgage": "mortgage"}
    transactions = [
        {
            "amount": item.amount,
            "description": item.details if item.category == "mortgage" else item.reference,
            "category": category[item.category],
        }
        for item in reconciliation.items
        if item.category in category
    ]
    return {
        "source": "bank-statement",
        "extracted_payload": {"schema_slug": "bank-statement", "line_items": transactions},
    }


def _accruals(inputs: Inputs, gross: Decimal) -> list[JournalLine]:
    """Management fee on gross rent and provision on overdue arrears, at the configured rates."""
    config, period = inputs.opened.config, inputs.opened.period
    codes, lines = config.gl_codes, []
    fee_label = f"Management fee {_percent(config.management_fee_rate)}"
    fee = (gross * config.management_fee_rate).quantize(PENNY, ROUND_HALF_EVEN)
    provision = (overdue_arrears(inputs) * config.bad_debt_rate).quantize(PENNY, ROUND_HALF_EVEN)
    blocks = [
        (fee, "mgmt_fees_expense", "mgmt_fees_payable", fee_label),
        (provision, "bad_debt_expense", "bad_debt_provision", f"Bad debt {_percent(config.bad_debt_rate)}"),
    ]
    for amount, debit, credit, label in blocks:
        if amount > 0 and debit in codes and credit in codes:
            lines.append(_line(codes[debit], f"{label} — {period}", debit=amount))
            lines.append(_line(codes[credit], f"{label} — {period}", credit=amount))
    return lines


def _percent(rate: Decimal) -> str:
    return f"{(rate * 100).normalize():f}%"


def _line(code: str, description: str, *, debit: Decimal = ZERO, credit: Decimal = ZERO) -> JournalLine:
    return JournalLine(account_code=code, description=description, debit=debit, credit=credit)


def validate_or_refuse(lines: Sequence[JournalLine]) -> None:
    result = validate_journal_balance(list(lines))
    if not result.passed:
        raise refuse(f"journal: {result.failure_detail}")


def review(
    inputs: Inputs,
    reconciliation: Reconciliation,
    journal: JournalProposal,
    *,
    applied: int = 0,
    refused: Sequence[str] = (),
) -> Review:
    """What the gate shows: the journal, its totals and whether the bank account proves to the statement."""
    bank = inputs.opened.config.gl_codes["bank"]
    movement = sum((x.debit - x.credit for x in journal.lines if x.account_code == bank), ZERO)
    ledger = inputs.trial_balance.ledger_closing + movement
    expected = ledger - reconciliation.ledger_only + reconciliation.statement_only
    difference = inputs.statement.closing - expected
    findings = list(reconciliation.exceptions)
    if abs(difference) > inputs.opened.config.tolerance:
        findings.append(
            Finding(
                severity="error",
                code="BANK_NOT_PROVED",
                source="reconciliation",
                reference=bank,
                amount=difference,
                detail="the bank account after the journal and open items differs from the statement",
            )
        )
    tb = sdk_trial_balance(inputs.trial_balance, inputs.opened.entity_slug)
    closing = validate_post_journal_tb_balanced(tb, journal.lines)
    totals = {
        "journal_debit": f"{journal.total_dr:.2f}",
        "journal_credit": f"{journal.total_cr:.2f}",
        "journal_balanced": "yes" if journal.is_balanced else "no",
        "closing_trial_balance": "balanced" if closing.passed else "out of balance",
        "bank_per_ledger": f"{ledger:.2f}",
        "bank_per_statement": f"{inputs.statement.closing:.2f}",
        "ledger_only": f"{reconciliation.ledger_only:.2f}",
        "statement_only": f"{reconciliation.statement_only:.2f}",
        "bank_difference": f"{difference:.2f}",
    }
    return Review(journal=journal, exceptions=findings, totals=totals, applied=applied, refused=list(refused))


def correct(
    inputs: Inputs, reconciliation: Reconciliation, journal: JournalProposal, raw: Sequence[Any]
) -> Review:
    """The journal with all corrections, or the unchanged journal and the reasons. Never half of them, and
    never a journal that does not balance."""
    refused: list[str] = []
    changes: list[JournalLineCorrection] = []
    codes = {a.code for a in inputs.trial_balance.accounts}
    for number, item in enumerate(raw, start=1):
        try:
            changes.append(_change(journal, Correction.model_validate(item), codes))
        except ValidationError as error:
            fields = sorted({".".join(map(str, e["loc"])) or "correction" for e in error.errors()})
            refused.append(f"correction {number}: malformed: {', '.join(fields)}")
        except (ValueError, WorkflowError) as error:
            refused.append(f"correction {number}: {error}")
    if not raw:
        refused.append("no corrections given")
    if refused:
        return review(inputs, reconciliation, journal, refused=refused)

    corrected = journal.with_corrections(changes)
    for index in sorted({c.line_index for c in changes}):
        line = corrected.lines[index]
        if (line.debit > 0) == (line.credit > 0):
            refused.append(f"line {index + 1}: exactly one of debit and credit must be above zero")
    if not refused:
        balance = validate_journal_balance(corrected.lines)
        if not balance.passed:
            refused.append(f"the journal would not balance: {balance.failure_detail}")
    if refused:
        return review(inputs, reconciliation, journal, refused=refused)
    return review(inputs, reconciliation, corrected, applied=len(changes))


def _change(journal: JournalProposal, item: Correction, codes: set[str]) -> JournalLineCorrection:
    """One correction, typed and checked against the line it names."""
    if not 1 <= item.line <= len(journal.lines):
        raise ValueError(f"there is no line {item.line}")
    if item.field not in _FIELDS:
        raise ValueError(f"{item.field!r} cannot be changed; one of {', '.join(_FIELDS)} can")
    line = journal.lines[item.line - 1]
    value = _typed(item.field, item.new_value)
    if item.field == "account_code" and value not in codes:
        raise ValueError(f"account {value} is not in the trial balance")
    if item.old_value is not None and _typed(item.field, item.old_value) != getattr(line, item.field):
        raise ValueError(f"line {item.line} {item.field} is no longer {item.old_value!r}")
    # Through the model, so that a value it would refuse is refused here.
    JournalLine.model_validate({**line.model_dump(), item.field: value})
    return JournalLineCorrection(line_index=item.line - 1, field=item.field, new_value=value)


def _typed(field: str, value: Any) -> Any:
    if field in ("debit", "credit"):
        return money(value, field)
    if field == "tax_code":
        return value or None
    return str(value).strip()
