"""What one more activity costs in a run that has had many, and what many sleeping ones cost.

A run against the journal's own server, on this machine's clock and disk: N activities one after the other, timed by the
journal's own entries; then 200 at once that only sleep, of which the processor time of all processes of the pod is
counted, from the first one's start on. Needs no cluster.

    append.py N
"""

from __future__ import annotations

import os
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
TICKS = os.sysconf("SC_CLK_TCK")


class Sleepers(Run):
    """The run of those that sleep. `began` and `newest` are samples: when, and the seconds of processor time so far."""

    began: tuple[float, float] | None = None
    newest: tuple[float, float] = (0.0, 0.0)

    def _meanwhile(self) -> None:
        if time.monotonic() - self.newest[0] < 0.2:
            return
        sample = time.monotonic(), processor_time(besides=self.server.process.pid)
        if self.began is not None and sample[1] < self.newest[1]:
            return  # the pod is leaving, and some of its processes have gone
        self.newest = sample
        if self.began is None and self.entries("activityStarted"):
            self.began = sample

    def share(self) -> float:
        """Of a core, while they slept."""
        began = self.began or self.newest
        return (self.newest[1] - began[1]) / (self.newest[0] - began[0])


def processor_time(besides: int) -> float:
    """Seconds that the processes have taken that this one has started, with theirs, but one of its children."""
    parents, taken = {}, {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue  # it has ended
        pid = int(path.parent.name)
        parents[pid], taken[pid] = int(fields[1]), sum(int(field) for field in fields[11:13]) / TICKS
    ours = {os.getpid()}
    while found := {pid for pid, parent in parents.items() if parent in ours and pid != besides} - ours:
        ours |= found
    return sum(taken.get(pid, 0.0) for pid in ours - {os.getpid()})


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
            asleep = Sleepers(server, directory / "asleep", directory / "bundle", work, activities)
            asleep.spawn()
            if len(asleep.entries("activityCompleted")) != SLEEPING:
                raise RuntimeError(f"not all have slept: {asleep.state()['phase']}")
        finally:
            server.close()
    print_figure("append", f"{SLEEPING} sleeping activities at once: CPU of the pod, share of a core", round(asleep.share(), 3))
    part = min(1000, n // 2)
    ms = lambda times: round((times[-1] - times[0]).total_seconds() * 1000 / (len(times) - 1), 3)  # noqa: E731
    first, last = ms(ends[:part]), ms(ends[-part:])
    print_figure("append", f"{n} activities in sequence: ms each, first {part}", first)
    print_figure("append", f"{n} activities in sequence: ms each, last {part}", last)
    print_figure("append", f"{n} activities in sequence: last {part} to first {part}", round(last / first, 3))


if __name__ == "__main__":
    main()
