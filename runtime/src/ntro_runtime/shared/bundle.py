"""Loading a bundle's workflow class and activities from an unpacked directory."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from . import marks


class BundleError(Exception):
    """The bundle cannot be run. The text names what is wrong, for people."""


@dataclass(frozen=True)
class Bundle:
    """What a bundle offers."""

    root: Path
    slug: str
    workflow: type
    entry: Callable[..., Any]
    activities: dict[str, Callable[..., Any]]


def load(root: Path) -> Bundle:
    """Import `templates.workflow` of the bundle. Exceptions of its own code pass through."""
    slug = read_slug(root)
    if not (root / "templates" / "workflow.py").is_file():
        raise BundleError("the bundle has no templates/workflow.py")
    sys.path.insert(0, str(root))
    importlib.invalidate_caches()
    module = importlib.import_module("templates.workflow")
    if (root / "templates" / "activities.py").is_file():
        importlib.import_module("templates.activities")
    cls = _workflow_class(module, class_name(slug))
    return Bundle(root, slug, cls, _entry(cls), _activities())


def read_slug(root: Path) -> str:
    """`slug` of the frontmatter of `runbook.md`."""
    slug = _frontmatter(root).get("slug")
    if not isinstance(slug, str) or not slug:
        raise BundleError("the frontmatter of runbook.md has no slug")
    return slug


def step_ids(root: Path) -> frozenset[str]:
    """Ids of the steps that the frontmatter of `runbook.md` declares."""
    steps = _frontmatter(root).get("steps")
    ids = [step.get("id") for step in steps if isinstance(step, dict)] if isinstance(steps, list) else []
    return frozenset(it for it in ids if isinstance(it, str))


def _frontmatter(root: Path) -> dict[str, Any]:
    path = root / "runbook.md"
    if not path.is_file():
        raise BundleError("the bundle has no runbook.md")
    parts = path.read_text(encoding="utf-8").split("---\n", 2)
    try:
        front = yaml.safe_load(parts[1]) if len(parts) == 3 and not parts[0].strip() else None
    except yaml.YAMLError:
        raise BundleError("the frontmatter of runbook.md is not YAML") from None
    if not isinstance(front, dict):
        raise BundleError("runbook.md does not begin with frontmatter")
    return front


def class_name(slug: str) -> str:
    """`nav-monthly` → `NavMonthlyWorkflow`."""
    return "".join(part.capitalize() for part in slug.split("-")) + "Workflow"


def _workflow_class(module: Any, name: str) -> type:
    cls = getattr(module, name, None)
    if isinstance(cls, type):
        return cls
    raise BundleError(f"templates/workflow.py has no class {name}")


def _entry(cls: type) -> Callable[..., Any]:
    entry: Callable[..., Any] | None = getattr(cls, "run", None)
    for base in reversed(cls.__mro__):
        for value in vars(base).values():
            if getattr(value, marks.RUN, False) is True:
                entry = value
    if entry is not None:
        return entry
    raise BundleError(f"class {cls.__name__} has no method marked with @runbook.run")


def _activities() -> dict[str, Callable[..., Any]]:
    found: dict[str, Callable[..., Any]] = {}
    for name, module in list(sys.modules.items()):
        if name == "templates" or name.startswith("templates."):
            for value in list(vars(module).values()):
                if callable(value) and hasattr(value, marks.ACTIVITY_NAME):
                    found[marks.activity_name(value)] = value
    return found
