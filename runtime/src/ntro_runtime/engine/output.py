"""What was printed and logged, before somebody hears of what came of it."""

from __future__ import annotations

import contextlib
import logging
import sys


def flush_output() -> None:
    """Write all of it out. Streams and handlers are the bundle's to replace: one that fails keeps nobody from going on."""
    for stream in (*logging.getLogger().handlers, sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
