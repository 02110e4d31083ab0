"""What nano is trained on, for how long, and what every stage has to reach; `recipes/nano/*.yaml`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from conceptseg.errors import ConfigError, TrainingError
from conceptseg.validation import explain_mistakes

__all__ = ["STAGES", "NanoRecipe"]

STAGES: tuple[str, ...] = ("segmenter", "boxes", "vision", "reasoner", "translation", "meta_grpo")
"""In order; each needs the ones before it, except that `segmenter`, `boxes` and `vision`, `reasoner` do not need each
other."""


class NanoRecipe(BaseModel):
    """What is trained on, and for how long."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    seed: int = 0
    tasks: tuple[str, ...]
    """ConceptWorld tasks of the episodes."""
    named_tasks: tuple[str, ...] = ("fine_grained", "ultra_rare")
    """Further tasks for the segmenter alone: more names to know."""
    vision_tasks: tuple[str, ...] = ("camouflage", "industrial_anomaly")
    """Tasks whose targets the vision tower learns to tell apart."""
    emphasis: dict[str, dict[str, int]] = {}
    """Stage → task → how many times as often as the others it is shown there."""
    minutes: dict[str, float]
    """Training time of each stage but the last."""
    imitation_minutes: float = Field(default=3.0, gt=0)
    """Time in which the translation imitates region texts, before its own stage begins."""
    batch_size: dict[str, int]
    learning_rate: dict[str, float]
    photograph_share: dict[str, float] = {"segmenter": 0.4, "reasoner": 0.25, "translation": 0.35}
    """How much of each stage's training shows photographs, where there are some; none where a stage is not named."""
    meta_grpo: Path | None = None
    """Configuration of the last stage, as for `conceptseg train meta-grpo`; relative to the recipe."""
    gates: dict[str, dict[str, float]] = {}
    """Stage → numbers of its log that must have been reached when it ends. Samples come without end, so that a stage's
    last numbers are taken on samples it has not seen before (photographs, where there are any, do repeat)."""
    workers: int = Field(default=1, ge=0)
    """Processes that make batches."""

    @classmethod
    def read(cls, path: Path) -> NanoRecipe:
        """A recipe from YAML.

        Raises:
            ConfigError: it cannot be read or has wrong keys; all are named.
        """
        try:
            recipe = cls.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
        except OSError as error:
            raise ConfigError(f"Recipe {path} cannot be read: {error.strerror}.") from error
        except ValidationError as error:
            raise ConfigError(f"Recipe {path}: {'; '.join(explain_mistakes(error, cls))}") from error
        unknown = {*recipe.minutes, *recipe.gates, *recipe.photograph_share, *recipe.emphasis} - {*STAGES}
        if unknown:
            raise ConfigError(f"Recipe {path}: unknown stages {sorted(unknown)}. Stages: {', '.join(STAGES)}.")
        second = recipe.meta_grpo
        return recipe.model_copy(update={"meta_grpo": path.parent / second}) if second else recipe

    def weighed(self, stage: str, tasks: Iterable[str]) -> tuple[str, ...]:
        """The tasks, each as many times as a stage's emphasis says: a fair draw from these is a weighed one."""
        times = self.emphasis.get(stage, {})
        return tuple(task for task in tasks for _ in range(times.get(task, 1)))

    def check_gate(self, stage: str, reached: Mapping[str, float]) -> None:
        """Hold a finished stage's last numbers against its gate.

        Raises:
            TrainingError: one of them is missed; every stage after it would build on too little.
        """
        missed = [
            f"{name} is {reached.get(name, float('nan')):.3f}, asked for at least {least}"
            for name, least in self.gates.get(stage, {}).items()
            if not reached.get(name, float("nan")) >= least
        ]
        if missed:
            raise TrainingError(
                f"Stage {stage} ended before its gate: {'; '.join(missed)}. Give it more time in the recipe "
                f"(minutes.{stage}) and run the command again: it goes on where it is."
            )
