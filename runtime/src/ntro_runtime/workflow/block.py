"""Why a run cannot proceed without a person."""

from __future__ import annotations

from dataclasses import dataclass

from ..shared.errors import BlockCode, ExitCode
from .source_location import SourceLocation


@dataclass(frozen=True)
class Block:
    """Why a run cannot continue without a person. `message` is payload: it goes to the journal only."""

    code: BlockCode
    message: str
    site: SourceLocation | None = None
    activity: str | None = None
    exit_code: ExitCode = ExitCode.BLOCKED


class SdkMisuse(Exception):  # noqa: N818 - the name of the block code
    """Something workflow code must not do. Never reaches the code itself: the run is blocked instead."""
