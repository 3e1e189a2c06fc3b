"""One attempt of a segment in a process of its own: `python -m segment SOCKET BUNDLE [NUMBER]`.

With NUMBER the process dies, without a word, at the NUMBER-th point it reaches. The points reached are appended to
the file named by SEGMENT_POINTS.
"""

from __future__ import annotations

import logging
import os
import socket
import sys
import threading
from pathlib import Path

from ntro_runtime.engine import Engine
from ntro_runtime.journal_client import JournalClient

KILLED = 99


def main() -> None:
    path, bundle, *kill = sys.argv[1:]
    stream = socket.socket(socket.AF_UNIX)
    stream.connect(path)
    points = os.environ.get("SEGMENT_POINTS")
    lock = threading.Lock()
    reached = 0

    def probe(point: str) -> None:
        nonlocal reached
        with lock:
            reached += 1
            if points is not None:
                with open(points, "a") as file:
                    file.write(f"{point}\n")
            if kill and reached == int(kill[0]):
                os._exit(KILLED)

    logging.basicConfig(level=logging.INFO)
    Engine(JournalClient(stream), Path(bundle), probe=probe).run()


if __name__ == "__main__":
    main()
