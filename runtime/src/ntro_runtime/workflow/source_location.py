"""Where in the bundle something happened: file relative to the bundle, and line."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any


@dataclass(frozen=True)
class SourceLocation:
    """`file` is relative to the bundle's root."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"

    def to_wire(self) -> dict[str, Any]:
        """The `site` of a `blocked` entry."""
        return {"file": self.file, "line": self.line}


class SourceLocator:
    """Knows which source files belong to the bundle."""

    def __init__(self, root: Path) -> None:
        self._prefix = str(root.resolve()) + "/"

    def owns(self, filename: str) -> bool:
        """Whether `filename` (of a code object) is a file of the bundle."""
        return filename.startswith(self._prefix)

    def site(self, filename: str, line: int) -> SourceLocation:
        """The site of a line of a bundle file."""
        return SourceLocation(filename.removeprefix(self._prefix), line)

    def of_caller(self, frame: FrameType | None = None) -> SourceLocation | None:
        """The innermost line of the bundle that led to the current call (or to `frame`)."""
        current = frame if frame is not None else sys._getframe(1)
        while current is not None:
            if self.owns(current.f_code.co_filename):
                return self.site(current.f_code.co_filename, current.f_lineno)
            current = current.f_back  # type: ignore[assignment]
        return None

    def of_exception(self, error: BaseException) -> SourceLocation | None:
        """The innermost line of the bundle in the traceback of `error`, else of what caused it."""
        seen: set[int] = set()
        current: BaseException | None = error
        while current is not None and id(current) not in seen:
            seen.add(id(current))
            if isinstance(current, SyntaxError) and current.filename and self.owns(current.filename):
                return self.site(current.filename, current.lineno or 0)
            found = self._of_traceback(current.__traceback__)
            if found is not None:
                return found
            current = current.__cause__ or current.__context__
        return None

    def of_code(self, function: Any) -> SourceLocation | None:
        """The first line of a function of the bundle."""
        code = getattr(function, "__code__", None) or getattr(function, "cr_code", None)
        if code is None or not self.owns(code.co_filename):
            return None
        return self.site(code.co_filename, code.co_firstlineno)

    def _of_traceback(self, traceback: TracebackType | None) -> SourceLocation | None:
        found = None
        while traceback is not None:
            filename = traceback.tb_frame.f_code.co_filename
            if self.owns(filename):
                found = self.site(filename, traceback.tb_lineno)
            traceback = traceback.tb_next
        return found
