"""The grace of a cancelled run: how long workflow code, once told, may take to undo what it has done."""

from __future__ import annotations

import time

from .journal_session import JournalSession


class Cancellation:
    """Its time runs from when this process tells workflow code: what comes before, such as a replay, is not the code's."""

    def __init__(self, session: JournalSession) -> None:
        self._session = session
        self._until: float | None = None

    def begin(self) -> None:
        """Workflow code is told now."""
        if self._until is None:
            self._until = time.monotonic() + self._session.seconds("cancelGraceMs")

    @property
    def told(self) -> bool:
        """Whether workflow code was told."""
        return self._until is not None

    @property
    def over(self) -> bool:
        """Whether its time is over."""
        return self._until is not None and self._until <= time.monotonic()

    def bound(self, seconds: float | None) -> float | None:
        """A wait of `seconds` (none: for ever) that ends with the grace."""
        if self._until is None:
            return seconds
        left = self._until - time.monotonic()
        return left if seconds is None else min(seconds, left)
