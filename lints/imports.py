"""Which part imports which, drawn from the sources; fails on an arrow that climbs and on a circle.

    imports.py [--dot] [ROOT]

Parts are the crates, the folders of the operator and the packages of the runtime. Each table below lists its parts from
the top floor to the bottom one: a part may import what is below it, never what is on its own floor or above. Besides,
no two neighbours inside a crate or a package (files, folders) may lead back to each other. Code for tests is free.
"""

from __future__ import annotations

import argparse
import ast
import sys
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from graph import Arrow, Floors, circles, climbs, part_of
from rust_source import Crate

ROOT = Path(__file__).resolve().parent.parent

CRATES: Floors = [
    ["ntro-operator", "ntro-runner", "ntro", "xtask", "journal-testserver"],
    ["ntro-manifests", "ntro-schedule"],
    ["ntro-crds", "ntro-bundle", "ntro-journal"],
]

OPERATOR: Floors = [
    ["main"],
    ["app"],
    ["controllers/start"],
    ["controllers/run", "controllers/runbook", "controllers/tenant", "controllers/workflow"],
    ["controllers/driver", "api"],
    ["health"],
    ["launch"],
    ["context"],
    ["cache"],
    ["bundles", "queue", "tls"],
    ["k8s"],
    ["metrics", "telemetry"],
    ["args", "clock", "error"],
]

RUNTIME: Floors = [
    ["engine"],
    ["sdk"],
    ["workflow"],
    ["shared"],
]

PACKAGE = "ntro_runtime"


def main() -> int:
    parser = argparse.ArgumentParser(description="Draw who imports whom; fail on an arrow that climbs or a circle.")
    parser.add_argument("--dot", action="store_true", help="print graphs for Graphviz")
    parser.add_argument("root", nargs="?", type=Path, default=ROOT, help="checkout to read")
    options = parser.parse_args()
    root = options.root.resolve()
    problems = []
    for name, floors, arrows in [
        ("crates", CRATES, list(crate_arrows(root))),
        ("operator", OPERATOR, list(operator_arrows(root, OPERATOR))),
        ("runtime", RUNTIME, list(runtime_arrows(root, RUNTIME))),
    ]:
        print(dot(name, floors, arrows) if options.dot else text(name, floors, arrows))
        problems += climbs(arrows, floors)
    problems += inner_circles(root)
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
    return 1 if problems else 0


@cache
def read_crate(folder: Path) -> Crate:
    return Crate(folder / "src")


def members(root: Path) -> dict[str, Path]:
    """The crates of the workspace by name."""
    workspace = tomllib.loads((root / "Cargo.toml").read_text())["workspace"]
    manifests = [root / member / "Cargo.toml" for member in workspace["members"]]
    return {tomllib.loads(it.read_text())["package"]["name"]: it.parent for it in manifests}


def crate_arrows(root: Path) -> Iterator[Arrow]:
    """What Cargo.toml lets a crate use and what its code names; dependencies of tests alone are left out."""
    crates = members(root)
    in_code = {name.replace("-", "_"): name for name in crates}
    for name, folder in crates.items():
        manifest = folder / "Cargo.toml"
        declared = tomllib.loads(manifest.read_text())
        for dependency in [*declared.get("dependencies", {}), *declared.get("build-dependencies", {})]:
            if dependency in crates:
                yield Arrow(name, dependency, _relative(manifest, root), _line(manifest, dependency))
        for named, file, line in read_crate(folder).external(set(in_code)):
            if in_code[named] != name:
                yield Arrow(name, in_code[named], _relative(file, root), line)


def operator_arrows(root: Path, floors: Floors) -> Iterator[Arrow]:
    for it in read_crate(root / "operator").imports():
        importer, imported = _part(it.importer, floors), _part(it.imported, floors)
        if importer and imported and importer != imported:
            yield Arrow(importer, imported, _relative(it.file, root), it.line)


def _part(path: tuple[str, ...], floors: Floors) -> str | None:
    """None for a folder that only holds parts. A module without a floor is its own part, so that the check names it."""
    joined = "/".join(path) or "main"
    if part := part_of(joined.split("/"), floors):
        return part
    return None if any(it.startswith(f"{joined}/") for floor in floors for it in floor) else path[0]


def runtime_arrows(root: Path, floors: Floors) -> Iterator[Arrow]:
    package = root / "runtime/src" / PACKAGE
    modules = _python_modules(package)
    for module, target, file, line in python_imports(package):
        importer, imported = (_python_part(it, floors) for it in (module, _python_home(target, modules)))
        if importer and imported and importer != imported:
            yield Arrow(importer, imported, _relative(file, root), line)


def _python_part(path: tuple[str, ...], floors: Floors) -> str | None:
    """None for the package itself, which holds the version and no code."""
    return _part(path, floors) if path else None


Place = tuple[tuple[str, ...], tuple[str, ...], Path, int]


def python_imports(package: Path) -> Iterator[Place]:
    """Importing module, imported path, file and line, for imports inside the package."""
    for file in sorted(package.rglob("*.py")):
        folder = file.relative_to(package).parent.parts
        module = folder if file.name == "__init__.py" else (*folder, file.stem)
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import | ast.ImportFrom):
                for target in filter(None, _targets(node, folder, package.name)):
                    yield module, target, file, node.lineno


def _targets(node: ast.Import | ast.ImportFrom, folder: tuple[str, ...], package: str) -> Iterator[tuple[str, ...]]:
    if isinstance(node, ast.Import):
        for alias in node.names:
            parts = alias.name.split(".")
            if parts[0] == package:
                yield tuple(parts[1:])
    else:
        named = tuple(node.module.split(".")) if node.module else ()
        if node.level:
            base = folder[: len(folder) - node.level + 1]
        elif named[:1] == (package,):
            base, named = (), named[1:]
        else:
            return
        yield from ((*base, *named, alias.name) for alias in node.names)


def inner_circles(root: Path) -> list[str]:
    """Circles between neighbours, at every level of every crate and of the runtime."""
    problems = []
    for name, folder in members(root).items():
        crate = read_crate(folder)
        places = [(it.importer, crate.home(it.imported), it.file, it.line) for it in crate.imports()]
        problems += [f"{name}: {problem}" for problem in neighbour_circles(places, root)]
    package = root / "runtime/src" / PACKAGE
    modules = _python_modules(package)
    places = [(m, _python_home(t, modules), file, line) for m, t, file, line in python_imports(package)]
    problems += [f"runtime: {problem}" for problem in neighbour_circles(places, root)]
    return problems


def neighbour_circles(places: list[Place], root: Path) -> list[str]:
    """A module and what is inside it may use each other: they are one idea. What is beside it may not."""
    levels: dict[tuple[str, ...], list[Arrow]] = defaultdict(list)
    for importer, imported, file, line in places:
        common = 0
        while common < min(len(importer), len(imported)) and importer[common] == imported[common]:
            common += 1
        if common < len(importer) and common < len(imported):
            here, there = "/".join(importer[: common + 1]), "/".join(imported[: common + 1])
            levels[importer[:common]].append(Arrow(here, there, _relative(file, root), line))
    return [problem for _, arrows in sorted(levels.items()) for problem in circles(arrows)]


def _python_modules(package: Path) -> set[tuple[str, ...]]:
    files = [file.relative_to(package) for file in package.rglob("*.py")]
    return {it.parent.parts if it.name == "__init__.py" else (*it.parent.parts, it.stem) for it in files}


def _python_home(target: tuple[str, ...], modules: set[tuple[str, ...]]) -> tuple[str, ...]:
    while target and target not in modules:
        target = target[:-1]
    return target


def text(name: str, floors: Floors, arrows: list[Arrow]) -> str:
    """Floor by floor, what each part imports and at how many places."""
    counts = _counts(arrows)
    lines = [name]
    for floor in floors:
        for part in floor:
            targets = ", ".join(f"{imported} {count}" for imported, count in sorted(counts[part].items()))
            lines.append(f"  {part:<24} → {targets or '-'}")
        lines.append("  " + "─" * 24)
    return "\n".join(lines[:-1])


def dot(name: str, floors: Floors, arrows: list[Arrow]) -> str:
    lines = [f'digraph "{name}" {{', "  node [shape=box];"]
    for floor in floors:
        lines.append("  { rank=same; " + " ".join(f'"{part}";' for part in floor) + " }")
    for importer, targets in sorted(_counts(arrows).items()):
        lines += [f'  "{importer}" -> "{imported}" [label={count}];' for imported, count in sorted(targets.items())]
    return "\n".join([*lines, "}"])


def _counts(arrows: list[Arrow]) -> dict[str, dict[str, int]]:
    counts: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for it in arrows:
        counts[it.importer][it.imported] += 1
    return counts


def _relative(file: Path, root: Path) -> str:
    return file.relative_to(root).as_posix()


def _line(file: Path, word: str) -> int:
    lines = file.read_text().splitlines()
    return next((n for n, line in enumerate(lines, 1) if line.startswith(word)), 1)


if __name__ == "__main__":
    sys.exit(main())
