"""Running attempts of activities in workers: processes that share nothing with workflow code, and can be killed."""

from __future__ import annotations

import contextlib
import inspect
import logging
import threading
from collections.abc import Callable

from ..sdk.activity_table import ActivityTable
from ..workflow.source_location import SourceLocator
from .attempt import Attempt, AttemptOutcome, Died, outcome_of
from .journal_client import Json
from .staging import FileDesk
from .template import Template, WorkerProcess
from .worker import Worker

_log = logging.getLogger("ntro.runtime")

OnEnd = Callable[[AttemptOutcome], None]


class ActivityRunner:
    """Starts attempts; `on_end` is called on some thread when one has ended, and its process does nothing for it any more.

    A worker is forked when an attempt finds none idle, and used again by later ones, unless threads have stayed behind in it.
    """

    def __init__(self, on_end: OnEnd, desk: FileDesk) -> None:
        self._on_end = on_end
        self._desk = desk
        self._idle: list[WorkerProcess] = []
        self._busy: dict[WorkerProcess, Attempt] = {}
        self._lock = threading.Lock()
        self._template: Template
        self._table: ActivityTable

    def prepare(self, table: ActivityTable, locator: SourceLocator, forget: int, on_lost: Callable[[], None]) -> None:
        """Fork the template, while this process has one thread and workflow code has not begun. For the rest see `Template`."""
        self._table = table
        self._template = Template(lambda orders, replies: Worker(orders, replies, table, locator).run(), forget, on_lost)

    def start(self, attempt: Attempt) -> None:
        """Run an attempt in the background."""
        order = attempt.to_wire(self._table.reference(attempt.function) or {})
        with self._lock:
            worker = self._idle.pop() if self._idle else None
            if worker is not None:
                self._busy[worker] = attempt
        if worker is None:
            worker = self._template.fork()
            self._busy[worker] = attempt
            threading.Thread(target=self._attend, args=(worker,), name=f"worker-{worker.number}", daemon=True).start()
        _send(worker, order)

    def cancel(self, attempt: Attempt) -> bool:
        """Ask an attempt to end. False if it is none that can be asked: a plain function."""
        if not inspect.iscoroutinefunction(inspect.unwrap(attempt.function)):
            return False
        worker = self._worker_of(attempt)
        if worker is not None:
            _send(worker, {"cancel": [attempt.command, attempt.number]})
        return True

    def kill(self, attempt: Attempt) -> None:
        """End an attempt, and the processes it has started."""
        with self._lock:
            worker = self._worker_of(attempt)
            if worker is not None:
                worker.doomed = True
        if worker is not None:
            self._template.kill(worker)

    def _worker_of(self, attempt: Attempt) -> WorkerProcess | None:
        return next((worker for worker, its in list(self._busy.items()) if its is attempt), None)

    def _attend(self, worker: WorkerProcess) -> None:
        """Hear what a worker reports and asks for, on a thread of its own: files may take as long as the operator does."""
        try:
            self._hear(worker)
        except Exception:
            # Whatever it is that it says, nothing more can be learned from it.
            _log.exception("a process that runs activities does not keep to the protocol")
            worker.doomed = True
            self._template.kill(worker)
        self._died(worker)

    def _hear(self, worker: WorkerProcess) -> None:
        while (message := worker.orders.receive()) is not None:
            if "end" not in message:
                self._serve(worker, message)
                continue
            with self._lock:
                attempt = self._busy[worker]
                if message["of"] != [attempt.command, attempt.number]:
                    raise ValueError("the end of another attempt than the worker has")
                del self._busy[worker]
                worker.doomed = worker.doomed or message["spent"]
                if not worker.doomed:
                    self._idle.append(worker)
            if worker.doomed:
                # What runs on in it must not do so beside the next attempt, nor beside code that thinks it has ended.
                self._template.kill(worker)
                worker.died.result()
            self._on_end(outcome_of(attempt, message["end"]))

    def _serve(self, worker: WorkerProcess, request: Json) -> None:
        attempt = self._busy.get(worker)
        if attempt is None:
            return  # said by what an attempt has left behind, on its way out
        if "beat" in request:
            attempt.pulse.felt()
            return
        with attempt.pulse.answering(), contextlib.suppress(OSError):
            worker.replies.send(self._desk.answer(request))

    def _died(self, worker: WorkerProcess) -> None:
        status = worker.died.result()
        with self._lock:
            attempt = self._busy.pop(worker, None)
            if worker in self._idle:
                self._idle.remove(worker)
        if attempt is None or attempt.repeatable:
            # What it has started must not go on beside the next attempt.
            self._template.kill(worker)
        self._template.bury(worker)
        if attempt is not None:
            self._on_end(AttemptOutcome(attempt, error=Died(status)))


def _send(worker: WorkerProcess, message: Json) -> None:
    with contextlib.suppress(OSError):  # it has died, which whoever receives from it learns
        worker.orders.send(message)
