"""Functions of activities as two processes call them, of which one is a fork of the other's earlier self."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterable
from typing import Any

Reference = dict[str, Any]


class ActivityTable:
    """`known` are the functions there were before the fork: their places here are the same in both processes."""

    def __init__(self, known: Iterable[Callable[..., Any]] = ()) -> None:
        self._known = list(known)
        self._places = {id(function): place for place, function in enumerate(self._known)}

    def reference(self, function: Callable[..., Any]) -> Reference | None:
        """What `resolve` finds the function by. None for one that was made later, and cannot be imported."""
        place = self._places.get(id(function))
        if place is not None:
            return {"place": place}
        module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", None)
        if not isinstance(module, str) or not isinstance(name, str) or _member(sys.modules.get(module), name) is not function:
            return None
        return {"module": module, "name": name}

    def resolve(self, reference: Reference) -> Callable[..., Any]:
        """The function."""
        if "place" in reference:
            return self._known[reference["place"]]
        function: Callable[..., Any] = _member(importlib.import_module(reference["module"]), reference["name"])
        return function


def _member(owner: Any, name: str) -> Any:
    for part in name.split("."):
        owner = getattr(owner, part, None)
    return owner
