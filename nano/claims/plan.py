"""What is trained and run for the claims: each as the words that follow `conceptseg`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from conceptseg.errors import InputError
from conceptseg.training.recipes import ablation_changes

HERE = Path(__file__).resolve().parent
_STAGES = MappingProxyType({"meta_grpo": "meta-grpo", "warmup": "warmup"})
"""What a recipe extends → the stage it belongs to."""


def plan_commands(
    plan: Mapping[str, Any], places: Mapping[str, str | None], out: Path, only: Sequence[str] | None = None
) -> dict[str, list[str]]:
    """Each run's words after `conceptseg`.

    Args:
        plan: claims.yaml.
        places: `nano` and `warmup` → the checkpoint; runs of one that is None are left out.
        out: the folder of all runs.
        only: names of runs; None for all that can be made.

    Raises:
        InputError: a name in `only` is no run, or one that is left out.
    """
    runs = plan["runs"] | _trained_runs(plan, out)
    possible = {name: words for name, words in runs.items() if places[place_of(words)]}
    chosen = _choose(possible, only)
    return {name: _command(words, plan["data"], places, out / name) for name, words in chosen.items()}


def plan_trainings(
    plan: Mapping[str, Any], warmup: str, out: Path, only: Sequence[str] | None = None
) -> dict[str, list[str]]:
    """Each training's words after `conceptseg`.

    Args:
        plan: claims.yaml.
        warmup: the checkpoint that all go on from.
        out: the folder of all runs.
        only: names of trainings; None for all.

    Raises:
        InputError: a name in `only` is no training.
    """
    trained = plan["trained"]
    trainings = {}
    for family, recipe in trained["recipes"].items():
        stage, changes = _changes_of(recipe)
        start = ["train", stage, "--config", str(HERE / trained["bases"][stage]), f"model.checkpoint={warmup}"]
        for name, seed in zip(members(plan, family), trained["seeds"], strict=True):
            trainings[name] = [*start, f"seed={seed}", f"out={_training_folder(out, name)}", *changes]
    return _choose(trainings, only)


def _choose(possible: Mapping[str, Any], only: Sequence[str] | None) -> dict[str, Any]:
    unknown = [name for name in only or () if name not in possible]
    if unknown:
        raise InputError(f"--only: there is no {', '.join(map(repr, unknown))}. There are {', '.join(possible)}.")
    return {name: value for name, value in possible.items() if only is None or name in only}


def _changes_of(recipe: str) -> tuple[str, list[str]]:
    """An ablation's stage, and what it changes in the recipe that it extends, as words for the command line."""
    own = ablation_changes(recipe)
    if own["extends"] not in _STAGES:
        known = " or ".join(_STAGES)
        raise InputError(f"{recipe}: expected extends: {known}, got {own['extends']}, whose changes would be lost.")
    return _STAGES[own["extends"]], [f"{key}={json.dumps(value)}" for key, value in _flat(own) if key != "extends"]


def _flat(section: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in section.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _training_folder(out: Path, name: str) -> Path:
    return out / "trained" / name


def _trained_runs(plan: Mapping[str, Any], out: Path) -> dict[str, list[str]]:
    """The runs of what `train` leaves."""
    names = [name for family in plan["trained"]["recipes"] for name in members(plan, family)]
    return {name: ["--model", str(_training_folder(out, name) / "model"), "--route", "reason"] for name in names}


def members(plan: Mapping[str, Any], name: str) -> list[str]:
    """The runs that a claim's name stands for: one a seed where it was trained for, else itself."""
    trained = plan["trained"]
    return [f"{name}_{seed}" for seed in trained["seeds"]] if name in trained["recipes"] else [name]


def place_of(words: Sequence[str]) -> str:
    """The checkpoint that must be named for a run: what was trained stems from the one before stage II."""
    return "nano" if "{nano}" in words else "warmup"


def _command(words: Sequence[str], data: Sequence[str], places: Mapping[str, str | None], out: Path) -> list[str]:
    return ["evaluate", *(word.format(**places) for word in words), "--data", *data, "--no-masks", "--out", str(out)]
