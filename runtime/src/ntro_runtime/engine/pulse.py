"""Heartbeats: an attempt says that it goes on, and is taken for hung when it has not for too long."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator

BEAT_EVERY_S = 0.1
"""More frequent heartbeats are one: silence is noticed this much later than it was asked for."""


class Heart:
    """In a worker: sends the heartbeats of one attempt, which may come from any thread."""

    def __init__(self, send: Callable[[], None]) -> None:
        self._send = send
        self._sent_at = -math.inf

    def beat(self) -> None:
        now = time.monotonic()
        if now - self._sent_at >= BEAT_EVERY_S:
            self._sent_at = now
            with contextlib.suppress(OSError):  # a fork of the worker says nothing, and a worker that nobody hears ends
                self._send()


class Pulse:
    """On the other side: when the attempt was last heard of."""

    def __init__(self) -> None:
        self.at = time.monotonic()

    def felt(self) -> None:
        """It was heard of."""
        self.at = time.monotonic()

    @contextlib.contextmanager
    def answering(self) -> Iterator[None]:
        """While it waits for us it is not silent, however long the journal takes."""
        self.at = math.inf
        try:
            yield
        finally:
            self.felt()
