"""Imports of libraries as this process wants them: a start is mostly imports, so what nobody asks for is not executed."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

Execute = Callable[[ModuleType, Loader], None]
"""Executes a module, by its loader or otherwise."""


def execute_by(execute: Execute, *names: str) -> None:
    """Modules of these names are executed by `execute`. A name that ends with a dot stands for all that begin with it."""
    sys.meta_path.insert(0, _Finder(execute, names))


def after_import(name: str, change: Callable[[Any], None]) -> None:
    """Change a module as soon as it is there."""

    def execute(module: ModuleType, loader: Loader) -> None:
        loader.exec_module(module)
        change(module)

    if name in sys.modules:
        change(sys.modules[name])
    else:
        execute_by(execute, name)


def when_asked(package: ModuleType, loader: Loader) -> None:
    """Execute a package only when somebody asks for a name in it. Its modules can be imported without."""

    def lookup(name: str) -> Any:
        del package.__getattr__
        loader.exec_module(package)
        return getattr(package, name)

    package.__getattr__ = lookup  # type: ignore[method-assign]


class _Finder(MetaPathFinder):
    def __init__(self, execute: Execute, names: Sequence[str]) -> None:
        self._execute = execute
        self._names = frozenset(name for name in names if not name.endswith("."))
        self._prefixes = tuple(name for name in names if name.endswith("."))

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if fullname not in self._names and not fullname.startswith(self._prefixes):
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(self._execute, spec.loader)
        return spec


class _Loader(Loader):
    def __init__(self, execute: Execute, inner: Loader) -> None:
        self._execute = execute
        self._inner = inner

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._inner.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self._execute(module, self._inner)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)
