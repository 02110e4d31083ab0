"""YAML as people write it: read with every mistake told, keys that occur twice and endless values among them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import yaml

from conceptseg.errors import ConfigError

__all__ = ["read_yaml"]

_DEEPEST = 24
_WRONG_VALUES = (yaml.YAMLError, ValueError, TypeError, LookupError, ArithmeticError, AttributeError, RecursionError)
"""What YAML's own readers of dates, numbers and tags raise where a value is none, e.g. `2026-13-45`."""


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, which would let the last of two equal keys win, and take keys that are no words."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        """A mapping, if its keys are words and no two are the same."""
        keys = [key.value for key, _ in node.value] if isinstance(node, yaml.MappingNode) else []
        twice = sorted({str(key) for key in keys if keys.count(key) > 1})
        if twice:
            raise ConfigError(f"the key {', '.join(twice)} occurs twice")
        values = super().construct_mapping(node, deep)
        wrong = [key for key in values if not isinstance(key, str)]
        if wrong:
            raise ConfigError(f"keys must be words, got {', '.join(map(repr, wrong))}")
        return values


def read_yaml(text: str, called: str) -> object:
    """What a YAML text stands for.

    Args:
        text: the text.
        called: what messages call it.

    Raises:
        ConfigError: it is no YAML, has a value that YAML cannot make, a key that occurs twice or is no word, or a value
            that contains itself.
    """
    try:
        value = yaml.load(text, _Loader)
        _require_finite(value, (), set())
    except ConfigError as error:
        raise ConfigError(f"{called}: {error}.") from error
    except _WRONG_VALUES as error:
        raise ConfigError(f"{called} is not YAML: {str(error) or type(error).__name__}") from error
    return value


def _require_finite(value: object, above: tuple[int, ...], done: set[int]) -> None:
    """Refuse a list or mapping that holds itself (`&a [*a]`), or is nested without end."""
    if not isinstance(value, (dict, list)) or id(value) in done:
        return
    if id(value) in above or len(above) > _DEEPEST:
        raise ConfigError("a value contains itself, or is nested too deeply")
    inner: Iterable[object] = value.values() if isinstance(value, dict) else value
    for part in inner:
        _require_finite(part, (*above, id(value)), done)
    done.add(id(value))
