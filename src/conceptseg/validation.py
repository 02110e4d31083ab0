"""What is wrong with a configuration, in plain words: one wording for every pydantic model of the package."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from reprlib import Repr
from types import MappingProxyType
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

__all__ = ["explain_mistakes", "first_line"]

_EXPECTED = MappingProxyType(
    {
        "int_parsing": "a whole number",
        "int_type": "a whole number",
        "int_from_float": "a whole number",
        "float_parsing": "a number",
        "float_type": "a number",
        "bool_parsing": "true or false",
        "bool_type": "true or false",
        "string_type": "text",
        "path_type": "a path",
        "tuple_type": "a list",
        "model_type": "keys and values",
        "model_attributes_type": "keys and values",
        "dict_type": "keys and values",
    }
)


def explain_mistakes(error: ValidationError, root: type[BaseModel]) -> list[str]:
    """Pydantic's complaints in plain words, one a key, in the order of the keys.

    Args:
        error: what validation raised.
        root: what was validated; tells the known keys beside an unknown one.
    """
    told: dict[str, list[str]] = {}
    for entry in error.errors(include_url=False):
        place, allowed = _locate(entry["loc"], root)
        told.setdefault(place, []).append(_sentence(entry, allowed))
    return [f"{place}: {_join(reasons)}" if place else _join(reasons) for place, reasons in told.items()]


def _join(reasons: Iterable[str]) -> str:
    """Alternatives of one key (`int | None`) say the same thing more than once."""
    return "; or ".join(dict.fromkeys(reasons))


def _locate(location: tuple[int | str, ...], root: type[BaseModel]) -> tuple[str, tuple[str, ...]]:
    """The dotted key of a complaint, and the names that are known beside it."""
    model: type[BaseModel] | None = root
    keys: list[str] = []
    beside: tuple[str, ...] = ()
    for part in location:
        if isinstance(part, int):
            keys.append(str(part))
        elif model is not None:
            beside = tuple(model.model_fields)
            keys.append(part)
            model = _section_of(model, part)
        # What follows a plain field names one of its alternatives, which means nothing to people.
    return ".".join(keys), beside


def _section_of(model: type[BaseModel], field: str) -> type[BaseModel] | None:
    if field not in model.model_fields:
        return None
    annotation = model.model_fields[field].annotation
    candidates = [annotation, *get_args(annotation)]
    return next((c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)), None)


def _shown(value: object) -> str:
    """A value as it was given, cut where it is long: a file may hold anything."""
    short = Repr()
    short.maxstring = short.maxother = 120
    short.maxlevel = 3
    return short.repr(value)


def _sentence(entry: Any, allowed: Sequence[str]) -> str:
    kind, value = entry["type"], entry["input"]
    if kind == "extra_forbidden":
        near = get_close_matches(str(entry["loc"][-1]), allowed, n=1)
        return "unknown key" + (f", did you mean {near[0]!r}?" if near else f"; known are {', '.join(allowed)}")
    if kind == "missing":
        return "missing"
    if kind in _EXPECTED:
        return f"expected {_EXPECTED[kind]}, got {_shown(value)}"
    if kind == "value_error":
        return str(entry["ctx"]["error"])
    message = entry["msg"].removeprefix("Input should be ")
    return f"expected {message}, got {_shown(value)}" if message != entry["msg"] else f"{message}, got {_shown(value)}"


def first_line(error: Exception) -> str:
    """The first line of what another library's error says, or the error's kind if it says nothing."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
