"""Gates: what is shown, what may be answered, and what the code gets. Pure.

The published documents disagree on the body of an answer (`kind`, `type` or `action`), so all three spellings are given and agree.
A `correct` is only offered where the gate says `allow_corrections: true` in its display hint: published templates take whatever is not
`reject` for an approval, and one that does not look at `corrections` must never be handed any.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from .instance import Instance
from .source_location import SourceLocation

ANSWERS = {"approve": "approved", "reject": "rejected", "correct": "corrected"}


@dataclass(frozen=True)
class GateRequest:
    """A gate about to open: `review` asks for a judgement, `submission` for something to be handed in."""

    kind: str
    owner: Instance
    site: SourceLocation | None


def component_of(action: dict[str, Any]) -> str:
    """The display component of a pending action."""
    hint = action.get("display_hint")
    component = hint.get("component") if isinstance(hint, dict) else None
    return str(component) if component else "APPROVAL_FORM"


def actions_of(kind: str, action: dict[str, Any]) -> list[str]:
    """The verbs a person may use."""
    if kind == "submission":
        return ["submit"]
    hint = action.get("display_hint")
    config = hint.get("config") if isinstance(hint, dict) else None
    corrections = isinstance(config, dict) and config.get("allow_corrections") is True
    return ["approve", "reject", "correct"] if corrections else ["approve", "reject"]


def answer(verb: str, actor: str, comment: str | None, correction: str | None) -> dict[str, Any]:
    """The `user_action` that `wait_for_action` returns. `comment` and `correction` are JSON texts."""
    action: dict[str, Any] = {"kind": verb, "type": ANSWERS[verb], "action": verb, "actor": actor}
    if comment is not None:
        action["comments"] = comment_text(comment)
    if verb == "correct":
        values = json.loads(correction) if correction is not None else []
        if isinstance(values, dict) and set(values) == {"corrections"}:
            values = values["corrections"]
        action["corrections"] = values
        action["payload"] = {"corrections": values}
    return action


def comment_text(comment: str) -> str:
    """The words of a comment payload, a JSON string."""
    value = json.loads(comment)
    return value if isinstance(value, str) else comment


def signal_name(action: dict[str, Any]) -> str | None:
    """The signal that hands in what a submission gate asks for."""
    args = action.get("args")
    name = args.get("signal_name") if isinstance(args, dict) else action.get("signal_name")
    return str(name) if name else None
