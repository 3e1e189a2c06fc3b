"""What workflow code says in a turn that is a replay is dropped: it was said when the turn was taken for the first time."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO, cast

_OWN = ["ntro", "runtime"]


class ReplayOutput:
    """Installed before the bundle is imported, because code may keep the streams that it finds then."""

    def __init__(self) -> None:
        self.silent = False

    def install(self) -> None:
        """Stand before the streams of this process, and before its log. Workers are forked outside of turns, and are never silent."""
        sys.stdout = cast(TextIO, _Stream(sys.stdout, self))
        sys.stderr = cast(TextIO, _Stream(sys.stderr, self))
        for handler in logging.getLogger().handlers:
            handler.addFilter(self._passes)

    @contextmanager
    def turn(self, *, replayed: bool) -> Iterator[None]:
        """Around the code of a turn, and nothing else: what goes wrong outside of it must be seen."""
        self.silent = replayed
        try:
            yield
        finally:
            self.silent = False

    def _passes(self, record: logging.LogRecord) -> bool:
        return not self.silent or record.name.split(".")[:2] == _OWN


class _Stream:
    def __init__(self, stream: TextIO, output: ReplayOutput) -> None:
        self._stream = stream
        self._output = output

    def write(self, text: str) -> int:
        return len(text) if self._output.silent else self._stream.write(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
