"""Process 1 of the runner: `python -m ntro_runtime`.

It holds the pod's token and the session, and is the only one to speak with the operator. The bundle runs in a confined child
(`engine/child.py`) that reaches the journal through this process alone. What it prints itself are ids, steps and classes of errors.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from ..shared import sandbox
from ..shared.errors import ExitCode, ProtocolError
from ..shared.manifest import BundleError, step_ids
from ..shared.versions import versions
from .log_pump import LogPump
from .operator_api import OperatorApi, OutageError, StoppedError, patiently
from .proxy import Proxy
from .report import Report
from .unpack import unpack

Json = dict[str, Any]
_EXPECTED = {ExitCode.OK, ExitCode.BLOCKED, ExitCode.OUTAGE, ExitCode.FENCED, ExitCode.CONFIG}
_NEEDS_RELEASE = {ExitCode.OK, ExitCode.BLOCKED, ExitCode.CONFIG}


@dataclass(frozen=True)
class Config:
    """From the environment of the container."""

    url: str
    ca_file: Path
    token_file: Path
    work_dir: Path
    termination_log: Path
    outage_wait_ms: int
    grace_s: float
    allow_no_landlock: bool

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Config:
        """Raises `ValueError` naming the variable that is wrong."""
        missing = [name for name in ("NTRO_API_URL", "NTRO_API_CA", "NTRO_TOKEN_FILE") if not env.get(name)]
        if missing:
            raise ValueError(f"{', '.join(missing)} not set")
        if not env["NTRO_API_URL"].startswith("https://"):
            raise ValueError("NTRO_API_URL is not https")
        return cls(
            url=env["NTRO_API_URL"],
            ca_file=Path(env["NTRO_API_CA"]),
            token_file=Path(env["NTRO_TOKEN_FILE"]),
            work_dir=Path(env.get("NTRO_WORK_DIR") or tempfile.gettempdir()),
            termination_log=Path(env.get("NTRO_TERMINATION_LOG", "/dev/termination-log")),
            outage_wait_ms=int(env.get("NTRO_OUTAGE_WAIT_MS", "900000")),
            grace_s=float(env.get("NTRO_TERMINATION_GRACE_SECONDS", "25")),
            allow_no_landlock=env.get("NTRO_ALLOW_NO_LANDLOCK", "") in ("1", "true"),
        )


class Supervisor:
    """One pod. `run()` returns the exit code."""

    def __init__(self, config: Config, report: Report) -> None:
        self._config = config
        self._report = report
        self._api = OperatorApi(config.url, config.ca_file)
        self._stop = threading.Event()
        self._child: subprocess.Popen[bytes] | None = None
        self._verdict: ExitCode | None = None
        self._outage_wait_ms = config.outage_wait_ms

    def run(self) -> ExitCode:
        """Attach, fetch the bundle, run it, and say how it ended."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._terminated)
        try:
            reply = self._attach()
            return self._run_segment(reply)
        except StoppedError:
            return ExitCode.TERMINATED
        except OutageError:
            return ExitCode.OUTAGE
        except ProtocolError as error:
            self._report.event("refused", code=error.code)
            codes = {"Fenced": ExitCode.FENCED, "Sealed": ExitCode.OK, "Version": ExitCode.CONFIG}
            return codes.get(error.code, ExitCode.CRASH)

    def _attach(self) -> Json:
        def ask() -> Json:
            try:
                token = self._config.token_file.read_text().strip()
            except OSError:
                raise ProtocolError("NotYet") from None
            return self._api.attach(token, versions())

        reply = patiently(ask, self._outage_wait_ms, self._stop)
        self._api.session = reply["session"]
        self._outage_wait_ms = int(reply["settings"]["outageWaitMs"])
        self._read_on(reply)
        self._report.identify(reply["runId"], int(reply["segment"]), int(reply["epoch"]))
        self._report.event("attached", entries=len(reply["entries"]))
        return reply

    def _read_on(self, reply: Json) -> None:
        """The journal comes in pages."""
        entries, more = reply["entries"], bool(reply.pop("more", False))
        while more:
            body = {"epoch": reply["epoch"], "head": entries[-1]["seq"], "waitMs": 0}
            page = patiently(lambda body=body: self._api.call("poll", body), self._outage_wait_ms, self._stop)  # type: ignore[misc]
            entries.extend(page["entries"])
            more = bool(page.get("more", False))

    def _run_segment(self, reply: Json) -> ExitCode:
        with tempfile.TemporaryDirectory(prefix="ntro-", dir=self._config.work_dir) as work:
            bundle, scratch = Path(work, "bundle"), Path(work, "scratch")
            scratch.mkdir()
            try:
                layer = patiently(self._api.bundle, self._outage_wait_ms, self._stop)
                unpack(layer, str(reply["pin"].get("layerDigest", "")), bundle)
                self._report.declare_steps(step_ids(bundle))
            except BundleError as error:
                self._block(reply, str(error))
                return ExitCode.CONFIG
            return self._run_child(reply, bundle, scratch)

    def _block(self, reply: Json, message: str) -> None:
        """Say in the journal that the bundle cannot be run."""
        epoch, head = reply["epoch"], reply["entries"][-1]["seq"]
        detail = {"inline": json.dumps({"message": message})}
        for entry in (
            {"type": "blocked", "code": "BundleInvalid", "detail": detail},
            {"type": "released", "epoch": epoch, "cause": "blocked"},
        ):
            body = {"epoch": epoch, "head": head, "entries": [entry]}
            patiently(lambda body=body: self._api.call("append", body), self._outage_wait_ms, self._stop)  # type: ignore[misc]
        self._report.event("blocked", code="BundleInvalid")

    # -- the child ---------------------------------------------------------------------------------

    def _run_child(self, reply: Json, bundle: Path, scratch: Path) -> ExitCode:
        pump = LogPump(lambda lines: self._send_log(reply["epoch"], lines))
        proxy = Proxy(self._api, reply, self._report, self._patiently, pump)
        ours, theirs = socket.socketpair()
        streams = {name: os.pipe() for name in ("stdout", "stderr", "logging")}
        with theirs:
            self._child = self._start(bundle, scratch, theirs, {name: pipe[1] for name, pipe in streams.items()})
        for _, write_end in streams.values():
            os.close(write_end)
        pump.start({name: pipe[0] for name, pipe in streams.items()})
        proxy.start(ours)
        threading.Thread(target=self._keep_lease, args=(proxy, int(reply["settings"]["leaseMs"])), daemon=True).start()
        if self._stop.is_set():
            self._signal_child(signal.SIGTERM)
        status = self._wait_for_child()
        pump.flush(5.0)
        pump.close()
        return self._outcome(status, proxy)

    def _start(self, bundle: Path, scratch: Path, channel: socket.socket, pipes: dict[str, int]) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-P", "-m", "ntro_runtime.engine.child", "--bundle", str(bundle), "--scratch", str(scratch)]
        command += ["--journal-fd", str(channel.fileno()), "--log-fd", str(pipes["logging"])]
        if self._config.allow_no_landlock:
            command.append("--allow-no-landlock")
        return subprocess.Popen(  # noqa: S603 - our own module
            command,
            stdin=subprocess.DEVNULL,
            stdout=pipes["stdout"],
            stderr=pipes["stderr"],
            pass_fds=(channel.fileno(), pipes["logging"]),
            env=child_environment(os.environ, scratch),
            cwd=scratch,
            start_new_session=True,
        )

    def _wait_for_child(self) -> int:
        """Reap everything that ends here until the child does. Returns its wait status."""
        assert self._child is not None  # noqa: S101 - for the type checker
        while True:
            pid, status = os.waitpid(-1, 0)
            if pid == self._child.pid:
                self._child.returncode = os.waitstatus_to_exitcode(status)
                return self._child.returncode

    def _outcome(self, status: int, proxy: Proxy) -> ExitCode:
        if status in _NEEDS_RELEASE and proxy.released:
            # A poll that was still under way hears that the segment is over: it is, by our own word.
            return ExitCode(status)
        if self._verdict is not None:
            return self._verdict
        if self._stop.is_set() and status != ExitCode.OK:
            return ExitCode.TERMINATED
        expected = status in _EXPECTED and status not in _NEEDS_RELEASE
        if status == ExitCode.CONFIG and not proxy.released:
            expected = True  # refused before it could speak: no Landlock
        if expected:
            return ExitCode(status)
        name = signal.Signals(-status).name if status < 0 else f"exit{status}"
        self._report.event("crashed", error=name)
        return ExitCode.CRASH

    def _signal_child(self, number: signal.Signals) -> None:
        if self._child is not None and self._child.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._child.pid, number)

    def _leave(self, verdict: ExitCode) -> None:
        """From any thread: the segment is over for this pod."""
        self._verdict = self._verdict or verdict
        self._signal_child(signal.SIGKILL)

    def _terminated(self, *_: object) -> None:
        if self._stop.is_set():
            return
        self._stop.set()
        self._signal_child(signal.SIGTERM)
        killer = threading.Timer(max(1.0, self._config.grace_s - 5), self._signal_child, (signal.SIGKILL,))
        killer.daemon = True
        killer.start()

    # -- the operator ------------------------------------------------------------------------------

    def _patiently(self, ask: Any) -> Any:
        """For the child's requests: an outage that is too long ends the pod. Termination does not stop them: they are its last words."""
        try:
            return patiently(ask, self._outage_wait_ms, threading.Event())
        except OutageError:
            self._leave(ExitCode.OUTAGE)
            raise
        except ProtocolError as error:
            if error.code == "Fenced":
                self._verdict = self._verdict or ExitCode.FENCED
            raise

    def _send_log(self, epoch: int, lines: list[Json]) -> None:
        patiently(lambda: self._api.call("log", {"epoch": epoch, "lines": lines}), self._outage_wait_ms, threading.Event())

    def _keep_lease(self, proxy: Proxy, lease_ms: int) -> None:
        """Prove that the pod lives while its child computes and asks nothing."""
        while True:
            time.sleep(lease_ms / 5000)
            if time.monotonic() - self._api.last_contact < lease_ms / 3000:
                continue
            try:
                self._patiently(lambda: self._api.call("poll", {**proxy.position, "waitMs": 0}))
            except ProtocolError as error:
                if proxy.released:
                    return
                self._report.event("refused", code=error.code)
                self._leave(ExitCode.FENCED if error.code == "Fenced" else ExitCode.OK if error.code == "Sealed" else ExitCode.CRASH)
                return
            except OutageError:
                return


def child_environment(env: Mapping[str, str], scratch: Path) -> dict[str, str]:
    """What the child may know: nothing of ours, and everything that could make code irreproducible fixed."""
    dropped = ("NTRO_", "KUBERNETES_", "TEMPORAL_")
    kept = {name: value for name, value in env.items() if not name.startswith(dropped)}
    return {
        **kept,
        "PYTHONHASHSEED": "0",
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "TZ": "UTC",
        "LC_ALL": "C.UTF-8",
        "HOME": str(scratch),
        "TMPDIR": str(scratch),
    }


def main() -> NoReturn:
    """Entry of the container."""
    report = Report()
    report.install_hooks()
    sandbox.undumpable()
    try:
        config = Config.from_env(os.environ)
    except ValueError as error:
        report.event("misconfigured", error=str(error))
        os._exit(ExitCode.CONFIG)
    try:
        code = Supervisor(config, report).run()
    except BaseException as error:
        report.crash(error)
        code = ExitCode.CRASH
    report.event("leaving", exit=code.name.lower(), status=int(code))
    report.termination_message(config.termination_log, code)
    sys.stdout.flush()
    os._exit(code)
