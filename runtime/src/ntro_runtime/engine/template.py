"""The process that workers are forked from: as the bundle's import left it, before any workflow code or thread began.

Nothing that workflow code does later is seen by activities, and nothing of theirs by workflow code. It has one thread and runs no code of
the bundle. Its workers die with it, and it dies with the process that runs the workflow, however that ends.
"""

from __future__ import annotations

import contextlib
import gc
import json
import logging
import os
import selectors
import signal
import socket
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, NoReturn

from ..shared import sandbox
from .journal_client import Json
from .json_lines import JsonLines
from .output import flush_output

Serve = Callable[[JsonLines, JsonLines], Any]
"""Body of a worker: takes orders and reports on the first socket, and is answered on the second."""
_MESSAGE_MAX = 4096
_log = logging.getLogger("ntro.runtime")


@dataclass(eq=False)
class WorkerProcess:
    """A worker as the process of the workflow sees it."""

    number: int
    orders: JsonLines
    replies: JsonLines
    died: Future[int] = field(default_factory=Future)
    """Its exit code, negative for a signal."""
    doomed: bool = False
    """It is being killed, and gets no more orders."""

    def close(self) -> None:
        """Nobody gives it orders any more: it ends."""
        self.orders.stream.close()
        self.replies.stream.close()


class Template:
    """The other side of it. Make one while this process has a single thread."""

    def __init__(self, serve: Serve, forget: int, on_lost: Callable[[], None]) -> None:
        """`forget` is a descriptor that no worker may have; `on_lost` is called when there is no template any more."""
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._on_lost = on_lost
        self._workers: dict[int, WorkerProcess] = {}
        self._lock = threading.Lock()
        # What there is by now stays: a collection that visits it would make private copies of its pages in every process.
        gc.freeze()
        parent = os.getpid()
        flush_output()
        if os.fork() == 0:
            _never_return(lambda: _Forks(theirs, serve).run(parent, [self._control.fileno(), forget]))
        theirs.close()
        threading.Thread(target=self._hear, name="workers", daemon=True).start()

    def fork(self) -> WorkerProcess:
        """Another worker. It may not be there yet when this returns, but takes orders."""
        orders, its_orders = socket.socketpair()
        replies, its_replies = socket.socketpair()
        with self._lock, its_orders, its_replies:
            worker = WorkerProcess(len(self._workers) + 1, JsonLines(orders), JsonLines(replies))
            self._workers[worker.number] = worker
            self._tell({"op": "fork", "worker": worker.number}, [its_orders.fileno(), its_replies.fileno()])
        return worker

    def kill(self, worker: WorkerProcess) -> None:
        """End a worker and what it has started, also what is left of one that has died."""
        self._tell({"op": "kill", "worker": worker.number})

    def bury(self, worker: WorkerProcess) -> None:
        """A worker that has died, or will, is not needed any more."""
        worker.close()
        self._tell({"op": "bury", "worker": worker.number})

    def _tell(self, message: Json, fds: list[int] | None = None) -> None:
        with contextlib.suppress(OSError):  # of a template that is gone `_hear` tells
            socket.send_fds(self._control, [json.dumps(message).encode()], fds or [])

    def _hear(self) -> None:
        """News of deaths, until that of the template itself."""
        try:
            while message := self._control.recv(_MESSAGE_MAX):
                notice = json.loads(message)
                worker = self._workers[notice["worker"]]
                worker.died.set_result(int(notice["status"]))
                # Something that the worker has started may still hold its end.
                with contextlib.suppress(OSError):
                    worker.orders.stream.shutdown(socket.SHUT_RD)
        except OSError:
            pass
        self._on_lost()


class _Forks:
    """Inside the template."""

    def __init__(self, control: socket.socket, serve: Serve) -> None:
        self._control = control
        self._serve = serve
        self._living: dict[int, int] = {}
        self._dead: dict[int, int] = {}
        """Process ids by number of the worker. A dead one keeps its id, and with it that of its group, until it is buried."""
        self._unmissed: set[int] = set()
        """Living ones that were buried already."""

    def run(self, parent: int, forget: list[int]) -> None:
        _live_as_long_as(parent)
        for fd in forget:
            _replace_with_nothing(fd)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        self._woken, wakes = socket.socketpair()
        for end in (self._woken, wakes):
            end.setblocking(False)
        self._wakes = wakes
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wakes.fileno(), warn_on_full_buffer=False)
        with selectors.DefaultSelector() as selector:
            selector.register(self._control, selectors.EVENT_READ, self._obey)
            selector.register(self._woken, selectors.EVENT_READ, self._look_for_dead)
            while True:
                for key, _ in selector.select():
                    key.data()

    def _obey(self) -> None:
        message, fds, _, _ = socket.recv_fds(self._control, _MESSAGE_MAX, 2)
        if not message:
            os._exit(0)
        order = json.loads(message)
        worker = int(order["worker"])
        match order["op"]:
            case "fork":
                self._fork(worker, fds)
            case "kill":
                self._kill(worker)
            case "bury" if worker in self._dead:
                os.waitpid(self._dead.pop(worker), 0)
            case "bury":
                self._unmissed.add(worker)

    def _fork(self, worker: int, fds: list[int]) -> None:
        template = os.getpid()
        try:
            orders, replies = fds
            pid = os.fork()
        except (OSError, ValueError):
            # No room for a further process, or for its descriptors: this one never began, and the others go on.
            _log.exception("a process for an activity could not be started")
            self._control.send(json.dumps({"worker": worker, "status": 1}).encode())
        else:
            if pid == 0:
                _never_return(lambda: self._become_worker(template, orders, replies))
            _lead_a_group(pid)
            self._living[worker] = pid
        for fd in fds:
            os.close(fd)

    def _become_worker(self, template: int, orders: int, replies: int) -> None:
        _live_as_long_as(template)
        _lead_a_group(os.getpid())
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for end in (self._control, self._woken, self._wakes):
            end.close()
        self._serve(JsonLines(socket.socket(fileno=orders)), JsonLines(socket.socket(fileno=replies)))

    def _kill(self, worker: int) -> None:
        pid = self._living.get(worker) or self._dead.get(worker)
        if pid is not None:
            os.killpg(pid, signal.SIGKILL)

    def _look_for_dead(self) -> None:
        self._woken.recv(_MESSAGE_MAX)
        for worker, pid in list(self._living.items()):
            end = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if end is None:
                continue
            del self._living[worker]
            if worker in self._unmissed:
                os.waitpid(pid, 0)
                continue
            self._dead[worker] = pid
            status = end.si_status if end.si_code == os.CLD_EXITED else -end.si_status
            self._control.send(json.dumps({"worker": worker, "status": status}).encode())


def _never_return(body: Callable[[], Any]) -> NoReturn:
    """What a fork does: the frames above belong to the process it was forked from."""
    try:
        body()
    except BaseException:
        _log.exception("a process that runs activities ended")
        flush_output()
    finally:
        os._exit(1)


def _live_as_long_as(parent: int) -> None:
    sandbox.die_with_parent()
    if os.getppid() != parent:
        os._exit(1)


def _lead_a_group(pid: int) -> None:
    """By it the worker is killed with everything it has started. Both sides do it: neither may be too late."""
    with contextlib.suppress(ProcessLookupError, PermissionError):  # of one that has ended
        os.setpgid(pid, pid)


def _replace_with_nothing(fd: int) -> None:
    """Unlike after a close, the number never comes to stand for anything else."""
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, fd, inheritable=False)
    os.close(nothing)
