"""The arrows that imports.py finds in small trees of its own."""

from __future__ import annotations

from pathlib import Path

import pytest
from graph import Arrow, Floors, circles, climbs
from imports import crate_arrows, inner_circles, neighbour_circles, operator_arrows, runtime_arrows
from rust_source import Crate

OPERATOR: Floors = [["main"], ["controllers/run", "controllers/workflow"], ["launch"], ["cache"]]
RUNTIME: Floors = [["sdk", "engine"], ["shared"]]
MAIN = "mod cache;\nmod controllers;\nmod launch;\n"


def tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def operator(root: Path, **bodies: str) -> Path:
    """An operator whose modules have the given bodies; `run` and `workflow` are controllers."""
    files = {f"operator/src/{name}.rs": bodies.get(name, "") for name in ("cache", "launch")}
    files |= {f"operator/src/controllers/{name}.rs": bodies.get(name, "") for name in ("run", "workflow")}
    files["operator/src/main.rs"] = MAIN + bodies.get("main", "")
    files["operator/src/controllers/mod.rs"] = "pub mod run;\npub mod workflow;\n" + bodies.get("controllers", "")
    return tree(root, files)


def problems(root: Path) -> list[str]:
    return climbs(operator_arrows(root, OPERATOR), OPERATOR)


def test_arrows_that_fall_are_fine(tmp_path: Path) -> None:
    root = operator(
        tmp_path,
        main="use controllers::run;",
        run="use crate::launch::begin;\nuse crate::cache::{self, Index};",
        launch="use super::cache;",
    )
    assert problems(root) == []


@pytest.mark.parametrize(
    "body",
    [
        "\nuse crate::launch::begin;",
        "\nuse crate::{launch::{begin, other as another}, cache::X};",
        "\nuse super::launch;",
        "\nfn f() { crate::launch::begin(); }",
        "\nfn f(it: crate::launch::Run) {}",
        "\nfn f() -> impl Sized { <u8 as crate::launch::Run>::begin() }",
        '\nfn f() { println!("{}", crate::launch::begin(1, super::launch::X)); }',
        "\nmod inner { use super::super::launch; }",
    ],
)
def test_an_arrow_that_climbs_is_named_with_file_and_line(tmp_path: Path, body: str) -> None:
    assert problems(operator(tmp_path, cache=body)) == [
        "operator/src/cache.rs:2: cache → launch, which is above it",
    ]


def test_what_a_renamed_parent_leads_to_counts(tmp_path: Path) -> None:
    root = operator(tmp_path, launch="use crate::controllers as c;\nfn f() { c::run::reconcile(); }")
    assert problems(root) == ["operator/src/launch.rs:2: launch → controllers/run, which is above it"]


def test_controllers_do_not_import_each_other(tmp_path: Path) -> None:
    root = operator(tmp_path, run="use crate::controllers::workflow::Slot;")
    assert problems(root) == [
        "operator/src/controllers/run.rs:1: controllers/run → controllers/workflow, which is beside it",
    ]


def test_a_module_without_a_floor_is_named(tmp_path: Path) -> None:
    root = operator(tmp_path, main="mod attic;\nuse attic::Box;")
    tree(root, {"operator/src/attic.rs": ""})
    [problem] = problems(root)
    assert problem == "operator/src/main.rs:5: attic is on no floor of the table in imports.py"


@pytest.mark.parametrize(
    "body",
    [
        "#[cfg(test)]\nmod tests { use crate::launch::begin; }",
        "#[cfg(test)]\nuse crate::launch::begin;",
        "#[test]\nfn f() { crate::launch::begin(); }",
        "impl X { #[cfg(test)] fn f() { crate::launch::begin(); } }",
        "// use crate::launch::begin;\n/* crate::launch::begin */",
        'const TEXT: &str = "crate::launch::begin";',
    ],
)
def test_tests_comments_and_strings_are_free(tmp_path: Path, body: str) -> None:
    assert problems(operator(tmp_path, cache=body)) == []


def test_a_file_behind_cfg_test_is_free(tmp_path: Path) -> None:
    root = operator(tmp_path, cache='#[cfg(test)]\n#[path = "elsewhere.rs"]\nmod a;\n#[cfg(test)]\nmod b;')
    climbing = "use crate::launch::begin;"
    tree(root, {"operator/src/elsewhere.rs": climbing, "operator/src/cache/b.rs": climbing})
    assert problems(root) == []
    assert len(Crate(root / "operator/src").test_files) == 2


def neighbours(root: Path) -> list[str]:
    crate = Crate(root / "operator/src")
    return neighbour_circles([(it.importer, crate.home(it.imported), it.file, it.line) for it in crate.imports()], root)


def test_files_that_import_each_other_are_a_circle(tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        {
            "operator/src/main.rs": "mod launch;",
            "operator/src/launch/mod.rs": "mod pin;\nmod burst;\npub use pin::Pin;",
            "operator/src/launch/pin.rs": "use super::burst::Burst;\npub struct Pin;",
            "operator/src/launch/burst.rs": "\nuse super::Pin;\npub struct Burst;",
        },
    )
    # Also where one of the two arrows goes through what their folder re-exports.
    assert neighbours(root) == [
        "circle: launch/burst → launch/pin (operator/src/launch/burst.rs:2), launch/pin → launch/burst (operator/src/launch/pin.rs:1)",
    ]


def test_a_module_and_what_is_inside_it_are_one_idea(tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        {
            "operator/src/main.rs": "mod launch;",
            "operator/src/launch/mod.rs": "mod pin;\nuse pin::Pin;\npub struct Launch;",
            "operator/src/launch/pin.rs": "use super::Launch;\npub struct Pin;",
        },
    )
    assert neighbours(root) == []


def test_a_function_with_the_name_of_a_module_is_no_arrow_to_it(tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        {
            "operator/src/main.rs": "mod run;",
            "operator/src/run/mod.rs": "mod get;\nmod next;\nfn get() {}",
            "operator/src/run/get.rs": "use super::next;\nfn f() { next::g() }",
            "operator/src/run/next.rs": "use super::get;\nfn g() { get() }",
        },
    )
    assert neighbours(root) == []


def test_a_longer_circle_is_shown_from_arrow_to_arrow() -> None:
    ring = [Arrow("a", "b", "a.rs", 1), Arrow("b", "c", "b.rs", 2), Arrow("c", "a", "c.rs", 3), Arrow("c", "d", "c.rs", 4)]
    assert circles(ring) == ["circle: a → b (a.rs:1), b → c (b.rs:2), c → a (c.rs:3)"]
    assert circles(ring[1:]) == []


def test_crates_are_read_from_manifests_and_from_code(tmp_path: Path) -> None:
    manifest = '[package]\nname = "{0}"\n[dependencies]\n{1}\n[dev-dependencies]\n{2}\n'
    root = tree(
        tmp_path,
        {
            "Cargo.toml": '[workspace]\nmembers = ["low", "high"]\n',
            "low/Cargo.toml": manifest.format("ntro-low", 'ntro-high = "1"', ""),
            "low/src/lib.rs": "fn f() { ntro_high::g() }",
            "high/Cargo.toml": manifest.format("ntro-high", "", 'ntro-low = "1"'),
            "high/src/lib.rs": "#[cfg(test)] mod tests { use ntro_low::f; }",
        },
    )
    assert climbs(crate_arrows(root), [["ntro-high"], ["ntro-low"]]) == [
        "low/Cargo.toml:4: ntro-low → ntro-high, which is above it",
        "low/src/lib.rs:1: ntro-low → ntro-high, which is above it",
    ]
    assert inner_circles(root) == []


@pytest.mark.parametrize(
    "statement",
    ["from ..sdk import context", "from ntro_runtime.sdk.context import info", "import ntro_runtime.sdk"],
)
def test_nothing_imports_what_is_beside_it(tmp_path: Path, statement: str) -> None:
    package = "runtime/src/ntro_runtime"
    root = tree(
        tmp_path,
        {
            f"{package}/__init__.py": "",
            f"{package}/shared/__init__.py": "",
            f"{package}/shared/errors.py": "",
            f"{package}/sdk/__init__.py": "",
            f"{package}/sdk/context.py": "from ..shared import errors",
            f"{package}/engine/__init__.py": "",
            f"{package}/engine/child.py": f"def main():\n    {statement}",
        },
    )
    assert climbs(runtime_arrows(root, RUNTIME), RUNTIME) == [
        f"{package}/engine/child.py:2: engine → sdk, which is beside it",
    ]
