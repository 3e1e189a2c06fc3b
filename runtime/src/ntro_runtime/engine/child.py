"""The process that runs a bundle: `python -m ntro_runtime.engine.child`, started by the supervisor.

It first gives up every right it does not need, then talks to the journal over an inherited socket. It never has the pod's token.
"""

from __future__ import annotations

import argparse
import faulthandler
import fcntl
import json
import logging
import os
import signal
import socket
import sys
import tempfile
from pathlib import Path
from typing import NoReturn

from ..shared import sandbox
from ..shared.errors import ExitCode
from .engine import Engine
from .journal_client import JournalClient


class LogPipe(logging.Handler):
    """Writes each record as one JSON string per line to the supervisor's pipe, in this process and its forks.

    A long line is not written to a pipe in one piece, so they take turns.
    """

    def __init__(self, fd: int) -> None:
        super().__init__()
        self._fd = fd
        # Locked by process, and let go by the kernel when the process ends.
        self._turn = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as the process lives

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = json.dumps(self.format(record)).encode() + b"\n"
            fcntl.lockf(self._turn, fcntl.LOCK_EX)
            try:
                os.write(self._fd, line)
            finally:
                fcntl.lockf(self._turn, fcntl.LOCK_UN)
        except OSError:
            self.handleError(record)


def set_up_logging(fd: int | None) -> None:
    """Everything from INFO on goes to the run's log, through the pipe or else to stderr."""
    handler: logging.Handler = logging.StreamHandler() if fd is None else LogPipe(fd)
    handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.captureWarnings(True)
    for noisy in ("httpx", "httpcore", "pdfminer"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def main(argv: list[str] | None = None) -> NoReturn:
    """Run one segment and exit with one of the runner's exit codes."""
    parser = argparse.ArgumentParser(prog="ntro-runtime-child")
    parser.add_argument(
        "--bundle", type=Path, required=True, help="where the bundle is unpacked, alone in its directory, before the attach is answered"
    )
    parser.add_argument("--journal-fd", type=int, required=True, help="socket to the supervisor")
    parser.add_argument("--log-fd", type=int, help="pipe for log records")
    parser.add_argument("--scratch", type=Path, required=True, help="the only directory that may be written")
    parser.add_argument("--allow-no-landlock", action="store_true", help="run although the kernel has no Landlock")
    options = parser.parse_args(argv)

    # The supervisor aborts a process whose workflow code does not yield: the log then shows where it was.
    faulthandler.enable()
    set_up_logging(options.log_fd)
    try:
        sandbox.die_with_parent()
        sandbox.restrict(sandbox.policy(options.bundle.parent, options.scratch), required=not options.allow_no_landlock)
    except sandbox.SandboxError as error:
        logging.getLogger("ntro.runtime").error("%s", error)
        sys.exit(ExitCode.CONFIG)
    os.chdir(options.scratch)
    engine = Engine(JournalClient(socket.socket(fileno=options.journal_fd), options.scratch), options.bundle)
    signal.signal(signal.SIGTERM, lambda *_: engine.terminate())
    engine.run()


if __name__ == "__main__":
    main()
