"""What one more activity costs in a run that has had many, and what many sleeping ones cost.

A run against the journal's own server, on this machine's clock and disk: N activities one after the other, timed by the
journal's own entries; then 200 at once that only sleep. Needs no cluster.

    append.py N
"""

from __future__ import annotations

import resource
import sys
import tempfile
import textwrap
import time
from datetime import datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / path) for path in ("tests", "runtime/tests", "runtime/src", "runtime/temporalio-shim/src")]
from harness import Run  # noqa: E402
from journal_server import Server  # noqa: E402
from kit.figures import print_figure  # noqa: E402

WORKFLOW = """
import asyncio, time
from ntro.workflow import NtroWorkflow, activity, runbook

@activity.defn
def look(n: int) -> int:
    return n

@activity.defn
def nap(n: int) -> int:
    time.sleep(1)
    return n

@runbook.defn
class ProbeWorkflow(NtroWorkflow):
    @runbook.run
    async def run(self, input):
        if input["sleeping"]:
            return sum(await asyncio.gather(*(runbook.execute_activity(nap, args=[n]) for n in range(input["count"]))))
        for n in range(input["count"]):
            await runbook.execute_activity(look, args=[n])
"""
SLEEPING = 200


def bundle(directory: Path) -> Path:
    (directory / "templates").mkdir(parents=True)
    (directory / "runbook.md").write_text("---\nslug: probe\n---\n")
    (directory / "templates" / "__init__.py").write_text("")
    (directory / "templates" / "activities.py").write_text("")
    (directory / "templates" / "workflow.py").write_text(textwrap.dedent(WORKFLOW))
    return directory


def main() -> None:
    n = int(sys.argv[1])
    with tempfile.TemporaryDirectory() as path:
        directory = Path(path)
        bundle(directory / "bundle")
        server = Server(directory / "server", "--linger-ms", "0", virtual=False)
        try:
            activities = {"look": {"effect": "none"}, "nap": {"effect": "none"}}
            work = {"count": n, "sleeping": False}
            sequential = Run(server, directory / "sequential", directory / "bundle", work, activities)
            sequential.spawn()
            ends = [datetime.fromisoformat(e["time"].replace("Z", "+00:00")) for e in sequential.entries("activityCompleted")]
            if len(ends) != n:
                raise RuntimeError(f"{len(ends)} of {n} activities: {sequential.state()['phase']}")
            work = {"count": SLEEPING, "sleeping": True}
            asleep = Run(server, directory / "asleep", directory / "bundle", work, activities)
            before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
            asleep.spawn()
            after, took = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic() - began
        finally:
            server.close()
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print_figure("append", f"{SLEEPING} sleeping activities at once: CPU of the pod, share of a core", round(cpu / took, 3))
    part = min(1000, n // 2)
    ms = lambda times: round((times[-1] - times[0]).total_seconds() * 1000 / (len(times) - 1), 3)  # noqa: E731
    first, last = ms(ends[:part]), ms(ends[-part:])
    print_figure("append", f"{n} activities in sequence: ms each, first {part}", first)
    print_figure("append", f"{n} activities in sequence: ms each, last {part}", last)
    print_figure("append", f"{n} activities in sequence: last {part} to first {part}", round(last / first, 3))


if __name__ == "__main__":
    main()
