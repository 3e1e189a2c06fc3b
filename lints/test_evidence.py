"""The tests that `docs/evidence.md` names exist, and each of its rows names one and says how it was seen failing."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NAMED = re.compile(r"`([\w./-]+)::(\w+)`")


def rows(text: str) -> list[list[str]]:
    """The cells of each row of its tables, without heads and rules."""
    lines = [line for line in text.splitlines() if line.startswith("|") and not line.startswith(("|---", "| demand |"))]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def missing(text: str, root: Path) -> list[str]:
    """The tests named in `text` that are not where it says."""
    return [f"{path}::{name}" for path, name in NAMED.findall(text) if not _defines(root / path, name)]


def _defines(path: Path, name: str) -> bool:
    return path.is_file() and re.search(rf"^ *(?:async )?(?:def|fn) {name}\(", path.read_text(), re.MULTILINE) is not None


def test_every_test_that_is_named_exists() -> None:
    text = (ROOT / "docs" / "evidence.md").read_text()
    assert missing(text, ROOT) == []


def test_every_demand_has_a_test_that_was_seen_failing() -> None:
    table = rows((ROOT / "docs" / "evidence.md").read_text())
    assert len(table) > 20
    for demand, shown_by, seen_failing in table:
        assert NAMED.search(shown_by), demand
        assert seen_failing.startswith(("off: ", "with ")), demand


def test_a_test_that_was_renamed_or_moved_is_missed(tmp_path: Path) -> None:
    (tmp_path / "test_a.py").write_text("def test_one() -> None: ...\n")
    text = "`test_a.py::test_one` `test_a.py::test_two` `test_b.py::test_one`"
    assert missing(text, tmp_path) == ["test_a.py::test_two", "test_b.py::test_one"]
