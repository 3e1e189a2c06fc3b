"""Loads the bundle under a small runtime of its own and drives it with scripted answers."""

from __future__ import annotations

import asyncio
import copy
import inspect
import logging
import sys
import typing
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from ntro.capabilities import config as capability_config
from ntro.capabilities import files
from ntro.workflow import set_runtime
from ntro.workflow.runtime._local import ActivityInfo, WorkflowInfo
from pydantic import TypeAdapter

BUNDLE = Path(__file__).resolve().parent.parent
for place in (BUNDLE, BUNDLE / "tools"):
    sys.path.insert(0, str(place))


class Parked(Exception):
    """The workflow waits for a person and no further answer was scripted."""


def through_json(value: Any, annotation: Any) -> Any:
    """A fresh copy, as a durable runtime would hand it over."""
    adapter = TypeAdapter(annotation)
    return adapter.validate_json(adapter.dump_json(value))


@dataclass
class DirectRuntime:
    """Runs activities in place; every argument and result crosses JSON by its annotation."""

    name: str = "test"
    workflow: Any = None
    answers: list[Any] = field(default_factory=list)
    executed: list[str] = field(default_factory=list)
    gates: list[dict[str, Any]] = field(default_factory=list)
    steps: list[str] = field(default_factory=list)

    def reset(self, answers: list[Any]) -> None:
        self.workflow, self.answers = None, list(answers)
        self.executed, self.gates, self.steps = [], [], []

    def workflow_defn(self, cls: type, /) -> type:
        return cls

    def workflow_run(self, fn: Callable[..., Any], /) -> Callable[..., Any]:
        return fn

    def _mark(self, *args: Any, **options: Any) -> Any:
        def mark(fn: Callable[..., Any]) -> Callable[..., Any]:
            fn.activity_name = options.get("name", fn.__name__)  # type: ignore[attr-defined]
            return fn

        return mark(args[0]) if args else mark

    workflow_signal = workflow_query = activity_defn = _mark

    async def execute_activity(self, fn: Callable[..., Any], arg: Any = None, /, **options: Any) -> Any:
        assert set(options) == {"start_to_close_timeout"}
        self.executed.append(fn.activity_name)
        self.steps.append(self.workflow.current_ui_state()["current_step_id"])
        hints = typing.get_type_hints(fn)
        (parameter,) = inspect.signature(fn).parameters
        return through_json(await fn(through_json(arg, hints[parameter])), hints["return"])

    async def wait_condition(self, predicate: Callable[[], bool], /, **options: Any) -> None:
        assert not options
        while not predicate():
            self.gates.append(copy.deepcopy(self.workflow.current_pending_action()))
            if not self.answers:
                raise Parked
            answer = self.answers.pop(0)
            self.workflow.user_action(answer(self.gates[-1]) if callable(answer) else answer)

    def workflow_info(self) -> WorkflowInfo:
        return WorkflowInfo(workflow_id="run")

    def workflow_now(self) -> datetime:
        return datetime(2026, 11, 5, 8, tzinfo=UTC)

    def workflow_logger(self) -> logging.Logger:
        return logging.getLogger("workflow")

    def activity_info(self) -> ActivityInfo:
        return ActivityInfo(workflow_id="run", activity_id="activity")

    def activity_logger(self) -> logging.Logger:
        return logging.getLogger("activity")


RUNTIME = DirectRuntime()
set_runtime(RUNTIME)


@dataclass
class Run:
    """What one run did."""

    result: dict[str, Any] | None
    gates: list[dict[str, Any]]
    executed: list[str]
    steps: list[str]
    outputs: Path

    def files(self) -> dict[str, bytes]:
        found = [p for p in self.outputs.rglob("*") if p.is_file()]
        return {str(p.relative_to(self.outputs)): p.read_bytes() for p in found}


@pytest.fixture
def drive(tmp_path: Path) -> Iterator[Callable[..., Run]]:
    """Runs a period to its end, or to the first gate without an answer (`result` is then None)."""
    from templates.workflow import NavMonthlyWorkflow

    before = capability_config.get()
    capability_config.set(
        capability_config.WorkerConfig(artifacts_dir=str(tmp_path / "artifacts"), tenant_slug="acme")
    )

    def run(period: str, *answers: Any, config: dict[str, Any] | None = None) -> Run:
        RUNTIME.reset(list(answers))
        RUNTIME.workflow = NavMonthlyWorkflow()
        envelope = {
            "tenant_id": "6f0e9a35-6c55-5f0f-8f5b-0e3a1d8f0a01",
            "tenant_slug": "acme",
            "entity_id": "0b8f3a0e-3f2b-5d0c-9d55-3f4c7f1f0a02",
            "entity_slug": "acme-commercial-spv1",
            "period": period,
            "task_id": "run",
            "config": config or {},
            "ai": None,
            "gl": None,
        }
        try:
            result = asyncio.run(RUNTIME.workflow.run(envelope))
        except Parked:
            result = None
        outputs = tmp_path / "data" / "acme"
        return Run(result, RUNTIME.gates, RUNTIME.executed, RUNTIME.steps, outputs)

    yield run
    capability_config.set(before)


@pytest.fixture
def inputs() -> Callable[..., Any]:
    """The parsed inputs of a period, straight from the readers."""
    from templates import activities
    from templates.models import Inputs, PeriodRequest

    async def load(period: str, config: dict[str, Any]) -> Inputs:
        request = PeriodRequest(period=period, entity_slug="acme-commercial-spv1", config=config)
        opened = await activities.open_period(request)
        return Inputs(
            opened=opened,
            trial_balance=await activities.load_trial_balance(opened),
            rent_roll=await activities.load_rent_roll(opened),
            statement=await activities.load_bank_statement(opened),
        )

    return lambda period, **config: asyncio.run(load(period, config))


@pytest.fixture(scope="session", autouse=True)
def _each_file_parsed_once() -> Iterator[None]:
    """Reading the statement is most of a run's time; the same bytes are read once for all tests."""
    original, seen = files.parse, {}

    async def parse(*, content: bytes, format: str) -> Any:
        if (content, format) not in seen:
            seen[content, format] = await original(content=content, format=format)
        return seen[content, format].model_copy(deep=True)

    files.parse = parse
    yield
    files.parse = original


@pytest.fixture
def altered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Replaces October's files by those of a changed month (`change`), then by changed bytes (`damage`)."""
    import generate
    import months
    from templates import activities

    def alter(
        change: Callable[[Any], None] = lambda month: None,
        damage: Callable[[dict[str, bytes]], None] = lambda files: None,
        period: str = "2026-10",
    ) -> None:
        month = months.months()[1]
        change(month)
        made = generate.files(month)
        damage(made)
        folder = tmp_path / "bundle-data" / period
        folder.mkdir(parents=True)
        for name, content in made.items():
            (folder / name).write_bytes(content)
        monkeypatch.setattr(activities, "DATA", folder.parent)

    return alter
