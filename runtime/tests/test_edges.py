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

import pytest

from ntro_runtime.engine.child import LogPipe
from ntro_runtime.shared.errors import ProtocolError
from ntro_runtime.supervisor.log_pump import MAX_LINE, LogPump
from ntro_runtime.supervisor.operator_api import OutageError, StoppedError, UnreachableError, patiently
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


class Pump:
    def __init__(self, block: threading.Event | None = None) -> None:
        self.sent: list[dict[str, Any]] = []
        self._block = block
        self.pipes = {name: os.pipe() for name in ("stdout", "stderr", "logging")}
        self.pump = LogPump(self._send)
        self.pump.start({name: ends[0] for name, ends in self.pipes.items()})

    def _send(self, lines: list[dict[str, Any]]) -> None:
        if self._block is not None:
            self._block.wait()
        self.sent += lines

    def write(self, stream: str, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self.pipes[stream][1], view) :]

    def texts(self, stream: str) -> list[str]:
        assert self.pump.flush(10)
        return [line["text"] for line in self.sent if line["stream"] == stream]


def test_lines_are_numbered_and_whole() -> None:
    pump = Pump()
    pump.write("stdout", b"one\ntw")
    pump.write("stdout", b"o\n\nthree \xff\x00")
    pump.write("logging", json.dumps("INFO x: a\nb").encode() + b"\n")
    assert pump.texts("stdout") == ["one", "two", "", "three \ufffd\ufffd"]
    assert pump.texts("logging") == ["INFO x: a", "b"]
    assert sorted(line["n"] for line in pump.sent) == list(range(6))


def test_a_line_without_end_is_cut() -> None:
    pump = Pump()
    pump.write("stderr", b"x" * (MAX_LINE * 2 + 10))
    assert [len(text) for text in pump.texts("stderr")] == [MAX_LINE, MAX_LINE, 10]


def test_too_much_is_dropped_and_counted_and_never_blocks_the_writer() -> None:
    gate = threading.Event()
    pump = Pump(gate)
    line = b"x" * 1023 + b"\n"
    for _ in range(6000):
        pump.write("stdout", line)
    gate.set()
    assert pump.pump.flush(20)
    pump.write("stdout", b"last\n")
    assert pump.texts("stdout")[-1] == "last"
    dropped = [text for text in pump.texts("logging") if "lines were dropped" in text]
    assert len(dropped) == 1
    assert len(pump.texts("stdout")) < 6000


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


def test_a_flush_is_bounded() -> None:
    pump = Pump(threading.Event())
    pump.write("stdout", b"never sent\n")
    assert pump.pump.flush(0.2) is False


# -- patience --------------------------------------------------------------------------------------


def test_patience_ends_with_an_answer_a_refusal_an_outage_or_a_stop() -> None:
    answers: list[Any] = [UnreachableError(), ProtocolError("NotYet", retry_after_ms=1), "here"]

    def ask() -> Any:
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert patiently(ask, 60_000, threading.Event()) == "here"
    answers[:] = [UnreachableError(), ProtocolError("Fenced")]
    with pytest.raises(ProtocolError, match="Fenced"):
        patiently(ask, 60_000, threading.Event())
    answers[:] = [UnreachableError()]
    with pytest.raises(OutageError):
        patiently(ask, 300, threading.Event())
    stop = threading.Event()
    stop.set()
    with pytest.raises(StoppedError):
        patiently(ask, 60_000, stop)
