"""The recipe of the bundled checkpoint: from nothing to `nano`, stage by stage, each resumable."""

from __future__ import annotations

import csv
import json
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors.torch import load_file, save_file

from conceptseg.data.world import ConceptWorld, vocabulary_texts
from conceptseg.errors import ConfigError, TrainingError
from conceptseg.models.conceptseg import ConceptSegModel
from conceptseg.models.loading import pick_device
from conceptseg.training.nano.architecture import FRAME_PX, PATCH_PX, build_nano
from conceptseg.training.nano.imitation import imitate_regions
from conceptseg.training.nano.loop import StageConfig, run_stage
from conceptseg.training.nano.photographs import Photographs
from conceptseg.training.nano.reasoner_stage import (
    EpisodeData,
    EpisodeLearner,
    VisionData,
    VisionLearner,
    endless_batches,
)
from conceptseg.training.nano.segmenter_stage import SegmenterData, SegmenterLearner
from conceptseg.training.nano.translation_stage import TranslationLearner
from conceptseg.training.nano.wording import WORDS
from conceptseg.training.pictures import plot_curves

__all__ = ["STAGES", "NanoRecipe", "assemble", "train_nano"]

_log = logging.getLogger(__name__)

_NAMES_FILE = "names.json"

STAGES: tuple[str, ...] = ("segmenter", "vision", "reasoner", "translation")
"""In order; each needs the ones before it, except that `segmenter` and `vision`, `reasoner` do not need each other."""


class NanoRecipe(BaseModel):
    """What is trained on, and for how long; `recipes/nano/*.yaml`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    seed: int = 0
    tasks: tuple[str, ...]
    """ConceptWorld tasks of the episodes."""
    vision_tasks: tuple[str, ...] = ("camouflage", "industrial_anomaly")
    """Tasks whose targets the vision tower learns to tell apart."""
    minutes: dict[str, float]
    """Training time of each stage."""
    imitation_minutes: float = Field(default=3.0, gt=0)
    """Time in which the translation imitates region texts, before its own stage begins."""
    batch_size: dict[str, int]
    learning_rate: dict[str, float]
    photograph_share: dict[str, float] = {"segmenter": 0.4, "reasoner": 0.25, "translation": 0.35}
    """How much of each stage's training shows photographs, where there are some; none where a stage is not named."""
    workers: int = Field(default=1, ge=0)
    """Processes that make batches."""

    @classmethod
    def read(cls, path: Path) -> NanoRecipe:
        """A recipe from YAML.

        Raises:
            ConfigError: it cannot be read or has wrong keys; all are named.
        """
        try:
            return cls.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
        except OSError as error:
            raise ConfigError(f"Recipe {path} cannot be read: {error.strerror}.") from error
        except ValidationError as error:
            problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
            raise ConfigError(f"Recipe {path}: {problems}.") from error


def train_nano(
    recipe: NanoRecipe,
    folder: Path,
    *,
    stages: Sequence[str] = STAGES,
    minutes: float | None = None,
    device: str = "auto",
    photographs: Path | None = None,
) -> bool:
    """Run the stages that are not done, for at most `minutes` now; call again to go on.

    Args:
        recipe: what is trained, and for how long.
        folder: keeps the state of every stage.
        stages: which ones to run.
        minutes: when to stop although there is more to do.
        device: as for `ConceptSegModel.from_pretrained`.
        photographs: a folder of sets with `samples.jsonl` whose `train` rows are shown beside ConceptWorld.

    Returns:
        Whether all the stages asked for are done.

    Raises:
        TrainingError: a stage is unknown, or needs another that has not run.
        SampleError: there are no photographs in that folder.
    """
    shown = Photographs(photographs, FRAME_PX) if photographs else None
    until_s = time.monotonic() + 60 * minutes if minutes else float("inf")
    place = pick_device(device)
    for stage in stages:
        if stage not in STAGES:
            raise TrainingError(f"Unknown stage {stage!r}. Known stages: {', '.join(STAGES)}.")
        model = assemble(recipe, folder).to(place)
        if not _run(stage, recipe, model, folder, until_s, shown):
            return False
    return True


def assemble(recipe: NanoRecipe, folder: Path) -> ConceptSegModel:
    """The nano model with the weights of every stage that has left some in `folder`."""
    model = build_nano(_texts(folder), _taught_names(folder), seed=recipe.seed)
    for path, part in _parts(model, folder):
        if path.exists():
            part.load_state_dict(load_file(path))
    model.reasoner.mllm.tie_weights()
    return model


def _texts(folder: Path) -> list[str]:
    """The texts that the tokenizers are made of: fixed when a run begins, so that a resumed run keeps its tokens."""
    path = folder / "texts.json"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps([*vocabulary_texts(), *WORDS], ensure_ascii=False), encoding="utf-8")
    return json.loads(path.read_text(encoding="utf-8"))


def _taught_names(folder: Path) -> tuple[str, ...]:
    """What the segmenter of this run was taught to call by name."""
    path = folder / _NAMES_FILE
    return tuple(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else ConceptWorld.names_of("train")


def _parts(model: ConceptSegModel, folder: Path) -> list[tuple[Path, Any]]:
    named = {"segmenter": model.segmenter.sam, "reasoner": model.reasoner.mllm, "translation": model.translation}
    return [(folder / f"{name}_weights.safetensors", part) for name, part in named.items()]


def _keep(name: str, model: ConceptSegModel, folder: Path) -> None:
    for path, part in _parts(model, folder):
        if path.stem == f"{name}_weights":
            save_file({key: value.contiguous().clone() for key, value in part.state_dict().items()}, path)


def _run(
    stage: str,
    recipe: NanoRecipe,
    model: ConceptSegModel,
    folder: Path,
    until_s: float,
    photographs: Photographs | None,
) -> bool:
    config = StageConfig(stage, recipe.minutes[stage], recipe.learning_rate[stage])
    size = recipe.batch_size[stage]
    world = ConceptWorld(tasks=recipe.tasks, split="train", seed=recipe.seed, size_px=FRAME_PX)
    real: Any = {"photographs": photographs, "photograph_share": recipe.photograph_share.get(stage, 0.0)}
    learner: Any
    data: Any
    if stage == "segmenter":
        model.segmenter.train()
        data = SegmenterData(recipe.tasks, seed=recipe.seed, size_px=FRAME_PX, patch_px=PATCH_PX, **real)
        learner = SegmenterLearner(model.segmenter, data.names)
        (folder / _NAMES_FILE).write_text(json.dumps(data.names, ensure_ascii=False), encoding="utf-8")
    elif stage == "vision":
        world = ConceptWorld(tasks=recipe.tasks, split="train", seed=recipe.seed, size_px=FRAME_PX, references=0)
        data = VisionData(world, recipe.vision_tasks, seed=recipe.seed, size_px=FRAME_PX, patches=FRAME_PX // PATCH_PX)
        learner = VisionLearner(model.reasoner, len(data.classes))
    else:
        data = EpisodeData(model, world, seed=recipe.seed, **real)
        learner = EpisodeLearner(model.reasoner, FRAME_PX) if stage == "reasoner" else TranslationLearner(model)
        if stage == "translation" and not (folder / "translation.safetensors").exists():
            imitate_regions(model, data, minutes=recipe.imitation_minutes)
    learner.to(model.device)
    batches = endless_batches(data, size, recipe.workers)
    kept = "reasoner" if stage == "vision" else stage
    done = run_stage(config, learner, batches, learner.loss, folder, until_s=until_s,
                     finished=lambda: _keep(kept, model, folder))  # fmt: skip
    _draw_curve(stage, folder)
    return done


def _draw_curve(stage: str, folder: Path) -> None:
    path = folder / f"{stage}.csv"
    if not path.exists():
        return
    with path.open(encoding="utf-8") as file:
        rows = [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]
    quantities = [key for key in rows[0] if key not in ("step", "samples", "minutes")]
    drawing = folder / f"curves_{stage}"
    drawing.mkdir(exist_ok=True)
    plot_curves(rows, drawing, {key: key.replace("_", " ") for key in quantities})
