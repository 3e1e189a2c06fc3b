"""What a soak has shown, from objects of the API, journals and the record of the world outside alone. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

Object = dict[str, Any]
DECIDES = ("approve", "reject")
TERMINAL = ("Succeeded", "Failed", "Cancelled")
# What a block may be for where pods are killed and the volume is full; any other is a defect.
REASONS = ("EffectUnknown", "AttemptsExhausted", "TooLarge")


@dataclass
class Facts:
    """All that is read back. `journals` are entries by run id; `started` the runs that were asked for, by name; `slots` the
    slots that were due, by Workflow; `early` the gates that were seen closed for their deadline before it had passed;
    `read_at` is when the journals were read, by the API server's clock."""

    runs: list[Object]
    gates: list[Object]
    actions: list[Object]
    workflows: list[Object]
    jobs: list[Object]
    journals: dict[str, list[Object]]
    names: dict[str, str]
    started: list[str]
    slots: dict[str, list[str]]
    effects: list[str]
    early: list[str] = field(default_factory=list)
    read_at: str = "9999-12-31T00:00:00Z"


def time_of(text: str) -> datetime:
    return datetime.fromisoformat(text)


def verdict(facts: Facts) -> dict[str, list[str]]:
    """By what must not be, every case of it."""
    return {
        "lost": [*lost_runs(facts), *lost_actions(facts), *lost_slots(facts)],
        "doubled": [*doubled_runs(facts), *doubled_entries(facts), *doubled_effects(facts), *doubled_jobs(facts)],
        "stuck": list(stuck(facts)),
        "refusedInTime": list(refused_in_time(facts)),
        "expiredEarly": facts.early,
    }


def lost_runs(facts: Facts) -> Iterator[str]:
    there = {run["metadata"]["name"] for run in facts.runs}
    begun = set(facts.names.values())
    yield from (f"run {name} has no object" for name in facts.started if name not in there)
    yield from (f"run {name} has no journal" for name in facts.started if name not in begun)


def lost_actions(facts: Facts) -> Iterator[str]:
    kept = {entry.get("userAction") for entries in facts.journals.values() for entry in entries}
    for action in facts.actions:
        meta, outcome = action["metadata"], action.get("status", {}).get("outcome")
        if outcome is None:
            yield f"user action {meta['name']} has no answer"
        elif meta["uid"] not in kept:
            yield f"user action {meta['name']} is {outcome} and in no journal"


def slot_of(run: Object) -> tuple[str, str] | None:
    request = run["spec"]["request"]
    slot = request["trigger"].get("scheduledTime")
    return (request["workflowRef"]["name"], slot) if slot else None


def lost_slots(facts: Facts) -> Iterator[str]:
    given = {slot_of(run) for run in facts.runs}
    for workflow in facts.workflows:
        name = workflow["metadata"]["name"]
        missed = workflow.get("status", {}).get("missed", {}).get("count", 0)
        without = [slot for slot in facts.slots.get(name, []) if (name, slot) not in given]
        yield from (f"slot {slot} of {name} has no run" for slot in without[missed:])


def doubled_runs(facts: Facts) -> Iterator[str]:
    slots = Counter(slot for run in facts.runs if (slot := slot_of(run)))
    yield from (f"slot {slot} has {count} runs" for slot, count in slots.items() if count > 1)
    names = Counter(facts.names.values())
    yield from (f"run {name} has {count} journals" for name, count in names.items() if count > 1)


def doubled_entries(facts: Facts) -> Iterator[str]:
    for run, entries in facts.journals.items():
        name = facts.names[run]
        external = {e["command"] for e in entries if e["type"] == "activityScheduled" and e["effect"] == "external"}
        begun = Counter(e["target"] for e in entries if e["type"] == "activityStarted" and e["target"] in external)
        decided = Counter(e["target"] for e in entries if e["type"] == "gateDecided")
        ended = sum(e["type"] in ("runCompleted", "runFailed", "runCancelled") for e in entries)
        yield from (f"{name} began effect {target} {count} times" for target, count in begun.items() if count > 1)
        yield from (f"{name} decided gate {target} {count} times" for target, count in decided.items() if count > 1)
        if ended > 1:
            yield f"{name} ended {ended} times"


def doubled_effects(facts: Facts) -> Iterator[str]:
    posts = Counter(effect for effect in facts.effects if effect.endswith("/post"))
    yield from (f"{effect} happened {count} times" for effect, count in posts.items() if count > 1)


def doubled_jobs(facts: Facts) -> Iterator[str]:
    """Segments of a run are disjoint in time, by what the API server recorded."""
    spans: dict[str, list[tuple[str, str]]] = {}
    for job in facts.jobs:
        status = job.get("status", {})
        failed = next((c["lastTransitionTime"] for c in status.get("conditions", []) if c["type"] == "Failed"), None)
        begin, end = status.get("startTime"), status.get("completionTime") or failed
        if begin and end:
            spans.setdefault(job["metadata"]["labels"]["ntro.dev/run"], []).append((begin, end))
    for name, times in spans.items():
        times.sort()
        yield from (f"{name} had two Jobs at once: {a}, {b}" for a, b in zip(times, times[1:], strict=False) if a[1] > b[0])


def waits_until(facts: Facts, name: str) -> str | None:
    """When the run goes on by itself: a clock that was set forward and back again leaves timers that far in the future."""
    entries = next((facts.journals.get(run, []) for run, known in facts.names.items() if known == name), [])
    over = {entry["target"] for entry in entries if entry["type"] in ("timerFired", "timerCancelled")}
    timers = [e["firesAt"] for e in entries if e["type"] == "timerStarted" and e["command"] not in over]
    dues = [g["spec"]["due"] for g in facts.gates if g["spec"].get("run") == name and g["status"]["state"] == "Open" and g["spec"].get("due")]
    wanted = [e["notBefore"] for e in entries[-1:] if e["type"] == "segmentWanted"]
    return min([*timers, *dues, *wanted], key=time_of, default=None)


def stuck(facts: Facts) -> Iterator[str]:
    for run in facts.runs:
        name, status = run["metadata"]["name"], run.get("status", {})
        phase, code = status.get("phase"), status.get("blocked", {}).get("code")
        if phase == "Failed" or (phase == "Blocked" and code not in REASONS):
            yield f"{name} is {phase}: {code or status.get('error')}"
        elif phase not in TERMINAL and phase != "Blocked":
            until = waits_until(facts, name)
            if until is None or time_of(until) <= time_of(facts.read_at):
                yield f"{name} is {phase}, until {until}"


def refused_in_time(facts: Facts) -> Iterator[str]:
    """A gate is asked of one person once here, so whatever refuses an answer in time is wrong, but that its run is over."""
    due = {gate["spec"]["gateId"]: gate["spec"].get("due") for gate in facts.gates}
    over = {run["metadata"]["name"] for run in facts.runs if run.get("status", {}).get("phase") in ("Cancelled", "Blocked")}
    for action in facts.actions:
        spec, status = action["spec"], action.get("status", {})
        if spec["verb"] not in DECIDES or status.get("outcome") != "Refused":
            continue
        until = due.get(spec["gate"]["gateId"])
        in_time = until is None or time_of(action["metadata"]["creationTimestamp"]) <= time_of(until)
        if in_time and spec["run"] not in over:
            made = action["metadata"]["creationTimestamp"]
            yield f"{action['metadata']['name']} of {made}, due {until}, was refused: {status.get('reason')}"
