"""Values of workflow code to JSON text and back, always both ways, so that live and replayed code see equal, fresh objects.

The text is what pydantic writes: models, dataclasses, dates, decimals (as strings), enums, UUIDs. Reading back follows the annotations of
the function; without one, values stay plain JSON. Bytes travel as base64.
"""

from __future__ import annotations

import inspect
import json
import typing
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from pydantic import ConfigDict, PydanticUserError, TypeAdapter
from pydantic_core import from_json, to_json


class CodecError(Exception):
    """A value that cannot travel. The text names the place and the type, never the value."""


@dataclass(frozen=True)
class Signature:
    """What a function takes and returns, resolved once. `Any` where there is no annotation."""

    name: str
    params: tuple[Any, ...]
    required: int
    variadic: bool
    result: Any


def signature_of(function: Callable[..., Any], *, skip_self: bool = False) -> Signature:
    """Positional parameters and annotations of `function`."""
    return _signature_of(function, skip_self)


@lru_cache(maxsize=1024)
def _signature_of(function: Callable[..., Any], skip_self: bool) -> Signature:
    target = inspect.unwrap(function)
    try:
        hints = typing.get_type_hints(target, include_extras=True)
    except (NameError, TypeError):
        # An annotation that only a type checker can resolve: fall back to plain JSON.
        hints = {}
    params: list[Any] = []
    required, variadic = 0, False
    for index, parameter in enumerate(inspect.signature(target).parameters.values()):
        if index == 0 and skip_self:
            continue
        if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
            variadic = True
        elif parameter.kind in (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD):
            params.append(hints.get(parameter.name, Any))
            required += parameter.default is inspect.Parameter.empty
    return Signature(target.__name__, tuple(params), required, variadic, hints.get("return", Any))


def encode(value: Any, what: str) -> str:
    """JSON text of `value`. `what` names it in the error."""
    try:
        return to_json(value, bytes_mode="base64", inf_nan_mode="strings").decode()
    except (ValueError, TypeError) as error:
        raise CodecError(f"{what} cannot be written as JSON: {_first_line(error)}") from None


def decode(text: str, hint: Any, what: str) -> Any:
    """The value of type `hint` that `text` stands for."""
    if hint is Any or hint is None or hint is type(None) or hint is inspect.Parameter.empty:
        return from_json(text, cache_strings=False)
    try:
        return _adapter(hint).validate_json(f"[{text}]")[0]
    except PydanticUserError as error:
        raise CodecError(f"{what} has an annotation that cannot be read from JSON: {_first_line(error)}") from None
    except Exception as error:
        # A ValueError, or whatever a validator of the bundle raises.
        raise CodecError(f"{what} does not fit its annotation: {_describe(error)}") from None


def encode_args(args: tuple[Any, ...], what: str) -> str:
    """A JSON array of positional arguments."""
    return "[" + ",".join(encode(value, f"argument {i + 1} of {what}") for i, value in enumerate(args)) + "]"


def decode_args(text: str, signature: Signature, what: str) -> list[Any]:
    """Positional arguments for a function of this signature."""
    values = from_json(text)
    if not isinstance(values, list):
        raise CodecError(f"arguments of {what} are not a list")
    if len(values) > len(signature.params) and not signature.variadic:
        raise CodecError(f"{what} takes {len(signature.params)} arguments, not {len(values)}")
    if len(values) < signature.required:
        raise CodecError(f"{what} needs {signature.required} arguments, not {len(values)}")
    hints = [*signature.params, *[Any] * len(values)]
    return [
        decode(json.dumps(value), hint, f"argument {i + 1} of {what}") for i, (value, hint) in enumerate(zip(values, hints, strict=False))
    ]


def _adapter(hint: Any) -> TypeAdapter[list[Any]]:
    try:
        return _adapter_cached(hint)
    except TypeError:  # an unhashable annotation
        return _build_adapter(hint)


@lru_cache(maxsize=1024)
def _adapter_cached(hint: Any) -> TypeAdapter[list[Any]]:
    return _build_adapter(hint)


def _build_adapter(hint: Any) -> TypeAdapter[list[Any]]:
    # In a list, because a configuration cannot be given for models and dataclasses themselves.
    return TypeAdapter(list[hint], config=ConfigDict(val_json_bytes="base64", arbitrary_types_allowed=True))


def _first_line(error: BaseException) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _describe(error: Exception) -> str:
    errors = getattr(error, "errors", None)
    if not callable(errors):
        return _first_line(error)
    first = errors(include_url=False, include_input=False, include_context=False)[0]
    place = ".".join(str(part) for part in first["loc"][1:])
    return f"{place}: {first['msg']}" if place else str(first["msg"])
