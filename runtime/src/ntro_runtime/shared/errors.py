"""What both sides of the wall say about failure: exit codes of the runner, codes and errors of the protocol."""

from __future__ import annotations

import enum
from typing import Any


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
