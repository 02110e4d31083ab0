"""The recipes by which nano itself is trained with `conceptseg train`, worked out."""

from __future__ import annotations

from pathlib import Path

import pytest

from conceptseg.training.config_reading import load_config
from conceptseg.training.plan import plan_training
from conceptseg.training.recipes import read_recipe

RECIPES = Path(__file__).resolve().parents[2] / "nano" / "recipes"


@pytest.mark.parametrize(
    ("name", "samples", "steps"),
    [
        ("short_warmup", 1024, 6 * 1024 / 16),
        ("meta_grpo_nano", 4096, 60),
        ("short_stage_two", 4096, 30),
        ("stage_two", 8192, 400),
        ("warmup_overfit", 64, 200 * 64 / 32),
    ],
)
def test_a_recipe_can_be_worked_out(name: str, samples: int, steps: float, tiny_checkpoint: Path) -> None:
    recipe = RECIPES / f"{name}.yaml"
    config = load_config(read_recipe(recipe)["stage"], recipe, [f"model.checkpoint={tiny_checkpoint}"])
    plan = plan_training(config)
    assert (plan.samples, plan.steps) == (samples, steps)
    assert 0 < plan.trainable < plan.total
