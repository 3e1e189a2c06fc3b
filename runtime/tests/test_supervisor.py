"""The supervisor against an operator over real TLS, with a real confined child."""

from __future__ import annotations

import json
import os
import select
import signal
import stat
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from https_operator import layer_of
from journal_server import RUNTIME, Json, runner_binary
from runner_pod import HEAD, WORKFLOW, Pod, events, wait_for

# -- payload ---------------------------------------------------------------------------------------


def test_what_the_bundle_prints_is_in_the_log_stream_and_nowhere_else(pod: Callable[..., Pod]) -> None:
    it = pod(
        """
        print("CANARY-print")
        logging.getLogger("x").warning("CANARY-logging %s", "two\\nlines")
        os.write(2, b"CANARY-fd2 \\xff\\n")
        os.write(1, b"CANARY-unfinished")
        raise WorkflowError("CANARY-exception", type="CANARY TYPE", non_retryable=True)
        """
    )
    code, printed = it.finish()
    assert code == 0
    assert it.run.state()["phase"] == "Failed"
    assert "CANARY" not in printed
    assert "CANARY" not in (it.directory / "termination-log").read_text()
    assert events(printed)[-1]["event"] == "leaving"
    assert [e["step"] for e in events(printed) if e.get("type") == "activityScheduled"] == ["one"]
    log = it.log()
    for line in (
        "stdout: CANARY-print",
        "WARNING x: CANARY-logging two",
        "logging: lines",
        "stderr: CANARY-fd2",
        "stdout: CANARY-unfinished",
    ):
        assert line in log
    assert "CANARY-exception" in log


# Its body belongs to workflow code, not to an activity.
IN_TURN = WORKFLOW.replace("{body}", "    return 1").replace("        return await self._one(input)", "    {body}")
CRASHES = {
    "without a word": "os._exit(3)",
    "exit 0 without a word": "print('CANARY-last'); sys.stdout.flush(); os._exit(0)",
    "pretending to be blocked": "os._exit(70)",
    "segmentation fault": "print('CANARY-last', flush=True); ctypes.string_at(0)",
    "killed": "signal.raise_signal(9)",
}


@pytest.mark.parametrize("body", CRASHES.values(), ids=CRASHES)
def test_a_crash_of_the_child_is_reported_by_class_only(pod: Callable[..., Pod], body: str) -> None:
    it = pod(body, workflow=IN_TURN)
    code, printed = it.finish()
    assert code == 1
    assert "CANARY" not in printed
    assert [e for e in events(printed) if e["event"] == "crashed"]
    assert json.loads((it.directory / "termination-log").read_text())["exit"] == "crash"
    if "CANARY" in body:
        assert "stdout: CANARY-last" in it.log()
    if "string_at" in body:
        assert "Segmentation fault" in it.log()


def test_an_import_error_of_the_bundle_blocks_the_run_with_its_line(pod: Callable[..., Pod]) -> None:
    it = pod("", workflow="\n\nimport CANARY_missing\n")
    code, printed = it.finish()
    assert code == 78
    assert "CANARY" not in printed
    blocked = it.run.entries("blocked")[0]
    assert blocked["code"] == "BundleInvalid"
    assert blocked["site"] == {"file": "templates/workflow.py", "line": 3}
    assert "CANARY_missing" in it.run.blocked()[1]
    assert it.run.state()["phase"] == "Blocked"


# -- confinement -----------------------------------------------------------------------------------


def test_the_child_reaches_neither_the_token_nor_the_supervisor(pod: Callable[..., Pod]) -> None:
    it = pod(
        """
        parent = PARENT
        found = {}
        def attempt(name, action):
            try:
                action()
                found[name] = "done"
            except OSError as error:
                found[name] = error.errno
        attempt("token", lambda: open(what["token"]).read())
        attempt("token directory", lambda: os.listdir(os.path.dirname(what["token"])))
        attempt("termination log", lambda: open(what["dir"] + "/termination-log", "w"))
        attempt("stdout of process 1", lambda: open(f"/proc/{parent}/fd/1", "w"))
        attempt("memory", lambda: open(f"/proc/{parent}/mem", "rb"))
        attempt("environment", lambda: open(f"/proc/{parent}/environ").read())
        attempt("signal", lambda: os.kill(parent, 0))
        attempt("bundle", lambda: open(__file__, "a"))
        attempt("home", lambda: os.listdir("/root"))
        attempt("ptrace", lambda: ptrace(parent))
        found["environ"] = [name for name in os.environ if name.startswith(("NTRO_", "KUBERNETES_"))]
        found["kinds"], found["files"], sockets = [], 0, set()
        for fd in range(256):
            try:
                it = os.fstat(fd)
            except OSError:
                continue
            found["kinds"].append(stat.S_IFMT(it.st_mode))
            if stat.S_ISREG(it.st_mode):
                found["files"] += it.st_nlink
            if stat.S_ISSOCK(it.st_mode):
                sockets.add(it.st_ino)
        found["channel"] = len(SOCKETS), len(sockets & SOCKETS)
        Path(os.environ["TMPDIR"], "mine").write_text("x")
        found["scratch"] = Path(os.environ["TMPDIR"], "mine").read_text()
        return found
        """,
        workflow=WORKFLOW.replace(
            "@activity.defn",
            "def ptrace(pid):\n"
            "    libc = ctypes.CDLL(None, use_errno=True)\n"
            "    if libc.ptrace(16, pid, 0, 0) != 0:\n"
            "        raise OSError(ctypes.get_errno(), 'ptrace')\n\n"
            "@activity.defn",
        ),
    )
    code, printed = it.finish()
    assert code == 0, printed + it.log()
    found = it.run.result()
    eperm, eacces = 1, 13
    assert found.pop("environ") == []
    assert found.pop("scratch") == "x"
    # Before the template was forked there was one socket, the channel to the supervisor; a worker does not have it.
    assert found.pop("channel") == [1, 0]
    kinds = set(found.pop("kinds"))
    assert kinds <= {stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFCHR, stat.S_IFREG, 0}, kinds
    # A regular file has no name.
    assert found.pop("files") == 0
    assert set(found.values()) <= {eperm, eacces}, found


@pytest.mark.parametrize("victim", ["process of the workflow", "template"])
def test_workers_die_with_those_they_were_forked_from(pod: Callable[..., Pod], victim: str) -> None:
    it = pod("os.write(1, f'worker {os.getpid()} of {os.getppid()}\\n'.encode()); time.sleep(60)", effect="external")
    it.start()
    said = wait_for(lambda: [line.split() for line in it.log().splitlines() if "worker" in line])[0]
    worker = os.pidfd_open(int(said[2]))
    os.kill(int(said[4]) if victim == "template" else it.child(), signal.SIGKILL)
    code, _ = it.finish()
    assert code == 1
    assert select.select([worker], [], [], 20)[0], "the worker lives on"
    os.close(worker)


def test_a_kernel_without_landlock_is_refused_unless_allowed(pod: Callable[..., Pod], tmp_path: Path) -> None:
    it = pod("return 1")
    # The child's own process finds no Landlock: as on an old kernel.
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text("import ntro_runtime.shared.sandbox as s\ns.landlock_abi = lambda: 0\n")
    paths = os.pathsep.join([str(tmp_path / "site"), str(RUNTIME / "src"), str(RUNTIME / "temporalio-shim" / "src")])
    code, printed = it.finish(PYTHONPATH=paths)
    assert code == 78, printed
    assert "no Landlock" in it.log()
    assert not it.run.entries("activityScheduled")
    it.process = None
    code, printed = it.finish(PYTHONPATH=paths, NTRO_ALLOW_NO_LANDLOCK="1")
    assert code == 0, printed
    assert it.run.result() == 1


# -- the operator ----------------------------------------------------------------------------------


def test_not_yet_and_lost_answers_are_waited_out(pod: Callable[..., Pod]) -> None:
    it = pod("return 7")
    it.operator.refusals += [{"code": "NotYet", "retryAfterMs": 50}, {"code": "NotYet", "retryAfterMs": 50}]
    code, _ = it.finish()
    assert code == 0
    assert it.run.result() == 7
    assert it.operator.requests.count("POST /v1/pod/attach") == 3


def test_an_answer_that_is_not_the_operators_is_asked_for_again(pod: Callable[..., Pod]) -> None:
    it = pod("return 7")
    it.operator.garbled += ["/v1/pod/append", "/v1/pod/poll"]
    code, printed = it.finish()
    assert code == 0, printed
    assert it.run.result() == 7
    assert "/v1/pod/append" not in it.operator.garbled


def test_an_operator_that_is_never_there_is_left_after_the_wait(pod: Callable[..., Pod]) -> None:
    it = pod("return 7")
    it.operator.down.set()
    started = time.monotonic()
    code, printed = it.finish(NTRO_OUTAGE_WAIT_MS="1000")
    assert code == 75
    assert time.monotonic() - started < 15
    assert events(printed)[-1]["exit"] == "outage"


def test_an_outage_in_the_middle_of_an_activity_costs_nothing(pod: Callable[..., Pod]) -> None:
    it = pod("os.write(1, b'ping\\n'); Path('done').touch(); time.sleep(0.5); return 7", lease_ms=1000, outage_wait_ms=20_000)
    process = it.start()
    wait_for(lambda: "activityScheduled" in [e["type"] for e in it.run.entries()])
    it.operator.down.set()
    # Longer than the activity and than three leases: the completion has to wait.
    time.sleep(3.5)
    assert process.poll() is None
    assert not it.run.entries("activityCompleted")
    it.operator.down.clear()
    code, printed = it.finish()
    assert code == 0, printed
    assert it.run.result() == 7
    assert len(it.run.entries("attached")) == 1
    assert len(it.run.entries("activityStarted")) == 1


def test_a_result_on_its_way_outlives_the_child(pod: Callable[..., Pod]) -> None:
    it = pod("time.sleep(0.5); return 7", effect="external")
    it.start()
    wait_for(lambda: it.run.entries("activityStarted"))
    it.operator.down.set()
    wait_for(lambda: "/v1/pod/append" in it.operator.dropped)
    os.kill(it.child(), signal.SIGKILL)
    it.operator.down.clear()
    code, _ = it.finish()
    assert code == 1
    assert it.run.entries("activityCompleted")


def test_a_process_that_fails_lets_its_effects_end(pod: Callable[..., Pod]) -> None:
    it = pod(
        "time.sleep(1); return 7",
        effect="external",
        workflow=WORKFLOW.replace("import asyncio", "import resource, asyncio")
        .replace("@runbook.defn", '@activity.defn\nasync def large() -> str:\n    return "x" * 10_000\n\n@runbook.defn', 1)
        .replace(
            "return await runbook",
            # The process of the workflow may write no file as large as the blob, neither to the disk nor to memory.
            "resource.setrlimit(resource.RLIMIT_FSIZE, (5_000, resource.RLIM_INFINITY))\n"
            "        return await asyncio.gather(runbook.execute_activity(large), runbook",
        )
        .replace("start_to_close_timeout=60)", "start_to_close_timeout=60))"),
    )
    code, _ = it.finish()
    assert code == 1, it.log()
    assert "File too large" in it.log()
    (completed,) = it.run.entries("activityCompleted")
    assert it.run.payload(completed["result"]) == 7


def test_a_pod_that_cannot_reach_its_operator_leaves_in_the_middle(pod: Callable[..., Pod]) -> None:
    it = pod("time.sleep(60)", lease_ms=600, outage_wait_ms=1500)
    it.start()
    wait_for(lambda: it.run.entries("activityScheduled"))
    it.operator.down.set()
    code, _ = it.finish()
    assert code == 75


def test_a_busy_child_keeps_its_lease(pod: Callable[..., Pod]) -> None:
    it = pod(
        # Holds the interpreter's lock.
        "return [ctypes.PyDLL(None).usleep(900_000) for _ in range(3)] and 7",
        workflow=IN_TURN,
        lease_ms=600,
    )
    code, printed = it.finish()
    assert code == 0, printed
    assert it.run.result() == 7


def test_a_fenced_pod_leaves_with_77(pod: Callable[..., Pod]) -> None:
    it = pod("time.sleep(60)", lease_ms=900)
    it.start()
    wait_for(lambda: it.run.entries("activityScheduled"))
    it.run.server.ask("holderGone", run=it.run.id)
    code, _ = it.finish()
    assert code == 77


def test_cancelling_lets_a_running_activity_end_and_report(pod: Callable[..., Pod]) -> None:
    it = pod("os.write(1, b'begun\\n'); time.sleep(1); return 7", effect="external")
    it.start()
    wait_for(lambda: "begun" in it.log())
    it.run.server.ask("cancel", run=it.run.id)
    code, printed = it.finish()
    assert code == 0, printed
    assert it.run.state()["phase"] == "Cancelled"
    assert it.run.entries("activityCompleted")
    assert it.run.entries("released")[0]["cause"] == "cancelled"


def test_termination_lets_a_running_activity_end_and_report(pod: Callable[..., Pod]) -> None:
    it = pod("os.write(1, b'begun\\n'); time.sleep(1); return 7", effect="external")
    process = it.start()
    wait_for(lambda: "begun" in it.log())
    process.send_signal(signal.SIGTERM)
    code, printed = it.finish()
    assert code == 143, printed
    assert it.run.entries("activityCompleted")
    assert not it.run.entries("runCompleted")


def test_termination_kills_a_child_that_does_not_leave(pod: Callable[..., Pod]) -> None:
    it = pod("os.write(1, b'CANARY-deaf\\n'); time.sleep(60)")
    process = it.start(NTRO_TERMINATION_GRACE_SECONDS="6")
    wait_for(lambda: "CANARY-deaf" in it.log())
    process.send_signal(signal.SIGTERM)
    started = time.monotonic()
    code, printed = it.finish()
    assert code == 143
    assert time.monotonic() - started < 6
    assert "CANARY" not in printed


def test_a_termination_before_the_attach_leaves_at_once(pod: Callable[..., Pod]) -> None:
    it = pod("return 1")
    it.operator.refusals += [{"code": "NotYet", "retryAfterMs": 5000}] * 5
    process = it.start()
    wait_for(lambda: it.operator.requests)
    process.send_signal(signal.SIGTERM)
    code, _ = it.finish()
    assert code == 143


def test_orphans_of_the_child_are_reaped(pod: Callable[..., Pod]) -> None:
    it = pod(
        """
        if os.fork() == 0:
            if os.fork() == 0:
                os._exit(0)
            os._exit(0)
        os.wait()
        return 7
        """
    )
    code, printed = it.finish()
    assert code == 0, printed


# -- the bundle ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"layer_digest": "sha256:" + "0" * 64},
        {"layer": b"not a layer"},
        {"layer": layer_of({"runbook.md": HEAD, "../outside": "x"})},
        {"layer": layer_of({"templates/workflow.py": ""})},
    ],
    ids=["other bytes", "no archive", "outside", "no such class"],
)
def test_a_bundle_that_cannot_be_run_blocks_the_run(pod: Callable[..., Pod], options: Json) -> None:
    it = pod("return 1", **options)
    code, printed = it.finish()
    assert code == 78, printed
    assert it.run.state()["phase"] == "Blocked"
    assert it.run.blocked()[0] == "BundleInvalid"
    assert not (it.directory / "outside").exists()


def test_a_missing_setting_is_named() -> None:
    done = subprocess.run(
        [str(runner_binary())],
        capture_output=True,
        env={},
        check=False,
    )
    assert done.returncode == 78
    assert "NTRO_API_URL, NTRO_API_CA, NTRO_TOKEN_FILE not set" in done.stdout.decode()
