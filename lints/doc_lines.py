"""Docs that can be read in an editor: lines of at most 120 characters, a README of at most 150 lines.

    doc_lines.py [--fix] [ROOT]

Rows of tables are exempt, because Markdown cannot wrap them; so are lines that are one link or one URL, and blocks of
code, which show what a command prints or takes. Runbooks under `examples` and `tests` are read by a program and count
as code. `--fix` wraps the paragraphs and list items that have a line too wide.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WIDTH = 120
README_LINES = 150
LIST_ITEM = re.compile(r"\s*([-*+]|\d+[.)]) +")
# A paragraph that begins with words in bold is one of its own, though no empty line stands before it.
BLOCK_START = re.compile(rf"{LIST_ITEM.pattern}|\*\*|>")


def main() -> int:
    parser = argparse.ArgumentParser(description="Check the width of docs and the length of the README.")
    parser.add_argument("--fix", action="store_true", help="wrap what is too wide")
    parser.add_argument("root", nargs="?", type=Path, default=ROOT, help="checkout to read")
    options = parser.parse_args()
    root = options.root.resolve()
    problems = []
    for file in pages(root):
        if options.fix:
            file.write_text(wrapped(file.read_text()))
        problems += wide_lines(file.relative_to(root), file.read_text())
    problems += long_readme((root / "README.md").read_text())
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
    return 1 if problems else 0


def pages(root: Path) -> list[Path]:
    """What is in the repository or about to be, not what a build or a virtual environment left."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"]
    names = subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout.splitlines()
    return [root / name for name in names if Path(name).name != "runbook.md" and (root / name).exists()]


def wide_lines(name: Path, text: str) -> list[str]:
    problems, in_code = [], False
    for number, line in enumerate(text.splitlines(), 1):
        if re.match(r"\s*(```|~~~)", line):
            in_code = not in_code
        elif len(line) > WIDTH and not in_code and not exempt(line):
            problems.append(f"{name}:{number}: {len(line)} characters; wrap at {WIDTH}")
    return problems


def wrapped(text: str) -> str:
    """Each paragraph and list item with a line too wide, wrapped; everything else as it is."""
    lines: list[str] = []
    block: list[str] = []
    in_code = False
    for line in [*text.splitlines(), ""]:
        fence = bool(re.match(r"\s*(```|~~~)", line))
        literal = in_code or fence or not line.strip() or re.match(r"[|#<]", line)
        if block and (literal or BLOCK_START.match(line)):
            lines += wrapped_block(block)
            block = []
        if literal:
            lines.append(line)
        else:
            block.append(line)
        in_code ^= fence
    return "\n".join(lines[:-1]) + "\n"


def wrapped_block(block: list[str]) -> list[str]:
    if all(len(line) <= WIDTH for line in block):
        return block
    start = LIST_ITEM.match(block[0])
    first = start[0] if start else re.match(r"\s*", block[0])[0]  # type: ignore[index]
    rest = " " * len(first)
    lines, at = [], first
    for word in words(" ".join(line.strip() for line in block)[len(first.lstrip()) :]):
        if at.strip() and at != first and len(at) + 1 + len(word) > WIDTH and not BLOCK_START.match(word + " "):
            lines.append(at.rstrip())
            at = rest
        at += word if at in (first, rest) else f" {word}"
    return [*lines, at]


def words(text: str) -> list[str]:
    """Split at spaces, but not inside `code` that fits on a line."""
    found: list[str] = re.findall(r"(?:`[^`]*`|[^\s`])+|`", text)
    return [part for word in found for part in ([word] if len(word) < WIDTH - 20 else word.split())]


def exempt(line: str) -> bool:
    return line.startswith("|") or re.fullmatch(r"\s*([-*] )?(\[[^\]]*\]\(\S+\)|<?https?://\S+)\W*", line) is not None


def long_readme(text: str) -> list[str]:
    lines = len(text.splitlines())
    return [f"README.md: {lines} lines; move what is longer than {README_LINES} to docs/"] if lines > README_LINES else []


if __name__ == "__main__":
    sys.exit(main())
