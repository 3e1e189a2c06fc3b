"""Signals that reached no handler are recorded, once each: whoever sent one can see it."""

from __future__ import annotations

import logging

from ..workflow.signals import IgnoredSignal
from .journal_session import JournalSession

_log = logging.getLogger("ntro.runtime")


def record_ignored(session: JournalSession, delivery: int, ignored: list[IgnoredSignal]) -> None:
    """`delivery` is the `seq` of what carried them. A replay finds them recorded, unless their first turn was interrupted."""
    for signal in ignored:
        if delivery not in session.journal.ignored_signals:
            _log.warning("signal without effect: %s", signal.text)
            session.append({"type": "signalIgnored", "signal": delivery, "reason": signal.reason})
