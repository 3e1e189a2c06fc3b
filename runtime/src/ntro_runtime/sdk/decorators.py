"""The marks that the SDK's decorators leave on classes and functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

WORKFLOW = "__ntro_workflow__"
RUN = "__ntro_run__"
SIGNAL = "__ntro_signal__"
QUERY = "__ntro_query__"
ACTIVITY_NAME = "__ntro_activity_name__"
# What `NtroWorkflow.run_step` looks for to tell an activity from a method.
SDK_ACTIVITY = "__ntro_activity_defn"
MARKED_ACTIVITIES: list[Callable[..., Any]] = []
"""In the order in which they were made."""


def mark(args: tuple[Any, ...], kwargs: dict[str, Any], attribute: str, also: str | None = None) -> Any:
    """Body of a decorator that is used bare or with `name=`."""
    unknown = set(kwargs) - {"name"}
    if unknown:
        raise TypeError(f"unknown option: {', '.join(sorted(unknown))}")

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        setattr(function, attribute, kwargs.get("name") or function.__name__)
        if also is not None:
            setattr(function, also, True)
            MARKED_ACTIVITIES.append(function)
        return function

    if args and callable(args[0]):
        return decorate(args[0])
    return decorate


def activity_name(function: Any) -> str:
    """The name of an activity: from a mark, else its own."""
    name = getattr(function, ACTIVITY_NAME, None)
    if name is None:
        definition = getattr(function, "__temporal_activity_definition", None)
        name = getattr(definition, "name", None)
    return str(name or function.__name__)


def marked(cls: type, attribute: str) -> dict[str, Callable[..., Any]]:
    """Methods of a class with this mark, by the name in it; overriding methods win."""
    found: dict[str, Callable[..., Any]] = {}
    for base in reversed(cls.__mro__):
        for value in vars(base).values():
            name = getattr(value, attribute, None)
            if isinstance(name, str) and callable(value):
                found[name] = value
    return found
