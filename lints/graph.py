"""Arrows between parts: which of them climb, and which run in a circle."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable
from dataclasses import dataclass

Floors = list[list[str]]


@dataclass(frozen=True)
class Arrow:
    """`importer` uses `imported`, at a place."""

    importer: str
    imported: str
    file: str
    line: int


def part_of(path: Iterable[str], floors: Floors) -> str | None:
    """The part that a module belongs to: the longest that its path begins with."""
    joined = "/".join(path)
    known = [part for floor in floors for part in floor if joined == part or joined.startswith(f"{part}/")]
    return max(known, key=len, default=None)


def climbs(arrows: Iterable[Arrow], floors: Floors) -> list[str]:
    """An arrow has to fall: what is on its own floor counts as a climb as well."""
    depth = {part: n for n, floor in enumerate(floors) for part in floor}
    problems = []
    for it in arrows:
        missing = [part for part in (it.importer, it.imported) if part not in depth]
        for part in missing:
            problems.append(f"{it.file}:{it.line}: {part} is on no floor of the table in imports.py")
        if not missing and depth[it.importer] >= depth[it.imported]:
            where = "is beside it" if depth[it.importer] == depth[it.imported] else "is above it"
            problems.append(f"{it.file}:{it.line}: {it.importer} → {it.imported}, which {where}")
    return sorted(set(problems))


def circles(arrows: Iterable[Arrow]) -> list[str]:
    """One circle, the shortest, for each part that is in one and was not in an earlier one."""
    places: dict[str, dict[str, Arrow]] = defaultdict(dict)
    for it in arrows:
        if it.importer != it.imported:
            places[it.importer].setdefault(it.imported, it)
    problems: list[str] = []
    seen: set[str] = set()
    for start in sorted(places):
        if start not in seen and (circle := _shortest(start, places)):
            seen |= {it.importer for it in circle}
            steps = ", ".join(f"{it.importer} → {it.imported} ({it.file}:{it.line})" for it in circle)
            problems.append(f"circle: {steps}")
    return problems


def _shortest(start: str, places: dict[str, dict[str, Arrow]]) -> list[Arrow] | None:
    """The shortest way from a part back to itself."""
    came: dict[str, Arrow] = {}
    waiting = deque([start])
    while waiting:
        at = waiting.popleft()
        for other, arrow in sorted(places.get(at, {}).items()):
            if other == start:
                way = [arrow]
                while way[0].importer != start:
                    way.insert(0, came[way[0].importer])
                return way
            if other not in came:
                came[other] = arrow
                waiting.append(other)
    return None
