"""A finished journal told to workflow code again, from its first entry, by nothing but the code of turns: what does it do this time?"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, NoReturn

from journal_server import Json
from ntro_runtime.engine.start import load_bundle
from ntro_runtime.sdk import decorators
from ntro_runtime.sdk.activity_table import ActivityTable
from ntro_runtime.sdk.runtime import DurableRuntime, WorkflowInfo
from ntro_runtime.workflow.block import Block
from ntro_runtime.workflow.guards import Guard
from ntro_runtime.workflow.journal import time_of
from ntro_runtime.workflow.scope import PREPARE, WorkflowScope
from ntro_runtime.workflow.source_location import SourceLocator

_WHOLE = 1 << 30


class _Halt:
    """Stands for the engine's `Exit`: whatever ends the run early is the outcome."""

    def __init__(self, out: Path) -> None:
        self._out = out

    def halt(self, block: Block, *_first: Json) -> NoReturn:
        self._out.write_text(json.dumps({"halted": f"{block.code} at {block.site}: {block.message}"}))
        os._exit(70)

    def misused(self, message: str, site: Any) -> NoReturn:
        self._out.write_text(json.dumps({"halted": f"misuse at {site}: {message}"}))
        os._exit(70)


def replay(journal: Path, bundle: Path, out: Path) -> NoReturn:
    """Body of a process: entries from `journal`, the commands that the code gives now to `out`. Payloads are inline on both sides."""
    entries: list[Json] = json.loads(journal.read_text())
    created, halt = entries[0], _Halt(out)
    locator, runtime = SourceLocator(bundle.resolve()), DurableRuntime()
    guard = Guard(locator, halt.misused)
    loaded = load_bundle(bundle.resolve(), created, created["input"]["inline"], runtime, locator, halt)  # type: ignore[arg-type]
    scope = WorkflowScope(locator, None, halt.halt, time_of(created), guard)  # type: ignore[arg-type]
    known = loaded.bundle.activities
    scope.activities.journal.extend(entries)
    runtime.bind(scope, WorkflowInfo(created["runId"], created["runId"], "", "", time_of(created)), created["tenant"]["slug"])
    runtime.activity_by_name = known.get
    runtime.activities = ActivityTable([*known.values(), *decorators.MARKED_ACTIVITIES])
    commands = list(scope.turn(None, lambda: loaded.begin(scope)))
    for entry in entries:
        if entry["type"] in PREPARE and not scope.finished:
            commands += scope.turn(entry, scope.prepare(entry))
    out.write_text(json.dumps({"commands": [command.to_wire(_WHOLE) for command in commands]}))
    os._exit(0)
