"""Which part imports which, drawn from the sources; fails on an arrow that climbs and on a circle.

    imports.py [--dot]

Parts are the crates, the folders of the operator and the packages of the runtime. Each group below lists its parts from
the top floor to the bottom one: a part may import what is below it, never what is on its own floor or above.
"""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

CRATES = [
    ["ntro-operator", "ntro", "xtask", "journal-testserver"],
    ["ntro-manifests", "ntro-schedule"],
    ["ntro-crds", "ntro-bundle", "ntro-journal"],
]

OPERATOR = [
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

RUNTIME = [
    ["__main__"],
    ["supervisor", "engine"],
    ["sdk"],
    ["workflow"],
    ["shared"],
]


@dataclass(frozen=True)
class Import:
    """`importer` uses `imported`, at a place."""

    importer: str
    imported: str
    file: str
    line: int


def without_comments(text: str) -> str:
    """Rust source with comments and the contents of strings blanked, lines kept."""
    pattern = re.compile(
        r'//[^\n]*|/\*.*?\*/|r(#*)".*?"\1|"(?:\\.|[^"\\])*"|\'(?:\\.|[^\'\\])\'', re.S
    )
    return pattern.sub(lambda found: re.sub(r"[^\n]", " ", found[0]), text)


def without_tests(text: str) -> str:
    """Without the modules and functions that exist for tests only. `text` has no comments and strings."""
    while found := re.search(r"#\[cfg\(test\)\]", text):
        start = found.start()
        rest = re.compile(r"[;{]").search(text, found.end())
        if rest is None:
            end = len(text)
        elif rest[0] == ";":
            end = rest.end()
        else:
            end = closing(text, rest.start())
        text = text[:start] + re.sub(r"[^\n]", " ", text[start:end]) + text[end:]
    return text


def closing(text: str, opening: int) -> int:
    depth = 0
    for at in range(opening, len(text)):
        depth += {"{": 1, "}": -1}.get(text[at], 0)
        if depth == 0:
            return at + 1
    return len(text)


def leaves(tree: str) -> Iterator[str]:
    """The paths of a `use` tree: `a::{b, c::{d}}` gives `a::b` and `a::c::d`."""
    tree = tree.strip()
    brace = tree.find("{")
    if brace < 0:
        yield tree.split(" as ")[0].strip()
        return
    prefix, inner, depth, part = tree[:brace], tree[brace + 1 : closing(tree, brace) - 1], 0, ""
    for char in [*inner, ","]:
        depth += {"{": 1, "}": -1}.get(char, 0)
        if char == "," and depth == 0:
            if part.strip():
                yield from (prefix + leaf for leaf in leaves(part))
            part = ""
        else:
            part += char


def rust_paths(text: str) -> Iterator[tuple[str, int]]:
    """Every path that begins at the crate or at a parent, with its line."""
    uses = list(re.finditer(r"\buse\s+([^;]+);", text))
    for use in uses:
        line = text.count("\n", 0, use.start()) + 1
        for leaf in leaves(re.sub(r"\s+", " ", use[1])):
            yield leaf.replace(" ", ""), line
    for found in re.finditer(r"\b(crate|super)((?:::\w+)+)", text):
        if not any(use.start() <= found.start() < use.end() for use in uses):
            yield found[0], text.count("\n", 0, found.start()) + 1


def module_of(file: Path, src: Path) -> list[str]:
    parts = list(file.relative_to(src).with_suffix("").parts)
    if parts[-1] == "mod":
        parts.pop()
    return [] if parts == ["main"] or parts == ["lib"] else parts


def resolve(path: str, module: list[str]) -> list[str] | None:
    parts = path.split("::")
    if parts[0] == "crate":
        return parts[1:]
    if parts[0] != "super":
        return None
    at = list(module)
    while parts and parts[0] == "super":
        at = at[:-1]
        parts = parts[1:]
    return at + parts


def rust_imports(src: Path) -> Iterator[tuple[list[str], list[str], Path, int]]:
    """Module, imported path, file and line of every import inside a crate, tests left out."""
    for file in sorted(src.rglob("*.rs")):
        relative = file.relative_to(src).as_posix()
        if re.search(r"(^|/)(tests|testing|fixtures|model)(/|\.rs$)", relative):
            continue
        module = module_of(file, src)
        text = without_tests(without_comments(file.read_text()))
        for path, line in rust_paths(text):
            target = resolve(path, module)
            if target:
                yield module, target, file, line


def part_of(path: list[str], floors: list[list[str]]) -> str | None:
    """The part that a module belongs to: the longest that it begins with."""
    joined = "/".join(path)
    known = [part for floor in floors for part in floor if joined == part or joined.startswith(f"{part}/")]
    return max(known, key=len, default=None)


def operator_imports() -> Iterator[Import]:
    src = ROOT / "operator/src"
    for module, target, file, line in rust_imports(src):
        importer, imported = part_of(module or ["main"], OPERATOR), part_of(target, OPERATOR)
        # `controllers/mod.rs` only names its folders.
        if importer and imported and importer != imported:
            yield Import(importer, imported, file.relative_to(ROOT).as_posix(), line)


def unplaced_operator_modules() -> list[str]:
    src = ROOT / "operator/src"
    found = []
    for file in sorted(src.rglob("*.rs")):
        module = module_of(file, src) or ["main"]
        if module[0] not in ("testing",) and module != ["controllers"] and not part_of(module, OPERATOR):
            found.append(f"{file.relative_to(ROOT)}: has no floor; give it one in {Path(__file__).name}")
    return found


def crate_imports() -> Iterator[Import]:
    workspace = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]
    names = {tomllib.loads((ROOT / m / "Cargo.toml").read_text())["package"]["name"] for m in workspace["members"]}
    for member in workspace["members"]:
        manifest = tomllib.loads((ROOT / member / "Cargo.toml").read_text())
        for dependency in manifest.get("dependencies", {}):
            if dependency in names:
                yield Import(manifest["package"]["name"], dependency, f"{member}/Cargo.toml", 1)


def runtime_imports() -> Iterator[Import]:
    package = ROOT / "runtime/src/ntro_runtime"
    for file in sorted(package.rglob("*.py")):
        module = list(file.relative_to(package).with_suffix("").parts)
        if module[-1] == "__init__":
            module.pop()
        importer = part_of(module, RUNTIME)
        for target, line in python_imports(file, module):
            imported = part_of(target, RUNTIME)
            if importer and imported and importer != imported:
                yield Import(importer, imported, file.relative_to(ROOT).as_posix(), line)


def python_imports(file: Path, module: list[str]) -> Iterator[tuple[list[str], int]]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom):
            if node.level:
                inside = module if file.name == "__init__.py" else module[:-1]
                base = inside[: len(inside) - (node.level - 1)]
            elif node.module and node.module.split(".")[0] == "ntro_runtime":
                base = []
            else:
                continue
            named = (node.module or "").split(".") if node.module else []
            named = named[1:] if not node.level else named
            for alias in node.names:
                yield [*base, *named, alias.name], node.lineno
        elif isinstance(node, ast.Import):
            for alias in node.names:
                parts = alias.name.split(".")
                if parts[0] == "ntro_runtime":
                    yield parts[1:], node.lineno


def climbs(imports: Iterable[Import], floors: list[list[str]]) -> list[str]:
    height = {part: -n for n, floor in enumerate(floors) for part in floor}
    return [
        f"{it.file}:{it.line}: {it.importer} imports {it.imported}, which is not below it"
        for it in imports
        if height[it.importer] <= height[it.imported]
    ]


def circles(edges: dict[str, set[str]]) -> list[list[str]]:
    """The strongly connected components of more than one node (Tarjan)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in edges.get(node, ()):
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            component = []
            while True:
                component.append(stack.pop())
                if component[-1] == node:
                    break
            if len(component) > 1:
                found.append(sorted(component))

    sys.setrecursionlimit(10_000)
    for node in list(edges):
        if node not in index:
            visit(node)
    return found


def rust_file_circles(crate: str) -> list[str]:
    """Circles between files of a crate. A module and what is inside it are one idea: they do not count."""
    src = ROOT / crate / "src"
    files = {tuple(module_of(file, src)): file for file in src.rglob("*.rs")}
    edges: dict[str, set[str]] = defaultdict(set)
    for module, target, _, _ in rust_imports(src):
        at = tuple(target)
        while at and at not in files:
            at = at[:-1]
        nested = at[: len(module)] == tuple(module) or tuple(module[: len(at)]) == at
        if at and module and not nested:
            edges["/".join(module)].add("/".join(at))
    return [f"{crate}: files import each other: {', '.join(circle)}" for circle in circles(edges)]


def runtime_file_circles() -> list[str]:
    package = ROOT / "runtime/src/ntro_runtime"
    files = {}
    for file in package.rglob("*.py"):
        parts = list(file.relative_to(package).with_suffix("").parts)
        files[tuple(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    edges: dict[str, set[str]] = defaultdict(set)
    for module, file in files.items():
        for target, _ in python_imports(file, list(module)):
            at = tuple(target)
            while at and at not in files:
                at = at[:-1]
            if at and at != module:
                edges["/".join(module)].add("/".join(at))
    return [f"runtime: modules import each other: {', '.join(circle)}" for circle in circles(edges)]


def draw(name: str, floors: list[list[str]], imports: list[Import], dot: bool) -> None:
    below: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for it in imports:
        below[it.importer][it.imported] += 1
    if dot:
        print(f'digraph "{name}" {{')
        for importer, targets in sorted(below.items()):
            for imported, count in sorted(targets.items()):
                print(f'  "{importer}" -> "{imported}" [label={count}];')
        print("}")
        return
    print(f"{name}")
    for floor in floors:
        for part in floor:
            targets = ", ".join(f"{imported} {count}" for imported, count in sorted(below[part].items()))
            print(f"  {part:<24} → {targets or '-'}")


def main() -> int:
    dot = "--dot" in sys.argv
    groups = [
        ("crates", CRATES, list(crate_imports())),
        ("operator", OPERATOR, list(operator_imports())),
        ("runtime", RUNTIME, list(runtime_imports())),
    ]
    problems = unplaced_operator_modules()
    for name, floors, imports in groups:
        draw(name, floors, imports, dot)
        placed = {part for floor in floors for part in floor}
        unplaced = {it.importer for it in imports} | {it.imported for it in imports}
        problems += [f"{name}: {part} has no floor" for part in sorted(unplaced - placed)]
        problems += climbs([it for it in imports if it.importer in placed and it.imported in placed], floors)
    for crate in ("operator", "cli", "journal", "bundle", "schedule", "crds"):
        problems += rust_file_circles(crate)
    problems += runtime_file_circles()
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
