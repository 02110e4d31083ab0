"""The recipes inside the package: found by name, listed, and read with what they extend. Loads no torch.

Most are a file of `conceptseg/recipes/`; the paper's ablations, which differ from those in a line or two, are the rows
of one table there and are called `ablations/NAME`.
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from conceptseg.errors import ConfigError
from conceptseg.training.yaml_text import read_yaml

__all__ = ["ablation_changes", "describe_recipes", "read_recipe", "recipe_names"]

_EXTENDS = "extends"
_TABLE = "ablations"


def recipe_names() -> tuple[str, ...]:
    """The names that `--config` takes: the files' first, then the ablations'."""
    own = sorted(path.name.removesuffix(".yaml") for path in _folder().iterdir() if path.name.endswith(".yaml"))
    return (*(name for name in own if name != _TABLE), *(f"{_TABLE}/{name}" for name in _ablations()))


def describe_recipes() -> str:
    """All names with their stage, a line each; the ablations in one paragraph."""
    plain = [name for name in recipe_names() if "/" not in name]
    width = max(map(len, plain))
    lines = [f"  {name:{width}}  {_values_of(name).get('stage', '')}: {_headline(name)}" for name in plain]
    return "\n".join([*lines, f"  {_TABLE}/NAME, NAME one of {', '.join(_ablations())}"])


def ablation_changes(name: str) -> Mapping[str, Any]:
    """What a row of the ablations' table says: the recipe it `extends`, and what differs.

    Raises:
        ConfigError: there is no such row.
    """
    if name not in _ablations():
        raise ConfigError(f"There is no ablation {name!r}. Known: {', '.join(_ablations())}.")
    return _ablations()[name]


def read_recipe(source: str | Path, said_by: tuple[str, ...] = ()) -> dict[str, Any]:
    """A recipe's values, laid over those of the recipe that it `extends`.

    Args:
        source: a name of `recipe_names`, or a YAML file. A name goes before a file of the same name in the working
            directory: `./NAME` is the file.
        said_by: what extends it, from the outermost on; a recipe among them extends itself.

    Raises:
        ConfigError: there is neither such a recipe nor such a file, or it is none.
    """
    name = str(source)
    if name in recipe_names():
        place, values = name, dict(_values_of(name))
    else:
        path = Path(source)
        place, values = str(path.absolute()), _read_file(path)
    if place in said_by:
        raise ConfigError(f"{source} extends itself.")
    base = values.pop(_EXTENDS, None)
    if base is None:
        return values
    under = str(base) if str(base) in recipe_names() else Path(source).parent / str(base)
    return _merged(read_recipe(under, (*said_by, place)), values)


def _folder() -> Traversable:
    return files("conceptseg") / "recipes"


def _ablations() -> dict[str, dict[str, Any]]:
    text = (_folder() / f"{_TABLE}.yaml").read_text(encoding="utf-8")
    table: Any = read_yaml(text, _TABLE)
    return table


def _values_of(name: str) -> dict[str, Any]:
    """A shipped recipe as it stands."""
    table, _, row = name.rpartition("/")
    if table:
        return {"out": f"runs/{name}"} | _ablations()[row]
    values: Any = read_yaml((_folder() / f"{name}.yaml").read_text(encoding="utf-8"), name)
    return values


def _headline(name: str) -> str:
    """The first line of a recipe's comment."""
    first = (_folder() / f"{name}.yaml").read_text(encoding="utf-8").splitlines()[0]
    return first.lstrip("# ")


def _read_file(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        plain = [name for name in recipe_names() if "/" not in name]
        near = get_close_matches(str(path), recipe_names(), n=1)
        raise ConfigError(
            f"Cannot read the configuration {str(path)!r} ({reason}), and the package has no recipe of that name"
            f"{f', did you mean {near[0]!r}?' if near else '.'} Known: {', '.join(plain)}, {_TABLE}/NAME "
            "(`conceptseg train --list` has all)."
        ) from error
    values = read_yaml(text, str(path)) or {}
    if not isinstance(values, dict):
        raise ConfigError(f"{path} must hold keys and values, got {type(values).__name__}.")
    return values


def _merged(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(under)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merged(merged[key], value) if both else value
    return merged
