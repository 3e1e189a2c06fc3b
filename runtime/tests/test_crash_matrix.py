"""Killed at every append, await and effect, on both sides, a run ends as if nothing had happened."""

from __future__ import annotations

import queue
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness import Run
from journal_server import RUNTIME, Json, Server
from segment_process import KILLED

Make = Callable[..., Run]


def allow_repeats(run: Run) -> Callable[[Json], Json]:
    """A person looks at what may have happened and allows it to be repeated."""

    def retry(blocked: Json) -> Json:
        assert blocked["code"] == "EffectUnknown"
        running = [it for it in run.state()["activities"] if it["state"] == "Running" and it["activity"] == blocked["activity"]]
        return {"repeatEffects": [it["command"] for it in running]}

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
    """Every append, live await, and start and end of an activity, on both sides.

    Left out is a point with nothing between it and the one beside it, and most of the replayed awaits, which touch nothing.
    """
    same_as_next = {
        ("turn:after", "append:before"),
        ("append:after", "turn:before"),
        ("append:after", "activity:start"),
    }
    replayed = [n for n, point in enumerate(points, start=1) if point.startswith("replay")]
    left_out = set(replayed) - set(replayed[:: max(1, len(replayed) // 6)])
    left_out |= {n for n, pair in enumerate(pairwise(points), start=1) if pair in same_as_next}
    return [(n, point) for n, point in enumerate(points, start=1) if n not in left_out]


def was_killed(run: Run, number: int, point: str) -> bool:
    """Whether it was killed at its point `number`. One that a busy machine gave fewer segments than the clean run has fewer points."""
    if KILLED in run.exits:
        return True
    assert len(run.points.read_text().splitlines()) < number, f"point {number} ({point}) was passed"
    return False


def at_every_point(clean: Run, servers: list[Server], attempt: Callable[[Server, int, str], bool]) -> None:
    """Call `attempt(server, number, point)` for each point of a clean run; one at a time on each server. It says whether it killed."""
    points = kill_points(clean.points.read_text().splitlines())
    free: queue.SimpleQueue[Server] = queue.SimpleQueue()
    for server in servers:
        free.put(server)

    def one(number_and_point: tuple[int, str]) -> bool:
        server = free.get()
        try:
            return attempt(server, *number_and_point)
        finally:
            free.put(server)

    with ThreadPoolExecutor(len(servers)) as pool:
        done = [pool.submit(one, point) for point in points]
        try:
            killed = sum(future.result() for future in as_completed(done))
        finally:
            pool.shutdown(cancel_futures=True)
    assert killed > 0.75 * len(points), f"killed at {killed} of {len(points)} points"


def test_stub_killed_at_every_point(stub_run: Make, servers: list[Server]) -> None:
    clean = stub_run(servers[0])
    assert clean.drive() == "Succeeded"
    assert set(effects(clean).values()) == {1}
    assert Counter(clean.points.read_text().splitlines())["append:before"] > 15
    asked: list[str] = []

    def attempt(server: Server, number: int, point: str) -> bool:
        run = stub_run(server, kill_at=number)
        run.retry = allow_repeats(run)
        phase = run.drive()
        killed = was_killed(run, number, point)
        if run.entries("retryRequested"):
            asked.append(point)
            check(clean, run, phase)
        else:
            # Nobody was asked, so the external effect has happened once.
            check(clean, run, phase, exactly_once=("post",))
        assert all(count <= 2 for count in effects(run).values()), (number, point)
        return killed

    at_every_point(clean, servers, attempt)
    # Between the intent and the completion of the external effect, and nowhere else, a person is asked.
    assert sorted(asked) == ["activity:end", "activity:start", "append:before"]


@pytest.mark.parametrize("env", [{"PYTHONHASHSEED": "1"}, {"PYTHONHASHSEED": "4242", "TZ": "Pacific/Auckland"}, {"LC_ALL": "C"}])
def test_stub_is_the_same_in_another_environment(stub_run: Make, server: Server, env: dict[str, str]) -> None:
    clean = stub_run(server)
    assert clean.drive() == "Succeeded"
    run = stub_run(server, env=env)
    check(clean, run, run.drive(run.spawn))


def test_every_segment_in_another_environment(stub_run: Make, server: Server) -> None:
    clean = stub_run(server)
    assert clean.drive() == "Succeeded"
    run = stub_run(server)
    seeds = iter(range(100))

    def attempt() -> int:
        return run.spawn(PYTHONHASHSEED=str(next(seeds)), TZ="Asia/Kolkata")

    check(clean, run, run.drive(attempt))


def test_a_garbage_collector_under_pressure_changes_nothing(stub_run: Make, server: Server) -> None:
    clean = stub_run(server)
    assert clean.drive() == "Succeeded"
    run = stub_run(server)

    check(clean, run, run.drive(lambda: run.fork(gc_threshold=1)))


# -- the example runbook ---------------------------------------------------------------------------

NAV = RUNTIME.parent / "examples" / "runbooks" / "nav-monthly"


@pytest.fixture
def nav_run(tmp_path: Path) -> Make:
    """A run of nav-monthly: one correction, then an approval."""
    activities = yaml.safe_load((NAV / "runbook.md").read_text().split("---\n")[1])["activities"]
    numbers = iter(range(1000))

    def make(server: Server, **options: Any) -> Run:
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


def test_nav_monthly_killed_at_every_point(nav_run: Make, servers: list[Server]) -> None:
    clean = nav_run(servers[0])
    assert clean.drive() == "Succeeded"
    assert [output["name"] for output in clean.outputs()] == ["nav-pack.xlsx", "nav-summary.json"]
    assert clean.result()["status"] == "approved"

    def attempt(server: Server, number: int, point: str) -> bool:
        run = nav_run(server, kill_at=number)
        phase = run.drive()
        check(clean, run, phase)
        return was_killed(run, number, point)

    at_every_point(clean, servers, attempt)


def test_nav_monthly_is_the_same_in_another_environment(nav_run: Make, server: Server) -> None:
    clean = nav_run(server)
    assert clean.drive() == "Succeeded"
    run = nav_run(server)
    seeds = iter(range(100))
    check(clean, run, run.drive(lambda: run.spawn(PYTHONHASHSEED=str(next(seeds)), TZ="Pacific/Auckland")))
