"""Why a process of the runner ends, and the errors of the durable protocol."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any

from .sites import Site


class ExitCode(enum.IntEnum):
    """Exit codes of the runner. None of them decides anything: only the journal does."""

    OK = 0
    CRASH = 1
    BLOCKED = 70
    OUTAGE = 75
    FENCED = 77
    CONFIG = 78
    TERMINATED = 143


class BlockCode(enum.StrEnum):
    """The codes of a `blocked` entry that the runtime itself writes."""

    DIVERGENCE = "Divergence"
    ARGS_DRIFT = "ArgsDrift"
    CODE_ERROR = "CodeError"
    SDK_MISUSE = "SdkMisuse"
    GATE_OVERLAP = "GateOverlap"
    BUNDLE_INVALID = "BundleInvalid"
    RUNTIME_TOO_OLD = "RuntimeTooOld"
    EFFECT_UNKNOWN = "EffectUnknown"
    RETRIES_EXHAUSTED = "ActivityRetriesExhausted"
    TOO_LARGE = "TooLarge"


@dataclass(frozen=True)
class Block:
    """Why a run cannot go on without a person. `message` is payload: it goes to the journal only."""

    code: BlockCode
    message: str
    site: Site | None = None
    activity: str | None = None
    exit_code: ExitCode = ExitCode.BLOCKED


class SdkMisuse(Exception):  # noqa: N818 - the name of the block code
    """Something workflow code must not do. Never reaches the code itself: the run is blocked instead."""


class ProtocolError(Exception):
    """The operator refused a request. `code` is one of the protocol's error codes."""

    def __init__(self, code: str, message: str = "", retry_after_ms: int | None = None, **extra: Any) -> None:
        super().__init__(f"{code}: {message}" if message else code)
        self.code = code
        self.message = message
        self.retry_after_ms = retry_after_ms
        self.extra: dict[str, Any] = extra

    @classmethod
    def from_wire(cls, body: dict[str, Any]) -> ProtocolError:
        """From the error object of a reply."""
        known = {"code", "message", "retryAfterMs"}
        extra = {key: value for key, value in body.items() if key not in known}
        return cls(str(body.get("code", "Invalid")), str(body.get("message", "")), body.get("retryAfterMs"), **extra)

    def to_wire(self) -> dict[str, Any]:
        """The error object of a reply."""
        body: dict[str, Any] = {"code": self.code, "message": self.message, **self.extra}
        if self.retry_after_ms is not None:
            body["retryAfterMs"] = self.retry_after_ms
        return body


class ConnectionLostError(Exception):
    """Nobody answers on the channel to the journal any more."""


@dataclass(frozen=True)
class Leave:
    """The order to end this process: `code`, and what to tell the journal first."""

    code: ExitCode
    released: str | None = None
    block: Block | None = None
