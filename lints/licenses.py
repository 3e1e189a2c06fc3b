"""Checks every crate that is compiled in against deny.toml: its licence, its name, where it comes from.

    licenses.py [ROOT]

deny.toml has the format of cargo-deny, which may be run as well; it reads more (advisories, duplicates) and takes many
minutes to build, so what must hold at every change is read here.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent

Package = dict[str, Any]


def main() -> int:
    root = Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else ROOT
    rules = tomllib.loads((root / "deny.toml").read_text())
    problems = check(rules, packages(root, rules["graph"]["targets"]))
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
    return 1 if problems else 0


def packages(root: Path, targets: list[str]) -> list[Package]:
    command = ["cargo", "metadata", "--format-version", "1", "--locked"]
    for target in targets:
        command += ["--filter-platform", target]
    answer = subprocess.run(command, cwd=root, check=True, stdout=subprocess.PIPE, text=True).stdout
    found: list[Package] = json.loads(answer)["packages"]
    return found


def check(rules: dict[str, Any], found: list[Package]) -> list[str]:
    allowed = set(rules["licenses"]["allow"])
    exceptions = {it["crate"]: set(it["allow"]) for it in rules["licenses"]["exceptions"]}
    banned = {it["crate"]: it["reason"] for it in rules["bans"]["deny"]}
    registries = {f"registry+{it}" for it in rules["sources"]["allow-registry"]}
    problems = []
    for package in found:
        name = f"{package['name']} {package['version']}"
        licence = package["license"]
        if not licence:
            problems.append(f"{name}: states no licence")
        elif not satisfied(licence, allowed | exceptions.get(package["name"], set())):
            problems.append(f"{name}: licence {licence} is not in deny.toml")
        if package["name"] in banned:
            problems.append(f"{name}: banned: {banned[package['name']]}")
        # A crate of the workspace has no source.
        if package["source"] is not None and package["source"] not in registries:
            problems.append(f"{name}: comes from {package['source']}")
    unused = exceptions.keys() - {package["name"] for package in found}
    problems += [f"deny.toml: the exception for {name} is for no crate that is compiled in" for name in sorted(unused)]
    return sorted(problems)


def satisfied(expression: str, allowed: set[str]) -> bool:
    """Whether an SPDX expression can be met with these licences. `/` is how old crates write OR."""
    tokens = re.findall(r"[()]|[^\s()]+", expression.replace("/", " OR "))
    value, rest = _any_of(tokens, allowed)
    if rest:
        raise ValueError(f"licence {expression!r} cannot be read")
    return value


def _any_of(tokens: list[str], allowed: set[str]) -> tuple[bool, list[str]]:
    value, rest = _all_of(tokens, allowed)
    while rest[:1] == ["OR"]:
        other, rest = _all_of(rest[1:], allowed)
        value = value or other
    return value, rest


def _all_of(tokens: list[str], allowed: set[str]) -> tuple[bool, list[str]]:
    value, rest = _one(tokens, allowed)
    while rest[:1] == ["AND"]:
        other, rest = _one(rest[1:], allowed)
        value = value and other
    return value, rest


def _one(tokens: list[str], allowed: set[str]) -> tuple[bool, list[str]]:
    if tokens[:1] == ["("]:
        value, rest = _any_of(tokens[1:], allowed)
        return value, rest[1:]
    if tokens[1:2] == ["WITH"]:
        return " ".join(tokens[:3]) in allowed, tokens[3:]
    return tokens[0] in allowed, tokens[1:]


if __name__ == "__main__":
    sys.exit(main())
