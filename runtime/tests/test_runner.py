"""What the supervisor guards against: code that never yields, bytes without end, a child that breaks the rules."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ntro_runtime.workflow.payload import digest_of
from runner_pod import WORKFLOW, Pod, events, wait_for

MakePod = Callable[..., Pod]


def workflow(body: str, top: str = "") -> str:
    """The probe's workflow with this body of `run`, and this before its class."""
    source = WORKFLOW.replace("        return await self._one(input)\n", "".join(f"        {line}\n" for line in body.splitlines()))
    return source.replace("@runbook.defn\n", f"{top}\n@runbook.defn\n")


def peak_memory(pid: int) -> int:
    """The most resident memory a process had so far, in bytes; 0 if it is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM")), 0)


def is_gone(pid: int) -> bool:
    try:
        return "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return True


# -- code that does not yield ----------------------------------------------------------------------

ENDLESS = {
    "a loop": workflow("while True:\n    pass"),
    "a loop that awaits nothing": workflow("while True:\n    await asyncio.sleep(0)"),
    "a loop that swallows everything": workflow("while True:\n    try:\n        1 / 0\n    except BaseException:\n        pass"),
    "a loop in C": workflow("import re\nre.match('(a+)+$', 'a' * 60 + 'b')"),
    "a predicate": workflow("await runbook.wait_condition(lambda: [None for _ in iter(int, 1)])"),
    "an import": workflow("return 1", top="while True:\n    pass\n"),
}


@pytest.mark.parametrize("source", ENDLESS.values(), ids=ENDLESS)
def test_code_that_never_yields_blocks_the_run(pod: MakePod, source: str) -> None:
    it = pod("return 7", workflow=source, cancel_grace_ms=100)
    code, printed = it.finish(NTRO_TURN_LIMIT_SECONDS="2")
    assert code == 70, printed
    assert it.run.state()["phase"] == "Blocked"
    assert it.run.blocked()[0] == "CodeError"
    assert "has not yielded for 2 s" in it.run.blocked()[1]
    assert it.run.entries("released")[0]["cause"] == "blocked"
    assert "Aborted" in it.log()
    assert events(printed)[-1]["exit"] == "blocked"


def test_an_effect_under_way_is_not_cut_by_code_that_never_yields(pod: MakePod) -> None:
    source = workflow(
        "slow = asyncio.ensure_future(self._one(input))\n"
        "await runbook.execute_activity(quick, start_to_close_timeout=60)\n"
        "while True:\n    pass",
        top="@activity.defn\ndef quick() -> int:\n    return 1\n",
    )
    it = pod("time.sleep(2); os.write(1, b'effect done\\n')", workflow=source, effect="external", cancel_grace_ms=6000)
    code, printed = it.finish(NTRO_TURN_LIMIT_SECONDS="0.5")
    assert code == 70, printed
    assert "effect done" in it.log()
    assert "templates/workflow.py" in it.log()
    assert it.run.blocked()[0] == "CodeError"


def test_code_that_yields_late_goes_on(pod: MakePod) -> None:
    source = workflow("ctypes.CDLL(None).usleep(1_200_000)\nreturn await self._one(input)")
    it = pod("return 7", workflow=source)
    code, printed = it.finish(NTRO_TURN_LIMIT_SECONDS="0.5")
    assert code == 0, printed + it.log()
    assert [e for e in events(printed) if e["event"] == "turnTooLong"]
    assert it.run.result() == 7


# -- bytes -----------------------------------------------------------------------------------------


def test_a_large_result_is_never_whole_in_the_supervisor(pod: MakePod) -> None:
    it = pod("return 'x' * 50_000_000", lease_ms=20_000, outage_wait_ms=60_000)
    process = it.start()
    peak = 0
    while process.poll() is None:
        peak = max(peak, peak_memory(process.pid))
        time.sleep(0.005)
    code, printed = it.finish()
    assert code == 0, printed
    assert len(it.run.result()) == 50_000_000
    assert [request.split()[0] for request in it.operator.requests if "blobs" in request] == ["PUT", "GET", "PUT"]
    assert 0 < peak < 30_000_000


def test_a_blob_is_sent_and_fetched_again_if_what_answers_is_not_the_operator(pod: MakePod) -> None:
    it = pod("return 'x' * 100_000")
    path = "/v1/pod/blobs/" + digest_of(json.dumps("x" * 100_000).encode())
    it.operator.garbled += [f"PUT {path}", f"GET {path}"]
    code, printed = it.finish()
    assert code == 0, printed
    assert len(it.run.result()) == 100_000
    assert it.operator.requests.count(f"GET {path}") == 2


def test_moving_a_blob_for_longer_than_the_lease_keeps_it(pod: MakePod) -> None:
    it = pod("return 'x' * 100_000", lease_ms=600)
    it.operator.slow["/v1/pod/blobs/"] = 2.5
    code, printed = it.finish()
    assert code == 0, printed
    assert len(it.run.result()) == 100_000


def test_whatever_a_program_prints_is_text_in_lines_of_bounded_length(pod: MakePod) -> None:
    it = pod(
        r"""
        os.write(1, bytes(range(256)) * 4)
        os.write(2, b"y" * 100_000)
        logging.getLogger("x").warning("%s", "\ud800" + "z" * 40_000)
        return 7
        """
    )
    code, printed = it.finish()
    assert code == 0, printed
    lines = it.run.server.ask("logs", run=it.run.id)["lines"]
    assert all(len(line["text"].encode()) <= 16 * 1024 and "\0" not in line["text"] for line in lines)
    assert sum(line["text"].count("y") for line in lines if line["stream"] == "stderr") == 100_000
    assert sum(line["text"].count("z") for line in lines if line["stream"] == "logging") == 40_000
    assert "\ufffd" in it.log()


# -- a child that breaks the rules -----------------------------------------------------------------

SOCKET = """
import socket
links = {int(fd): os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if os.path.lexists(f"/proc/self/fd/{fd}")}
channel = socket.socket(fileno=os.dup(next(fd for fd, link in links.items() if link.startswith("socket:"))))
"""


def imported(code: str) -> str:
    """A bundle that does this when it is imported: the process has the channel then, and workers do not."""
    return workflow("return await self._one(input)", top=code)


@pytest.mark.parametrize("line", ["nonsense", "[]", '{"op": "poll"}', '{"id": 1}', '{"op": "turn"}'])
def test_a_child_that_does_not_speak_the_protocol_is_left(pod: MakePod, line: str) -> None:
    it = pod("return 7", workflow=imported(f"{SOCKET}\nchannel.sendall({line.encode() + bytes([10])!r})\ntime.sleep(60)"))
    code, printed = it.finish()
    assert code == 1, printed
    assert [e for e in events(printed) if e["event"] == "brokenChannel"]


def test_a_child_that_closes_its_channel_is_left(pod: MakePod) -> None:
    it = pod("return 7", workflow=imported("os.closerange(3, 100)\nctypes.PyDLL(None).sleep(60)  # holds the interpreter's lock"))
    code, printed = it.finish()
    assert code == 1, printed


def test_what_is_no_readable_file_is_refused_and_blocks_nobody(pod: MakePod) -> None:
    hostile = imported(
        f"""
{SOCKET}
line = b'{{"op": "putBlob", "id": 1000%d, "digest": "sha256:' + b'0' * 64 + b'", "size": 10}}\\n'
short = os.open("short", os.O_CREAT | os.O_RDWR)
unreadable = os.open("unreadable", os.O_CREAT | os.O_WRONLY)
os.ftruncate(unreadable, 10)
for number, fd in enumerate([os.pipe()[0], short, unreadable, os.open(".", os.O_RDONLY), os.open("short", os.O_PATH)]):
    socket.send_fds(channel, [line % number], [fd])
channel.sendall(line % 9)
"""
    )
    it = pod("return 7", workflow=hostile)
    code, printed = it.finish()
    assert code == 0, printed + it.log()
    assert it.run.result() == 7
    assert not [request for request in it.operator.requests if "blobs" in request]


def test_nothing_outlives_the_child(pod: MakePod) -> None:
    it = pod(
        """
        import subprocess
        one = subprocess.Popen(["sleep", "600"])
        two = subprocess.Popen(["sleep", "600"], start_new_session=True)
        return [one.pid, two.pid]
        """
    )
    code, printed = it.finish()
    assert code == 0, printed
    assert all(is_gone(pid) for pid in it.run.result())


def test_the_child_dies_with_the_supervisor(pod: MakePod) -> None:
    it = pod("os.write(1, b'begun\\n'); time.sleep(60)")
    process = it.start()
    wait_for(lambda: "begun" in it.log())
    child = it.child()
    process.send_signal(signal.SIGKILL)
    wait_for(lambda: is_gone(child))


# -- pages -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", [1, 2])
def test_a_journal_that_comes_in_pages_is_read_to_its_end(pod: MakePod, page: int) -> None:
    it = pod("return 7")
    it.operator.page = page
    code, printed = it.finish()
    assert code == 0, printed
    assert it.run.result() == 7
    assert it.operator.requests.count("POST /v1/pod/poll") >= 3 // page
