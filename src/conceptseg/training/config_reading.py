"""From YAML files and `key.sub=value` words to a configuration, with every mistake named at once. Loads no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml
from pydantic import ValidationError

from conceptseg.errors import ConfigError
from conceptseg.files import replacing
from conceptseg.training.config import MetaGRPOConfig, Stage, TrainingConfig, WarmupConfig
from conceptseg.validation import explain_mistakes

__all__ = ["STAGES", "dump_config", "load_config", "save_config"]

STAGES: MappingProxyType[Stage, type[WarmupConfig] | type[MetaGRPOConfig]] = MappingProxyType(
    {"warmup": WarmupConfig, "meta-grpo": MetaGRPOConfig}
)
"""Stage → its configuration."""

_EXTENDS = "extends"


def load_config(stage: Stage, file: str | Path | None, overrides: Sequence[str] = ()) -> TrainingConfig:
    """Read a stage's configuration.

    A file may say `extends: OTHER.yaml` (relative to itself): it is laid over the other file, key by key.

    Args:
        stage: "warmup" or "meta-grpo"; a file that names another stage is refused.
        file: YAML; None starts from the defaults.
        overrides: words like `data.world.count=64`; the value is YAML, and `null` takes a key back to its default.

    Raises:
        ConfigError: everything that is wrong with file and overrides, in one message.
    """
    values: dict[str, Any] = {} if file is None else _read_file(Path(file), ())
    mistakes = [complaint for word in overrides if (complaint := _apply(word, values))]
    said = values.pop("stage", stage)
    if said != stage:
        mistakes.append(f"stage: this is a recipe for {said!r}, but {stage!r} was asked for")
    try:
        config = STAGES[stage].model_validate(values)
    except ValidationError as error:
        mistakes += explain_mistakes(error, STAGES[stage])
    if mistakes:
        source = "the command line" if file is None else str(file)
        counted = f"{len(mistakes)} mistake(s) in the configuration of {stage} ({source}):"
        raise ConfigError("\n".join([counted, *(f"({n}) {text}." for n, text in enumerate(mistakes, start=1))]))
    return config


def dump_config(config: TrainingConfig) -> str:
    """The resolved configuration as YAML that `load_config` reads back to the same."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=100)


def save_config(config: TrainingConfig, path: Path) -> None:
    """Write the resolved configuration, whole or not at all."""
    with replacing(path) as fresh:
        fresh.write_text(dump_config(config), encoding="utf-8")


def _read_file(path: Path, seen: tuple[Path, ...]) -> dict[str, Any]:
    if path.resolve() in seen:
        raise ConfigError(f"{path} extends itself.")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except OSError as error:
        raise ConfigError(f"Cannot read the configuration {path}: {error.strerror}.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not YAML: {error}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path} must hold keys and values, got {type(values).__name__}.")
    base = values.pop(_EXTENDS, None)
    if base is None:
        return values
    return _merge(_read_file(path.parent / str(base), (*seen, path.resolve())), values)


def _merge(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(under)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merge(merged[key], value) if both else value
    return merged


def _apply(word: str, values: dict[str, Any]) -> str | None:
    """Set one `key.sub=value` in `values`; what is wrong with it, if anything."""
    dotted, equals, text = word.partition("=")
    keys = dotted.strip().split(".")
    if not equals or not all(keys):
        return f"{word!r}: expected key.sub=value, e.g. learning_rate=1e-5"
    try:
        value = _number_or(text, yaml.safe_load(text))
    except yaml.YAMLError:
        return f"{word!r}: the value {text!r} is not YAML"
    for key in keys[:-1]:
        inner = values.get(key)
        values[key] = dict(inner) if isinstance(inner, dict) else {}
        values = values[key]
    if value is None:
        values.pop(keys[-1], None)
    else:
        values[keys[-1]] = value
    return None


def _number_or(text: str, value: object) -> object:
    """YAML takes 1e-5 for text, people do not."""
    if not isinstance(value, str):
        return value
    try:
        return float(text)
    except ValueError:
        return value
