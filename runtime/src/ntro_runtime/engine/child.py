"""The process that runs a bundle, started by the supervisor.

    python -m ntro_runtime.engine.child BUNDLE SCRATCH JOURNAL_FD LOG_FD [--allow-no-landlock]

BUNDLE is where the bundle is unpacked, alone in its directory, before the attach is answered; SCRATCH the only directory that may be
written; JOURNAL_FD a socket to the supervisor; LOG_FD a pipe for log records. The process first gives up every right it does not need,
then talks to the journal over the socket. It never has the pod's token.
"""

from __future__ import annotations

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

ALLOW_NO_LANDLOCK = "--allow-no-landlock"


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


def set_up_logging(fd: int) -> None:
    """Everything from INFO on goes to the run's log, through the pipe."""
    handler = LogPipe(fd)
    handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.captureWarnings(True)
    for noisy in ("httpx", "httpcore", "pdfminer"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def main(argv: list[str] | None = None) -> NoReturn:
    """Run one segment and exit with one of the runner's exit codes."""
    # Not argparse, whose import is a thirtieth of a start: there is one caller.
    arguments = sys.argv[1:] if argv is None else argv
    bundle, scratch, journal_fd, log_fd = Path(arguments[0]), Path(arguments[1]), int(arguments[2]), int(arguments[3])
    # The supervisor aborts a process whose workflow code does not yield: the log then shows where it was.
    faulthandler.enable()
    set_up_logging(log_fd)
    try:
        sandbox.die_with_parent()
        sandbox.restrict(sandbox.policy(bundle.parent, scratch), required=ALLOW_NO_LANDLOCK not in arguments)
    except sandbox.SandboxError as error:
        logging.getLogger("ntro.runtime").error("%s", error)
        sys.exit(ExitCode.CONFIG)
    os.chdir(scratch)
    engine = Engine(JournalClient(socket.socket(fileno=journal_fd), scratch), bundle)
    signal.signal(signal.SIGTERM, lambda *_: engine.terminate())
    engine.run()


if __name__ == "__main__":
    main()
