"""Killed at every append, await and effect, on both sides, a run ends as if nothing had happened."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness import KILLED, ROOT, Json, Run, Server

Make = Callable[..., Run]


def allow_repeats(run: Run) -> Callable[[Json], Json]:
    """A person looks at what may have happened and allows it to be repeated."""

    def retry(blocked: Json) -> Json:
        assert blocked["code"] == "EffectUnknown"
        running = [it for it in run.state()["activities"] if it["state"] == "Running" and it["activity"] == blocked["activity"]]
        return {"repeats": [it["command"] for it in running]}

    return retry


def effects(run: Run) -> Counter[str]:
    """Effects by name and command; the run's id in them differs from run to run."""
    return Counter({line.replace(run.id, "run"): count for line, count in run.effect_counts().items()})


def check(clean: Run, run: Run, phase: str, *, exactly_once: tuple[str, ...] = ()) -> None:
    assert phase == "Succeeded", (run.exits, run.state())
    assert run.commands() == clean.commands()
    assert run.result() == clean.result()
    assert run.outputs() == clean.outputs()
    assert set(effects(run)) == set(effects(clean))
    for name, count in effects(run).items():
        assert count == 1 or not name.startswith(exactly_once), (name, count)


def kill_points(points: list[str]) -> list[tuple[int, str]]:
    """Every append, live await, and start and end of an activity, on both sides; and some of the replayed awaits, which touch nothing."""
    replayed = [number for number, point in enumerate(points, start=1) if point.startswith("replay")]
    sample = set(replayed[::8])
    return [(n, point) for n, point in enumerate(points, start=1) if n in sample or not point.startswith("replay")]


def test_stub_killed_at_every_point(stub_run: Make) -> None:
    clean = stub_run()
    assert clean.drive() == "Succeeded"
    assert set(effects(clean).values()) == {1}
    points = clean.points.read_text().splitlines()
    assert Counter(points)["append:before"] > 15
    blocked = 0
    for number, point in kill_points(points):
        run = stub_run(kill_at=number)
        run.retry = allow_repeats(run)
        phase = run.drive()
        assert KILLED in run.exits, f"point {number} ({point}) was not reached"
        asked = bool(run.entries("retryRequested"))
        blocked += asked
        # The external effect is never repeated unless a person was asked; what may be repeated is, at most once more.
        check(clean, run, phase, exactly_once=() if asked else ("post",))
        assert all(count <= 2 for count in effects(run).values()), (number, point)
    # Between the intent and the completion of the external effect, and nowhere else, a person is asked.
    assert 0 < blocked <= 6


@pytest.mark.parametrize("env", [{"PYTHONHASHSEED": "1"}, {"PYTHONHASHSEED": "4242", "TZ": "Pacific/Auckland"}, {"LC_ALL": "C"}])
def test_stub_is_the_same_in_another_environment(stub_run: Make, env: dict[str, str]) -> None:
    clean = stub_run()
    assert clean.drive() == "Succeeded"
    run = stub_run(env=env)
    check(clean, run, run.drive(run.spawn))


def test_every_segment_in_another_environment(stub_run: Make) -> None:
    clean = stub_run()
    assert clean.drive() == "Succeeded"
    run = stub_run()
    seeds = iter(range(100))

    def attempt() -> int:
        return run.spawn(PYTHONHASHSEED=str(next(seeds)), TZ="Asia/Kolkata")

    check(clean, run, run.drive(attempt))


def test_a_garbage_collector_under_pressure_changes_nothing(stub_run: Make) -> None:
    clean = stub_run()
    assert clean.drive() == "Succeeded"
    run = stub_run()

    check(clean, run, run.drive(lambda: run.fork(gc_threshold=1)))


# -- the example runbook ---------------------------------------------------------------------------

NAV = ROOT.parent / "examples" / "runbooks" / "nav-monthly"


@pytest.fixture
def nav_run(server: Server, tmp_path: Path) -> Make:
    """A run of nav-monthly: one correction, then an approval."""
    activities = yaml.safe_load((NAV / "runbook.md").read_text().split("---\n")[1])["activities"]
    numbers = iter(range(1000))

    def make(**options: Any) -> Run:
        correction = {"line": 1, "field": "description", "value": "Corrected"}
        answers = iter([{"verb": "correct", "correction": [correction], "actor": "alice"}])
        return Run(
            server,
            tmp_path / f"nav-{next(numbers)}",
            NAV,
            {"period": "2026-10", "entity_slug": "acme-commercial-spv1", "tenant_slug": "acme", "config": {}},
            activities,
            answer=lambda _gate: next(answers, {"verb": "approve", "actor": "bob", "comment": "agreed"}),
            **options,
        )

    return make


def test_nav_monthly_killed_at_every_point(nav_run: Make) -> None:
    clean = nav_run()
    assert clean.drive() == "Succeeded"
    assert [output["name"] for output in clean.outputs()] == ["nav-pack.xlsx", "nav-summary.json"]
    assert clean.result()["status"] == "approved"
    for number, point in kill_points(clean.points.read_text().splitlines()):
        run = nav_run(kill_at=number)
        phase = run.drive()
        assert KILLED in run.exits, f"point {number} ({point}) was not reached"
        check(clean, run, phase)


def test_nav_monthly_is_the_same_in_another_environment(nav_run: Make) -> None:
    clean = nav_run()
    assert clean.drive() == "Succeeded"
    run = nav_run()
    seeds = iter(range(100))
    check(clean, run, run.drive(lambda: run.spawn(PYTHONHASHSEED=str(next(seeds)), TZ="Pacific/Auckland")))
