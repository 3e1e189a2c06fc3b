"""Checks that the three inputs are of the period and agree with each other, before anything is computed."""

from __future__ import annotations

from decimal import Decimal

from ntro.accounting.models import ChartOfAccounts, TBLine, TrialBalance
from ntro.accounting.validation import validate_period_match, validate_required_accounts

from .amounts import period_of, refuse
from .models import ZERO, InputChecks, Inputs, TrialBalanceFile


def sdk_trial_balance(source: TrialBalanceFile, entity_slug: str) -> TrialBalance:
    """The trial balance as the accounting library takes it."""
    lines = [
        TBLine(account_code=a.code, account_name=a.name, debit=a.debit, credit=a.credit)
        for a in source.accounts
    ]
    return TrialBalance(entity_slug=entity_slug, period=source.period, kind="closing", lines=lines)


def chart(source: TrialBalanceFile, entity_slug: str) -> ChartOfAccounts:
    """The accounts of the trial balance as a chart of accounts."""
    rows = [{"code": a.code, "name": a.name, "type": a.type} for a in source.accounts]
    return ChartOfAccounts.from_rows(rows, entity_slug)


def check_inputs(inputs: Inputs) -> InputChecks:
    """Agreed control totals; a period, balance or account that is wrong ends the run."""
    opened, source = inputs.opened, inputs.trial_balance
    tb = sdk_trial_balance(source, opened.entity_slug)
    codes = sorted(set(opened.config.gl_codes.values()))
    for result in (
        validate_period_match(tb, opened.period),
        validate_required_accounts(chart(source, opened.entity_slug), codes),
    ):
        if not result.passed:
            raise refuse(f"trial balance: {result.failure_detail}")
    if not tb.is_balanced:
        raise refuse(f"trial balance: debits {tb.total_debits} differ from credits {tb.total_credits}")

    roll, statement = inputs.rent_roll, inputs.statement
    if roll.period != opened.period:
        raise refuse(f"rent roll: is for {roll.period}, expected {opened.period}")
    if {period_of(statement.start), period_of(statement.end)} != {opened.period}:
        raise refuse(f"bank statement: runs {statement.start} to {statement.end}, expected {opened.period}")

    bank = tb.by_account(opened.config.gl_codes["bank"])
    if bank is None or bank.debit - bank.credit != source.ledger_closing:
        raise refuse("bank ledger: closing balance differs from the bank account of the trial balance")
    carried = sum((x.amount for x in source.ledger if x.source == "B/F"), ZERO)
    if source.ledger_opening - carried != statement.opening:
        raise refuse("bank statement: opening balance differs from the ledger less items carried forward")
    return InputChecks(
        accounts=len(source.accounts),
        trial_balance_total=tb.total_debits,
        gross_rent=sum((x.rent_due for x in roll.lines), ZERO),
        overdue_arrears=overdue_arrears(inputs),
        statement_closing=statement.closing,
    )


def overdue_arrears(inputs: Inputs) -> Decimal:
    """Rent unpaid for more than 30 days."""
    return sum(
        (amount for x in inputs.rent_roll.lines for age, amount in x.arrears.items() if age != "0-30"), ZERO
    )
