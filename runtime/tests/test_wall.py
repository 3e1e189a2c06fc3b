"""The wall: what may see the token and what runs the bundle's code do not import each other."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import ntro_runtime

PACKAGE = Path(ntro_runtime.__file__).parent
# What each package may import of the runtime, besides itself.
BELOW = {
    "supervisor": {"shared"},
    "engine": {"sdk", "workflow", "shared"},
    "sdk": {"workflow", "shared"},
    "workflow": {"shared"},
    "shared": set(),
}


def imported(file: Path) -> Iterator[str]:
    """Every module that a file imports, with its full name."""
    inside = ["ntro_runtime", *file.relative_to(PACKAGE).parent.parts]
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = inside[: len(inside) - node.level + 1] if node.level else []
            yield from (".".join([*base, *([node.module] if node.module else []), alias.name]) for alias in node.names)


def files(package: str) -> list[Path]:
    found = sorted((PACKAGE / package).rglob("*.py"))
    assert found, package
    return found


@pytest.mark.parametrize("package", BELOW)
def test_imports_only_fall(package: str) -> None:
    allowed = {package, *BELOW[package]}
    for file in files(package):
        for module in imported(file):
            parts = module.split(".")
            if parts[0] == "ntro_runtime" and parts[1] in BELOW:
                assert parts[1] in allowed, f"{file}: {module}"


def test_only_sdk_imports_the_published_sdk() -> None:
    others = {file for package in BELOW if package != "sdk" for file in files(package)}
    for file in others:
        assert not [module for module in imported(file) if module.split(".")[0] == "ntro"], file


def test_every_module_is_in_a_package() -> None:
    loose = {file.name for file in PACKAGE.glob("*.py")}
    assert loose == {"__init__.py", "__main__.py"}
