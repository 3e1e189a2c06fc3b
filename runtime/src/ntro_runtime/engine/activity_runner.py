"""Running attempts of activities in workers: processes that share nothing with workflow code, and can be killed."""

from __future__ import annotations

import contextlib
import inspect
import threading
from collections.abc import Callable

from ..sdk.activity_table import ActivityTable
from ..workflow.source_location import SourceLocator
from .attempt import Attempt, AttemptOutcome, Died, outcome_of
from .journal_client import Json
from .staging import FileDesk
from .template import Template, WorkerProcess
from .worker import Worker

OnEnd = Callable[[AttemptOutcome], None]


class ActivityRunner:
    """Starts attempts; `on_end` is called on some thread when one has ended, and its process does nothing for it any more.

    A worker is forked when an attempt finds none idle, and used again by later ones.
    """

    def __init__(self, on_end: OnEnd, desk: FileDesk) -> None:
        self._on_end = on_end
        self._desk = desk
        self._idle: list[WorkerProcess] = []
        self._busy: dict[tuple[int, int], WorkerProcess] = {}
        self._template: Template
        self._table: ActivityTable

    def prepare(self, table: ActivityTable, locator: SourceLocator, forget: int, on_lost: Callable[[], None]) -> None:
        """Fork the template, while this process has one thread and workflow code has not begun. For the rest see `Template`."""
        self._table = table
        self._template = Template(lambda orders, replies: Worker(orders, replies, table, locator).run(), forget, on_lost)

    def start(self, attempt: Attempt) -> None:
        """Run an attempt in the background."""
        worker = self._worker()
        key = (attempt.command, attempt.number)
        self._busy[key] = worker
        threading.Thread(target=self._attend, args=(worker, attempt), name=f"activity-{attempt.command}", daemon=True).start()

    def cancel(self, attempt: Attempt) -> bool:
        """Ask an attempt to end. False if it is none that can be asked: a plain function."""
        worker = self._busy.get((attempt.command, attempt.number))
        if worker is None or not inspect.iscoroutinefunction(inspect.unwrap(attempt.function)):
            return False
        _send(worker, {"cancel": [attempt.command, attempt.number]})
        return True

    def kill(self, attempt: Attempt) -> None:
        """End an attempt, and the processes it has started."""
        worker = self._busy.get((attempt.command, attempt.number))
        if worker is not None:
            self._template.kill(worker)

    def _worker(self) -> WorkerProcess:
        while self._idle:
            worker = self._idle.pop()
            if not worker.doomed and not worker.died.done():
                return worker
            self._template.bury(worker)
        return self._template.fork()

    def _attend(self, worker: WorkerProcess, attempt: Attempt) -> None:
        """See an attempt through, on a thread of its own: files may take as long as the operator does."""
        reference = self._table.reference(attempt.function)
        report = self._converse(worker, attempt.to_wire(reference or {}))
        outcome = self._ended(worker, attempt) if report is None else outcome_of(attempt, report)
        del self._busy[attempt.command, attempt.number]
        if report is not None:
            self._idle.append(worker)
        self._on_end(outcome)

    def _converse(self, worker: WorkerProcess, order: Json) -> Json | None:
        """The report of the attempt's end; None if the worker died before."""
        _send(worker, order)
        while (message := worker.orders.receive()) is not None:
            if "end" in message:
                report: Json = message["end"]
                return report
            try:
                worker.replies.send(self._desk.answer(message))
            except OSError:
                return None
        return None

    def _ended(self, worker: WorkerProcess, attempt: Attempt) -> AttemptOutcome:
        status = worker.died.result()
        if attempt.repeatable:
            # What it has started must not go on beside the next attempt.
            self._template.kill(worker)
        self._template.bury(worker)
        return AttemptOutcome(attempt, error=Died(status))


def _send(worker: WorkerProcess, message: Json) -> None:
    with contextlib.suppress(OSError):  # it has died, which whoever receives from it learns
        worker.orders.send(message)
