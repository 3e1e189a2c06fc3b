"""Commands: what workflow code did, and whether the journal says the same. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .entries import COMMANDS, PAYLOADS
from .journal import Entry
from .payload import Payload
from .source_location import SourceLocation


def payload_field(kind: str) -> str:
    """The field of a command that holds its payload."""
    (name,) = PAYLOADS[kind]
    return name


@dataclass
class Command:
    """One command as the code gave it, before the operator stamps it."""

    number: int
    seen_upto: int
    type: str
    fields: dict[str, Any]
    payload: Payload | None = None
    site: SourceLocation | None = field(default=None, compare=False)

    @property
    def size(self) -> int:
        """Roughly its bytes on the wire."""
        return 256 + (len(self.payload.data) if self.payload else 0)

    def to_wire(self, inline_max: int) -> dict[str, Any]:
        """The entry to append; a payload above `inline_max` bytes is named by its digest."""
        wire: dict[str, Any] = {"type": self.type, "command": self.number, "seenUpto": self.seen_upto, **self.fields}
        if self.payload is not None:
            wire[payload_field(self.type)] = self.payload.to_wire(inline_max)
        return wire


@dataclass(frozen=True)
class Difference:
    """The code did something else than the journal says. `drift`: only the payload differs."""

    message: str
    drift: bool = False


def describe(entry: Entry) -> str:
    """A command in a few words, without payload."""
    kind = entry["type"]
    match kind:
        case "activityScheduled":
            return f"activity {entry['activity']!r}" + (f" in step {entry['step']!r}" if entry.get("step") else "")
        case "gateOpened":
            return f"{entry['kind']} gate of step {entry['step']!r}"
        case "timerStarted":
            return f"timer of {entry['durationMs']} ms"
        case "stepsChanged":
            active = [step["id"] for step in entry["steps"] if step["status"] == "active"]
            return f"steps with {', '.join(active) or 'none'} active"
        case "activityCancelRequested" | "timerCancelled" | "gateRevised" | "gateClosed":
            return f"{kind} of command {entry['target']}"
        case "runCompleted" | "runFailed":
            return str(kind)
    raise ValueError(f"not a command: {kind!r}")


def compare(command: Command, recorded: Entry) -> Difference | None:
    """What differs between what the code did now and what the journal says it did then."""
    now = {"type": command.type, **command.fields}
    number = command.number
    same_kind = recorded["type"] == command.type
    if not same_kind or any(recorded.get(name) != now.get(name) for name in COMMANDS[command.type]):
        return Difference(f"command {number}: the journal has {describe(recorded)}, the code now gives {describe(now)}")
    if int(recorded["seenUpto"]) != command.seen_upto:
        return Difference(
            f"command {number}, {describe(now)}: given after delivery {command.seen_upto}, "
            f"in the journal after delivery {recorded['seenUpto']}"
        )
    if command.payload is None or command.type == "runFailed":
        return None
    name = payload_field(command.type)
    if not command.payload.equals(recorded[name]):
        return Difference(f"command {number}, {describe(now)}: its {name} differ from those in the journal", drift=True)
    return None
