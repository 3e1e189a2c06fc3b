"""The review gate: what is shown, and what the answer means."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

from .models import Inputs, Reconciliation, Review

_KINDS = {
    "approve": "approve",
    "approved": "approve",
    "reject": "reject",
    "rejected": "reject",
    "correct": "correct",
    "corrected": "correct",
}


class Answer(BaseModel):
    kind: Literal["approve", "reject", "correct", "unclear"]
    corrections: list[Any] = Field(default_factory=list)
    comments: str = ""


def answer_of(action: Any) -> Answer:
    """The person's answer. `kind`, `type` and `action` are spellings of the same and must agree. An approval
    that carries corrections is a correction, since nobody has seen the corrected journal yet. In doubt,
    nothing is approved.
    """
    if not isinstance(action, dict):
        return Answer(kind="unclear")
    given = [str(action[name]).strip().lower() for name in ("kind", "type", "action") if action.get(name)]
    kinds = {_KINDS.get(word, "unclear") for word in given}
    corrections = action.get("corrections") or []
    if not isinstance(corrections, list) or len(kinds) != 1:
        return Answer(kind="unclear")
    kind = kinds.pop()
    if kind == "approve" and corrections:
        kind = "correct"
    comments = action.get("comments") or action.get("reason") or ""
    return Answer(kind=kind, corrections=corrections, comments=str(comments))


def payload(
    inputs: Inputs, reconciliation: Reconciliation, review: Review, rounds: int, notice: str
) -> dict[str, Any]:
    """The data sets of the table, amounts as text."""
    names = {a.code: a.name for a in inputs.trial_balance.accounts}
    shown = {
        "entity": inputs.opened.entity_slug,
        "period": inputs.opened.period,
        "round": rounds,
        "journal": [
            {
                "line": number,
                "account_code": line.account_code,
                "account_name": names.get(line.account_code, ""),
                "description": line.description,
                "debit": f"{line.debit:.2f}",
                "credit": f"{line.credit:.2f}",
                "tax_code": line.tax_code or "",
            }
            for number, line in enumerate(review.journal.lines, start=1)
        ],
        "reconciliation": [item.model_dump(mode="json") for item in reconciliation.items],
        "exceptions": [finding.model_dump(mode="json") for finding in review.exceptions],
        "totals": review.totals,
    }
    if notice:
        level = "warning" if review.refused or not review.applied else "info"
        shown["feedback"] = {"kind": "corrections", "level": level, "payload": {"message": notice}}
    return shown


def display_hint(period: str) -> dict[str, Any]:
    """A table with one tab per data set; the journal's cells can be corrected."""
    return {
        "component": "DATA_TABLE",
        "config": {
            "title": f"Allocation journal {period}",
            "approve_label": "Approve and write pack",
            "reject_label": "Reject",
            "allow_corrections": True,
            "datasets": [
                {"key": "journal", "label": "Journal", "data_key": "journal", "columns": _JOURNAL},
                {"key": "totals", "label": "Totals", "data_key": "totals"},
                {
                    "key": "exceptions",
                    "label": "Exceptions",
                    "data_key": "exceptions",
                    "columns": _EXCEPTIONS,
                },
                {
                    "key": "reconciliation",
                    "label": "Bank reconciliation",
                    "data_key": "reconciliation",
                    "columns": _RECONCILIATION,
                },
            ],
        },
    }


def _columns(*columns: tuple[str, str, str], editable: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    return [{"key": k, "label": label, "type": t, "editable": k in editable} for k, label, t in columns]


_JOURNAL = _columns(
    ("line", "Line", "number"),
    ("account_code", "Account", "text"),
    ("account_name", "Name", "text"),
    ("description", "Description", "text"),
    ("debit", "Debit", "currency"),
    ("credit", "Credit", "currency"),
    ("tax_code", "Tax code", "text"),
    editable=("account_code", "description", "debit", "credit", "tax_code"),
)
_EXCEPTIONS = _columns(
    ("severity", "Severity", "badge"),
    ("code", "Code", "text"),
    ("source", "Source", "text"),
    ("reference", "Reference", "text"),
    ("amount", "Amount", "currency"),
    ("detail", "Detail", "text"),
)
_RECONCILIATION = _columns(
    ("status", "Status", "badge"),
    ("category", "Category", "text"),
    ("date", "Date", "date"),
    ("reference", "Reference", "text"),
    ("details", "Details", "text"),
    ("amount", "Amount", "currency"),
    ("against", "Against", "text"),
    ("misdated", "Mis-dated", "badge"),
)
