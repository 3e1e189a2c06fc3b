"""What doc_lines.py names and how it wraps."""

from __future__ import annotations

from pathlib import Path

from doc_lines import long_readme, wide_lines, wrapped

WIDE = "word " * 30


def test_wide_lines_are_named() -> None:
    text = f"{WIDE}\n| {WIDE} |\n```\n{WIDE}\n```\n- <https://example.com/{'x' * 120}>\n"
    assert wide_lines(Path("a.md"), text) == ["a.md:1: 150 characters; wrap at 120"]


def test_wrapping_keeps_lists_code_and_tables() -> None:
    text = f"# Title\n\nshort\n\n- {WIDE}\n  more\n- next\n\n```\n{WIDE}\n```\n| {WIDE} |\n{WIDE}\n**Bold.** short\n"
    after = wrapped(text)
    assert wide_lines(Path("a.md"), after) == []
    assert after.split() == text.split()
    assert "\n  word" in after and "more\n- next\n" in after and "word\n**Bold.** short\n" in after
    assert wrapped(after) == after


def test_code_is_not_broken() -> None:
    text = f"{'x' * 100} `a b c d e f g h i j k l m`\n"
    assert wrapped(text) == f"{'x' * 100}\n`a b c d e f g h i j k l m`\n"


def test_a_long_readme_is_named() -> None:
    assert long_readme("x\n" * 150) == []
    assert len(long_readme("x\n" * 151)) == 1
