"""Guards, log stream and waiting for the operator, each by itself."""

from __future__ import annotations

import json
import logging
import os
import random
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

from ntro_runtime.engine.child import LogPipe
from ntro_runtime.workflow.guards import Guard
from ntro_runtime.workflow.source_location import SourceLocation, SourceLocator

# -- guards ----------------------------------------------------------------------------------------


def guarded(root: Path, code: str, **names: Any) -> list[tuple[str, SourceLocation | None]]:
    """What the guard says about `code`, run as a file of the bundle."""
    found: list[tuple[str, SourceLocation | None]] = []
    path = root / "templates" / "workflow.py"
    function: dict[str, Any] = dict(names)
    exec(compile(code, str(path), "exec"), function)
    with Guard(SourceLocator(root), lambda message, site: found.append((message, site))):
        function["go"]()
    return found


def test_only_calls_of_bundle_code_itself_are_watched(tmp_path: Path) -> None:
    def library() -> float:
        return time.time()

    assert guarded(tmp_path, "def go():\n    return library()", library=library) == []
    found = guarded(tmp_path, "import time\ndef go():\n    return time.time()")
    assert found == [("time.time() in workflow code is not reproducible: use runbook.now()", SourceLocation("templates/workflow.py", 3))]


def test_a_seeded_generator_is_allowed_and_the_shared_one_is_not(tmp_path: Path) -> None:
    assert guarded(tmp_path, "def go():\n    return mine.choice([1, 2]), mine.random()", mine=random.Random(1)) == []
    assert guarded(tmp_path, "import random\ndef go():\n    return random.randint(1, 2)")[0][0].startswith("random.randint()")
    assert guarded(tmp_path, "from random import gauss\ndef go():\n    return gauss(0, 1)")[0][0].startswith("random.gauss()")


def test_names_bound_before_are_watched_too(tmp_path: Path) -> None:
    code = "from datetime import datetime\nfrom uuid import uuid4\ndef go():\n    return {}"
    for call, name in (("datetime.now()", "datetime.now()"), ("datetime.utcnow()", "datetime.utcnow()"), ("uuid4()", "uuid.uuid4()")):
        assert guarded(tmp_path, code.format(call))[0][0].startswith(name)


def test_threads_and_connections_are_refused_at_any_depth(tmp_path: Path) -> None:
    def library() -> None:
        thread = threading.Thread(target=lambda: None)
        thread.start()
        thread.join()

    found = guarded(tmp_path, "def go():\n    library()", library=library)
    assert found == [("workflow code started a thread: do it in an activity", SourceLocation("templates/workflow.py", 2))]


def test_outside_of_turns_nothing_is_watched(tmp_path: Path) -> None:
    found: list[Any] = []
    with Guard(SourceLocator(tmp_path), lambda *it: found.append(it)):
        pass
    time.time()
    thread = threading.Thread(target=lambda: None)
    thread.start()
    thread.join()
    assert found == []


# -- the log stream --------------------------------------------------------------------------------


def test_records_of_forks_are_not_mixed() -> None:
    read_end, write_end = os.pipe()
    handler = LogPipe(write_end)
    # Longer than what a pipe takes in one piece, or holds.
    texts = [letter * 100_000 for letter in "abcd"]
    forks = []
    for text in texts:
        forks.append(os.fork())
        if forks[-1] == 0:
            for _ in range(10):
                handler.emit(logging.LogRecord("x", logging.INFO, "", 0, text, None, None))
            os._exit(0)
    os.close(write_end)
    with os.fdopen(read_end, "rb") as lines:
        found = Counter(json.loads(line) for line in lines)
    assert [os.waitpid(fork, 0)[1] for fork in forks] == [0] * len(forks)
    assert found == dict.fromkeys(texts, 10)
