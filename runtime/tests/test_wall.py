"""What the runtime's packages may know of each other, of the pod and of the SDK, read from the sources."""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Iterator
from pathlib import Path

import pytest

from journal_server import RUNTIME
from ntro_runtime.workflow.entries import COMMANDS

SOURCE = RUNTIME / "src" / "ntro_runtime"
FILES = sorted(SOURCE.rglob("*.py"))
MAY_IMPORT = {
    "engine": {"sdk", "workflow", "shared"},
    "sdk": {"workflow", "shared"},
    "workflow": {"shared"},
    "shared": set(),
}
# The shim is ours and holds no state: exceptions and RetryPolicy. pydantic writes and reads JSON.
WORKFLOW_LIBRARIES = {"pydantic", "pydantic_core", "temporalio"}


def tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text())


def package(file: Path) -> str:
    """The runtime's package that a file is in, or the name of a file at the top."""
    return file.relative_to(SOURCE).parts[0].removesuffix(".py")


def imports(file: Path) -> Iterator[str]:
    """Absolute names of the modules a file imports, wherever in it."""
    inside = ["ntro_runtime", *file.relative_to(SOURCE).parts[:-1]]
    for node in ast.walk(tree(file)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = inside[: len(inside) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{module}.{alias.name}" for alias in node.names)


def test_every_file_is_in_a_package_with_a_rule() -> None:
    assert {package(file) for file in FILES} - {"__init__"} == set(MAY_IMPORT)


@pytest.mark.parametrize("name", MAY_IMPORT)
def test_packages_import_only_what_is_below_them(name: str) -> None:
    found = {
        f"{file.relative_to(SOURCE)}: {module}"
        for file in FILES
        if package(file) == name
        for module in imports(file)
        if module.startswith("ntro_runtime.") and module.split(".")[1] not in {*MAY_IMPORT[name], name, "__version__"}
    }
    assert not found


def test_nothing_here_knows_the_pods_token_or_speaks_with_the_operator() -> None:
    found = {
        f"{file.relative_to(SOURCE)}: {module}"
        for file in FILES
        for module in imports(file)
        if module.split(".")[0] in {"http", "urllib", "ssl", "httpx", "requests"}
    }
    words = ("NTRO_TOKEN", "NTRO_API", "serviceaccount", "Bearer")
    found |= {f"{file.relative_to(SOURCE)}: {word}" for file in FILES for word in words if word in file.read_text()}
    assert not found


def test_the_workflow_package_does_no_input_or_output_through_libraries() -> None:
    import sys

    roots = {module.split(".")[0] for file in FILES if package(file) == "workflow" for module in imports(file)}
    assert roots - {"ntro_runtime", *sys.stdlib_module_names} == WORKFLOW_LIBRARIES


def private_names_of_the_sdk() -> set[str]:
    """What `NtroWorkflow` keeps in `self._…`, read from the installed SDK without importing it."""
    spec = importlib.util.find_spec("ntro")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    base = tree(Path(spec.submodule_search_locations[0]) / "workflow" / "_base.py")
    owners = [node for node in ast.walk(base) if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)]
    return {node.attr for node in owners if node.value.id == "self" and node.attr.startswith("_")}  # type: ignore[attr-defined]


def test_only_the_sdk_package_knows_the_sdk() -> None:
    private = private_names_of_the_sdk()
    assert {"_pending_action", "_received_user_action", "_current_step_id"} <= private
    found = []
    for file in FILES:
        if package(file) == "sdk":
            continue
        found += [f"{file.relative_to(SOURCE)}: import {name}" for name in imports(file) if name.split(".")[0] == "ntro"]
        for node in ast.walk(tree(file)):
            if isinstance(node, ast.Attribute) and not (isinstance(node.value, ast.Name) and node.value.id == "self"):
                used = node.attr
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                used = node.value
            else:
                continue
            if used in private or used.startswith(("ntro.workflow.", "ntro.capabilities.", "__ntro_")):
                found.append(f"{file.relative_to(SOURCE)}:{node.lineno}: {used}")
    assert not found


def test_every_command_that_is_given_is_one_of_the_protocol() -> None:
    given = {
        node.args[0].value
        for file in FILES
        for node in ast.walk(tree(file))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "emit" and node.args
        if isinstance(node.args[0], ast.Constant)
    }
    assert given == set(COMMANDS)


def test_no_class_is_longer_than_a_reader_can_hold() -> None:
    long = {
        f"{file.relative_to(SOURCE)}: {node.name}"
        for file in FILES
        for node in ast.walk(tree(file))
        if isinstance(node, ast.ClassDef) and (node.end_lineno or 0) - node.lineno >= 200
    }
    assert not long
