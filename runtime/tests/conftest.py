"""Fixtures: a journal server per test, and runs of the bundles in `tests/bundles`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from harness import BUNDLES, Run
from journal_server import Json, Server
from runner_pod import pod as pod

STUB_ACTIVITIES: Json = {
    "stub.read": {"effect": "none"},
    "stub.sum": {"effect": "idempotent"},
    "stub.post": {"effect": "external", "requires": "review"},
    "stub.slow": {"effect": "none"},
    "run_quality_check": {"effect": "none"},
}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="run what takes its real time, too")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("long") and not config.getoption("--long"):
            item.add_marker(pytest.mark.skip(reason="takes its real time: --long"))


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[list[Server]]:
    """Servers with a clock each, as many as there are processors: what happens on one disturbs no other."""
    its = [Server(tmp_path / f"server-{n}", "--linger-ms", "0") for n in range(os.cpu_count() or 1)]
    yield its
    for it in its:
        it.close()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    it = Server(tmp_path / "server", "--linger-ms", "0", "--cancel-grace-ms", "1000")
    yield it
    it.close()


@pytest.fixture
def bundle(tmp_path: Path) -> Callable[..., Path]:
    """Write a bundle with the slug `probe` from the source of its workflow."""

    def write(workflow: str, activities: str = "") -> Path:
        root = tmp_path / "bundle"
        templates = root / "templates"
        templates.mkdir(parents=True)
        (root / "runbook.md").write_text("---\nslug: probe\n---\n")
        (templates / "__init__.py").write_text("")
        (templates / "activities.py").write_text(activities)
        (templates / "workflow.py").write_text(workflow)
        return root

    return write


@pytest.fixture
def stub_run(tmp_path: Path) -> Callable[..., Run]:
    """A run of the stub bundle. People hand in a wrong document, then a right one, and approve."""
    numbers = iter(range(1000))

    def make(server: Server, **options: Any) -> Run:
        handed_in = iter([{"ok": False}, {"ok": True}, {"ok": True}])

        def answer(gate: Json) -> Json:
            if gate["step"] == "collect":
                return {"verb": "submit", "correction": next(handed_in)}
            return {"verb": "approve", "actor": "bob", "comment": "fine"}

        defaults: dict[str, Any] = {"answer": answer, "slow": frozenset(["stub.slow"])}
        return Run(
            server,
            tmp_path / f"run-{next(numbers)}",
            BUNDLES / "stub",
            {"period": "2026-10"},
            STUB_ACTIVITIES,
            **{**defaults, **options},
        )

    return make
