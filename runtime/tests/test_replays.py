"""What workflow code does follows from what it was told, and from nothing else: no time, process, hash seed or collection of garbage.

For each seed a program is drawn, and its *story* made up while it runs undisturbed: the reference. Then the same story is told in another
way (`story.Way`). What must hold, for whichever two runs of a program:

- as far as their stories agree, they give the same commands, and end alike. A way that passes a deadline, say, leaves the story there,
  and is compared with the reference up to that place. Only what is left of the deadline of a gate that is opened again may differ;
- the journal of each, told again from its first entry under another hash seed, gives each of its commands byte for byte. This holds for
  programs that tell the time as well, which are not compared with each other.

A failure names its seed: `NTRO_SEED=17 pytest tests/test_replays.py` tells that one again.
"""

from __future__ import annotations

import json
import os
import queue
import traceback
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import zip_longest
from pathlib import Path
from random import Random

import pytest

import segment_process
from harness import BUNDLES, STAMPED
from journal_server import Json, Server
from programs import ACTIVITIES, Program, program
from story import HASH_SEEDS, WHEN, StoryRun, Way, common, told

EVERY_DAY = range(25)
LONG = range(1000)
# Written by the operator, beside what the harness leaves out.
ADDED = {*STAMPED, "effect", "requires", "revision"}


class Told:
    """One seed: its program, the reference, and another way."""

    def __init__(self, seed: int, server: Server, directory: Path) -> None:
        self.seed = seed
        self._server = server
        self._directory = directory
        self.program: Program = program(Random(seed))
        self.counts: Counter[str] = Counter()

    def check(self) -> None:
        reference = self._run("reference", Way(Random(self.seed)), None)
        story = told(reference.entries())
        self._compare(reference, self._run("other way", self._way(), story))

    def _way(self) -> Way:
        """Every other one is killed, and hurried as well."""
        rng = Random(self.seed * 2 + 1)
        if self.seed % 2:
            return Way(rng, WHEN, lingers=(0, 30_000), hash_seeds=HASH_SEEDS, passes_deadlines=0.1)
        return Way(rng, WHEN, kills=3, lingers=(0, 30_000), hash_seeds=HASH_SEEDS, gc_thresholds=(5, 700), haste=0.3)

    def _run(self, name: str, way: Way, story: list[Json] | None) -> StoryRun:
        directory = self._directory / f"{self.seed}-{name}"
        run = StoryRun(self._server, directory, BUNDLES / "program", {"program": self.program.statements, "seed": self.seed}, ACTIVITIES)
        run.retry = lambda blocked: _allow_repeats(run, blocked)
        phase = run.tell(way, Random(self.seed * 3), self.program.signals, story)
        assert phase in ("Succeeded", "Failed"), (name, phase, run.state(), run.happened)
        self._count(run)
        _check_effects(run)
        _check_replay(run, HASH_SEEDS[1])
        return run

    def _count(self, run: StoryRun) -> None:
        self.counts["events"] += len(told(run.entries()))
        self.counts["pods"] += len(run.exits)
        self.counts["killed at a point"] += run.exits.count(segment_process.KILLED)
        self.counts.update(f"answered {when}" for kind, when in run.happened if kind == "gateDecided")

    def _compare(self, reference: StoryRun, run: StoryRun) -> None:
        if self.program.tells_time:
            return
        ours, theirs = told(run.entries()), told(reference.entries())
        agree = common(ours, theirs)
        self.counts["ways"] += 1
        self.counts["ways with the whole story"] += agree == len(theirs)
        assert _up_to(run, agree) == _up_to(reference, agree), run.happened
        if ours == theirs:
            assert run.result() == reference.result()
            assert run.state()["error"] == reference.state()["error"]
            assert set(run.effect_counts()) >= {effect for effect in reference.effect_counts() if _must_have_happened(effect, run)}


def _allow_repeats(run: StoryRun, blocked: Json) -> Json | None:
    """A person looks at what may have happened and allows it to be repeated."""
    if blocked["code"] != "EffectUnknown":
        return None
    under_way = [it for it in run.state()["activities"] if it["state"] == "Running"]
    return {"repeatEffects": [it["command"] for it in under_way if ACTIVITIES[it["activity"]]["effect"] == "external"]}


def _up_to(run: StoryRun, agree: int) -> list[Json]:
    """The commands up to a place of the story, without what a gate that is opened again has left of its deadline."""
    commands = [command for command in run.commands() if command["seenUpto"] <= agree]
    return [{name: value for name, value in command.items() if name != "dueMs"} for command in commands]


def _must_have_happened(effect: str, run: StoryRun) -> bool:
    """Whether the run was told how the activity of this line ended."""
    return any(entry.get("target") == int(effect.split()[1]) for entry in run.entries("activityCompleted"))


def _check_effects(run: StoryRun) -> None:
    """What is not to be repeated has happened once for each time it was asked for: by the code, by its policy, by a person."""
    failed = Counter(entry["target"] for entry in run.entries("activityAttemptFailed"))
    allowed = Counter(command for entry in run.entries("retryRequested") for command in entry.get("repeatEffects", []))
    for effect, count in run.effect_counts().items():
        name, command = effect.split()
        if ACTIVITIES[name]["effect"] == "external":
            assert count <= 1 + failed[int(command)] + allowed[int(command)], (effect, count)


def _check_replay(run: StoryRun, hash_seed: str) -> None:
    """The finished journal, told again to a fresh process."""
    entries = [_inlined(run, entry) for entry in run.entries()]
    journal, out = run.directory / "journal.json", run.directory / "replayed.json"
    journal.write_text(json.dumps(entries))
    paths = [str(path) for path in (journal, run.bundle, out)]
    code = segment_process.zygote(hash_seed).run({"env": run.env, "gc_threshold": 50, "replay": paths}, lambda: None)
    replayed = json.loads(out.read_text()) if out.exists() else {"halted": f"exit code {code}"}
    assert "halted" not in replayed, replayed
    recorded = [_as_said(entry) for entry in entries if "command" in entry]
    for now, then in zip_longest(replayed["commands"], recorded):
        assert now == then, _difference(now, then)


def _difference(now: Json | None, then: Json | None) -> str:
    if now is None or then is None:
        return f"replayed: {now}\nrecorded: {then}"
    names = [name for name in sorted({*now, *then}) if now.get(name) != then.get(name)]
    return "\n".join(f"command {then['command']}, {then['type']}, {it}: {now.get(it)} now, {then.get(it)} then" for it in names)


def _as_said(entry: Json) -> Json:
    return {key: value for key, value in entry.items() if key not in ADDED}


def _inlined(run: StoryRun, entry: Json) -> Json:
    """With the bytes of its payloads in place of their digests."""
    return {key: {"inline": run.text(value)} if isinstance(value, dict) and "blob" in value else value for key, value in entry.items()}


def tell(seeds: range, servers: list[Server], directory: Path) -> Counter[str]:
    """Check all of these seeds, one at a time on each server. Returns what happened how often."""
    free: queue.SimpleQueue[Server] = queue.SimpleQueue()
    for server in servers:
        free.put(server)

    def one(seed: int) -> tuple[Counter[str], str]:
        server = free.get()
        it = Told(seed, server, directory)
        try:
            it.check()
        except Exception as error:
            return it.counts, f"NTRO_SEED={seed}: {''.join(traceback.format_exception(error))[-6000:]}"
        finally:
            free.put(server)
        return it.counts, ""

    counts: Counter[str] = Counter()
    failures = []
    with ThreadPoolExecutor(len(servers)) as pool:
        for done, (its, failure) in enumerate(pool.map(one, seeds), start=1):
            counts += its
            if failure:
                failures.append(failure)
                print(failure)
            if done % 100 == 0:
                print(f"{done} of {len(seeds)} seeds")
    print(f"{len(seeds)} seeds: {dict(sorted(counts.items()))}")
    assert not failures, f"{len(failures)} of {len(seeds)} seeds\n" + "\n\n".join(failure for failure in failures[:5])
    return counts


def check_that_it_was_worth_telling(counts: Counter[str]) -> None:
    """A check that compares nothing would hold as well."""
    assert counts["ways with the whole story"] > 0.6 * counts["ways"], counts
    assert counts["killed at a point"] > 0.5 * counts["ways"], counts
    assert all(counts[f"answered {when}"] > 0 for when in WHEN), counts


def test_a_story_leads_to_the_same_in_whatever_way_it_comes_to_pass(servers: list[Server], tmp_path: Path) -> None:
    if given := os.environ.get("NTRO_SEED"):
        tell(range(int(given), int(given) + 1), servers[:1], tmp_path)
        return
    check_that_it_was_worth_telling(tell(EVERY_DAY, servers, tmp_path))


@pytest.mark.long
def test_a_thousand_stories_lead_to_the_same_in_whatever_way_they_come_to_pass(servers: list[Server], tmp_path: Path) -> None:
    check_that_it_was_worth_telling(tell(LONG, servers, tmp_path))
