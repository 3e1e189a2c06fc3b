"""One attempt of an activity, and how it ended: what travels between the process that runs workflow code and a worker."""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from typing import Any

from ..sdk.context import ActivityInfo
from ..shared.errors import ProtocolError
from ..workflow.failures import Failure
from ..workflow.journal import Output
from ..workflow.source_location import SourceLocation
from .journal_client import Json
from .pulse import Pulse


@dataclass(frozen=True)
class Attempt:
    """One attempt to run. `number` counts from 1, `args_text` is a JSON array."""

    command: int
    number: int
    name: str
    function: Callable[..., Any]
    args_text: str
    info: ActivityInfo
    repeatable: bool
    """Its effect may happen more than once."""
    pulse: Pulse = field(default_factory=Pulse, compare=False)

    def to_wire(self, reference: Json) -> Json:
        """The order to run it; `reference` stands for the function."""
        return {"command": self.command, "number": self.number, "function": reference, "args": self.args_text, "info": asdict(self.info)}


@dataclass(frozen=True)
class Reported:
    """Its code raised."""

    failure: Failure
    site: SourceLocation | None
    traceback: str

    def to_wire(self) -> Json:
        delay = self.failure.next_delay
        fields = {"type": self.failure.type, "message": self.failure.message, "nonRetryable": self.failure.non_retryable}
        if delay is not None:
            fields["nextDelayS"] = delay.total_seconds()
        return {"failure": fields, "site": _site_to_wire(self.site), "traceback": self.traceback}


@dataclass(frozen=True)
class Unwritable:
    """It returned what cannot be written as JSON; its effect has happened."""

    message: str
    site: SourceLocation | None

    def to_wire(self) -> Json:
        return {"unwritable": self.message, "site": _site_to_wire(self.site)}


@dataclass(frozen=True)
class Refused:
    """The journal refused what it asked for, and its code did not handle that."""

    error: ProtocolError

    def to_wire(self) -> Json:
        return {"refused": self.error.to_wire()}


@dataclass(frozen=True)
class Died:
    """Its process ended in the middle: with an exit code, or by a signal if `status` is negative."""

    status: int

    def __str__(self) -> str:
        how = f"was killed by {signal.Signals(-self.status).name}" if self.status < 0 else f"ended with exit code {self.status}"
        return f"the process of the attempt {how}"


AttemptError = Reported | Unwritable | Refused | Died


@dataclass(frozen=True)
class AttemptOutcome:
    """How an attempt ended: `result` is JSON text, or there is an error."""

    attempt: Attempt
    result: str = ""
    outputs: list[Output] = field(default_factory=list)
    error: AttemptError | None = None


def completed_to_wire(result: str, outputs: list[Output]) -> Json:
    """The report of an attempt that returned."""
    return {"result": result, "outputs": [output.to_wire() for output in outputs]}


def outcome_of(attempt: Attempt, report: Json) -> AttemptOutcome:
    """What a worker reported at the end of an attempt."""
    if "result" in report:
        return AttemptOutcome(attempt, report["result"], [Output.of_wire(item) for item in report["outputs"]])
    error: AttemptError
    if "failure" in report:
        fields = report["failure"]
        delay = timedelta(seconds=fields["nextDelayS"]) if "nextDelayS" in fields else None
        failure = Failure(fields["type"], fields["message"], fields["nonRetryable"], delay)
        error = Reported(failure, _site_of(report["site"]), report["traceback"])
    elif "unwritable" in report:
        error = Unwritable(report["unwritable"], _site_of(report["site"]))
    else:
        error = Refused(ProtocolError.from_wire(report["refused"]))
    return AttemptOutcome(attempt, error=error)


def _site_to_wire(site: SourceLocation | None) -> Json | None:
    return None if site is None else site.to_wire()


def _site_of(wire: Json | None) -> SourceLocation | None:
    return None if wire is None else SourceLocation(wire["file"], wire["line"])
