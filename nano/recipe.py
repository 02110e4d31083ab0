"""What nano is trained on, for how long, and what every stage has to reach; `nano/recipes/*.yaml`."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import to_jsonable_python

from conceptseg import __version__
from conceptseg.data.world import WORLD_TASKS
from conceptseg.errors import ConfigError, TrainingError
from conceptseg.files import replacing
from conceptseg.validation import explain_mistakes

__all__ = ["STAGES", "NanoRecipe"]

STAGES: tuple[str, ...] = ("segmenter", "vision", "reasoner", "translation", "meta_grpo")
"""In order; each needs the ones before it, except that `segmenter` and `vision`, `reasoner` do not need each other."""

_TIMED = STAGES[:-1]
_DRAWING = ("segmenter", "reasoner", "translation")
"""The stages that draw tasks by their emphasis, and show photographs; `vision` names what it made itself."""

_log = logging.getLogger(__name__)


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
    """Training time of each stage but the last, which counts updates; so are batch size and learning rate given."""
    imitation_minutes: float = Field(default=3.0, gt=0)
    """Time in which the translation imitates region texts, before its own stage begins."""
    batch_size: dict[str, int]
    learning_rate: dict[str, float]
    photograph_share: dict[str, float] = {"segmenter": 0.4, "reasoner": 0.25, "translation": 0.35}
    """How much of each stage's training shows photographs, where there are some; none where a stage is not named."""
    altered_share: dict[str, float] = {}
    """How much of it shows altered parts that only references explain (`alterations`); none where not named."""
    set_weights: dict[str, float] = {}
    """Set of photographs → how often it is shown, 1 where not named; sets of little variety want less."""
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
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise ConfigError(f"Recipe {path} is not YAML: {error}") from error
        except ValidationError as error:
            raise ConfigError(f"Recipe {path}: {'; '.join(explain_mistakes(error, cls))}") from error
        second = recipe.meta_grpo
        return recipe.model_copy(update={"meta_grpo": path.parent / second}) if second else recipe

    @model_validator(mode="after")
    def _check(self) -> NanoRecipe:
        mistakes = [*self._wrong_numbers(), *self._wrong_stages(), *self._wrong_emphasis()]
        if mistakes:
            raise ConfigError("; ".join(mistakes))
        return self

    def _wrong_numbers(self) -> Iterator[str]:
        for name in ("minutes", "batch_size", "learning_rate"):
            numbers: Mapping[str, float] = getattr(self, name)
            if missing := [stage for stage in _TIMED if stage not in numbers]:
                yield f"{name}: missing for {', '.join(missing)}"
            if wrong := [stage for stage, number in numbers.items() if not 0 < number < math.inf]:
                yield f"{name}: must be above 0 for {', '.join(wrong)}"
        if self.batch_size.get("translation") == 1:
            yield "batch_size: translation needs at least 2, half of them with ideal responses and half with its own"
        for name in ("photograph_share", "altered_share"):
            if wrong := [stage for stage, share in getattr(self, name).items() if not 0 <= share <= 1]:
                yield f"{name}: must be within 0 and 1 for {', '.join(wrong)}"
        if wrong := [stage for stage in _DRAWING if sum(self.shares(stage).values()) > 1]:
            yield (
                f"photograph_share and altered_share: more than 1 together for {', '.join(wrong)}; lower one (a "
                "photograph_share that is not given stands at its default)"
            )

    def _wrong_stages(self) -> Iterator[str]:
        known = dict.fromkeys(("minutes", "batch_size", "learning_rate"), _TIMED) | {"gates": STAGES}
        known |= dict.fromkeys(("emphasis", "photograph_share", "altered_share"), _DRAWING)
        for name, stages in known.items():
            if unknown := sorted({*getattr(self, name)} - {*stages}):
                yield f"{name}: unknown stages {unknown}, known here are {', '.join(stages)}"

    def _wrong_emphasis(self) -> Iterator[str]:
        for stage, times in self.emphasis.items():
            if unknown := sorted({*times} - {*WORLD_TASKS}):
                yield f"emphasis.{stage}: unknown tasks {unknown}, known are {', '.join(WORLD_TASKS)}"
            if wrong := [task for task, count in times.items() if count < 1]:
                yield f"emphasis.{stage}: must be at least 1 for {', '.join(wrong)}"

    def weighed(self, stage: str, tasks: Iterable[str]) -> tuple[str, ...]:
        """The tasks, each as many times as a stage's emphasis says: a fair draw from these is a weighed one."""
        times = self.emphasis.get(stage, {})
        return tuple(task for task in tasks for _ in range(times.get(task, 1)))

    def shares(self, stage: str) -> dict[str, float]:
        """How much of a stage shows photographs and altered parts, as the stages' data take it; the rest is
        ConceptWorld's tasks."""
        return {name: getattr(self, name).get(stage, 0.0) for name in ("photograph_share", "altered_share")}

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
            raise TrainingError(f"Stage {stage} ended before its gate: {'; '.join(missed)}. {self._more_of(stage)}")

    def _more_of(self, stage: str) -> str:
        if stage in self.minutes:
            return (
                f"Give it more time in the recipe (minutes.{stage}) and run the command again: it goes on where it is."
            )
        return (
            f"Give it more updates (max_steps in {self.meta_grpo or 'the configuration that meta_grpo names'}), delete "
            f"the run's folder {stage} and run the command again: it begins anew, from the warm-up."
        )

    def record(self, path: Path, photographs: Path | None, step: int) -> None:
        """Note beside a stage's state what it is trained with from a step on, and warn where that has changed.

        Args:
            path: a JSON list, one entry a change; created if needed.
            photographs: the folder of real pictures, if any.
            step: updates the stage has seen.
        """
        entries: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8")) if step and path.exists() else []
        now: dict[str, Any] = {
            "version": __version__,
            "photographs": str(photographs) if photographs else None,
            "recipe": self.model_dump(mode="json"),
        }
        if entries and _settings_of(entries[-1]) == now:
            return
        if entries and (differing := _differing(entries[-1]["recipe"], now["recipe"])):
            _log.warning("%s goes on at step %d with another recipe: %s differ.", path.stem, step, ", ".join(differing))
        with replacing(path) as fresh:
            text = json.dumps([*entries, {"from_step": step, **now}], indent=1, ensure_ascii=False)
            fresh.write_text(text + "\n", encoding="utf-8")


def _settings_of(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in entry.items() if key != "from_step"}


def _differing(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """The keys that differ, but for `minutes`: more time is what a stage may always be given.

    What the recipe could not say yet when `before` was noted stood at its default.
    """
    options = NanoRecipe.model_fields.items()
    before = {key: to_jsonable_python(o.default) for key, o in options if not o.is_required()} | {**before}
    return sorted(key for key in {*before, *now} - {"minutes"} if before.get(key) != now.get(key))
