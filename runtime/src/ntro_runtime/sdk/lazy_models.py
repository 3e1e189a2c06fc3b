"""Keeps `import ntro.accounting` from building models that nobody uses.

The SDK needs a dozen models of `apideck_unify`, whose package imports all of its thousands: five seconds of processor time in
every segment of a run. Here the package gives each name when it is asked for, and pydantic builds each model when it is used.
Nothing else changes; without this module bundles run the same, later.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.abc import Loader
from types import ModuleType
from typing import Any

from .imports import execute_by

PACKAGE = "apideck_unify"
MODELS = f"{PACKAGE}.models"


def install() -> None:
    """Takes effect for the first import of the package."""
    if PACKAGE not in sys.modules:
        execute_by(_execute, PACKAGE, f"{PACKAGE}.")
    execute_by(_execute, "ntro.types.", "ntro.workspace.")


def _execute(module: ModuleType, loader: Loader) -> None:
    with _deferred():
        if module.__name__ == PACKAGE:
            _without_star_of_models(module, loader)
        else:
            loader.exec_module(module)


@contextmanager
def _deferred() -> Iterator[None]:
    """Models made meanwhile are built at their first use: `defer_build` of pydantic."""
    import pydantic

    config = pydantic.BaseModel.model_config
    before = config.get("defer_build")
    config["defer_build"] = True
    try:
        yield
    finally:
        if before is None:
            config.pop("defer_build", None)
        else:
            config["defer_build"] = before


def _without_star_of_models(package: ModuleType, loader: Loader) -> None:
    """Executes the package with nothing for `from .models import *` to find; its names are looked up when asked for."""
    sys.modules[PACKAGE] = package
    models: Any = importlib.import_module(MODELS)
    names: list[str] = models.__all__
    models.__all__ = []
    try:
        loader.exec_module(package)
    finally:
        models.__all__ = names

    def lookup(name: str) -> Any:
        if name in names:
            return getattr(models, name)
        if name == "__all__":
            return sorted({*names, *(known for known in vars(package) if not known.startswith("_"))})
        raise AttributeError(f"module {PACKAGE!r} has no attribute {name!r}")

    package.__getattr__ = lookup  # type: ignore[method-assign]
