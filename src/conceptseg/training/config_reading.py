"""From YAML files and `key.sub=value` words to a configuration, with every mistake named at once. Loads no torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml
from pydantic import ValidationError

from conceptseg.errors import ConfigError
from conceptseg.files import replacing
from conceptseg.training.config import MetaGRPOConfig, Stage, TrainingConfig, WarmupConfig
from conceptseg.training.recipes import read_recipe
from conceptseg.training.yaml_text import read_yaml
from conceptseg.validation import explain_mistakes

__all__ = ["STAGES", "dump_config", "load_config", "save_config"]

STAGES: MappingProxyType[Stage, type[WarmupConfig] | type[MetaGRPOConfig]] = MappingProxyType(
    {"warmup": WarmupConfig, "meta-grpo": MetaGRPOConfig}
)
"""Stage → its configuration."""


def load_config(stage: Stage, file: str | Path | None, overrides: Sequence[str] = ()) -> TrainingConfig:
    """Read a stage's configuration.

    A file may say `extends: OTHER.yaml` (relative to itself) or `extends: NAME`: it is laid over the other recipe, key
    by key.

    Args:
        stage: "warmup" or "meta-grpo"; a recipe that names another stage is refused.
        file: YAML, or a recipe of the package by name; None starts from the defaults.
        overrides: words like `data.world.count=64`; the value is YAML, and `null` takes a key back to its default.

    Raises:
        ConfigError: everything that is wrong with file and overrides, in one message.
    """
    values: dict[str, Any] = {} if file is None else read_recipe(file)
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


def _apply(word: str, values: dict[str, Any]) -> str | None:
    """Set one `key.sub=value` in `values`; what is wrong with it, if anything."""
    dotted, equals, text = word.partition("=")
    keys = dotted.strip().split(".")
    if not equals or not all(keys):
        return f"{word!r}: expected key.sub=value, e.g. learning_rate=1e-5"
    try:
        value = _number_or(text, read_yaml(text, f"the value {text!r}"))
    except ConfigError as error:
        return f"{dotted.strip()}: {str(error).splitlines()[0].rstrip('.')}"
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
