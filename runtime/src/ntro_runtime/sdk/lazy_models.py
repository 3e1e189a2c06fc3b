"""Keeps `import ntro.accounting` from building models that nobody uses.

The SDK needs a dozen models of `apideck_unify`, whose package imports all of its thousands: five seconds of processor time in
every segment of a run. Here the package gives each name when it is asked for, and pydantic builds each model when it is used.
Nothing else changes; without this module bundles run the same, later.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

PACKAGE = "apideck_unify"
MODELS = f"{PACKAGE}.models"


def install() -> None:
    """Takes effect for the first import of the package."""
    if PACKAGE not in sys.modules and not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


class _Finder(MetaPathFinder):
    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if fullname != PACKAGE and not fullname.startswith(f"{PACKAGE}."):
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader)
        return spec


class _Loader(Loader):
    def __init__(self, inner: Loader) -> None:
        self._inner = inner

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._inner.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        with _deferred():
            if module.__name__ == PACKAGE:
                _without_star_of_models(module, self._inner)
            else:
                self._inner.exec_module(module)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


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
