"""Loading a bundle's workflow class and activities from an unpacked directory."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..sdk import decorators


class BundleError(Exception):
    """The bundle cannot be run. The text names what is wrong, for people."""


@dataclass(frozen=True)
class Bundle:
    """`entry` is the function marked `@runbook.run`; `activities` are by the name they are scheduled under."""

    root: Path
    workflow: type
    entry: Callable[..., Any]
    activities: dict[str, Callable[..., Any]]


def load(root: Path, slug: str) -> Bundle:
    """Import `templates.workflow` of the bundle. Exceptions of its own code pass through."""
    if not (root / "templates" / "workflow.py").is_file():
        raise BundleError("the bundle has no templates/workflow.py")
    sys.path.insert(0, str(root))
    importlib.invalidate_caches()
    module = importlib.import_module("templates.workflow")
    if (root / "templates" / "activities.py").is_file():
        importlib.import_module("templates.activities")
    cls = _workflow_class(module, class_name(slug))
    return Bundle(root, cls, _entry(cls), _activities())


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
            if getattr(value, decorators.RUN, False) is True:
                entry = value
    if entry is not None:
        return entry
    raise BundleError(f"class {cls.__name__} has no method marked with @runbook.run")


def _activities() -> dict[str, Callable[..., Any]]:
    found: dict[str, Callable[..., Any]] = {}
    for name, module in list(sys.modules.items()):
        if name == "templates" or name.startswith("templates."):
            for value in list(vars(module).values()):
                if callable(value) and hasattr(value, decorators.ACTIVITY_NAME):
                    found[decorators.activity_name(value)] = value
    return found
