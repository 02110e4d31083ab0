"""The recipe of the bundled checkpoint, carried out: from nothing to `nano`, stage by stage, each resumable."""

from __future__ import annotations

import csv
import json
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from conceptseg.data.world import ConceptWorld, vocabulary_texts
from conceptseg.errors import TrainingError
from conceptseg.files import replacing
from conceptseg.models.conceptseg import ConceptSegModel
from conceptseg.models.loading import pick_device
from conceptseg.training.config_reading import load_config
from conceptseg.training.nano.architecture import FRAME_PX, PATCH_PX, build_nano
from conceptseg.training.nano.box_stage import BoxData, BoxLearner
from conceptseg.training.nano.episodes import EpisodeData
from conceptseg.training.nano.imitation import imitate_regions
from conceptseg.training.nano.loop import StageConfig, endless_batches, run_stage
from conceptseg.training.nano.photographs import Photographs, folders_of_sets
from conceptseg.training.nano.reasoner_stage import LessonData, LessonLearner
from conceptseg.training.nano.recipe import STAGES, NanoRecipe
from conceptseg.training.nano.segmenter_stage import SegmenterData, SegmenterLearner
from conceptseg.training.nano.translation_stage import TranslationLearner
from conceptseg.training.nano.vision_stage import VisionData, VisionLearner
from conceptseg.training.nano.wording import WORDS
from conceptseg.training.pictures import plot_curves
from conceptseg.training.run import train

__all__ = ["CHECKPOINT", "WARMUP_CHECKPOINT", "assemble", "train_nano"]

WARMUP_CHECKPOINT = "warmup"
"""Folder of the checkpoint after the concept translation's warm-up."""

CHECKPOINT = "checkpoint"
"""Folder of the finished checkpoint."""

_NAMES_FILE = "names.json"
_LAST_ROWS = 5

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Run:
    """What the stages of one call have in common."""

    recipe: NanoRecipe
    folder: Path
    until_s: float
    place: torch.device
    photographs: Path | None

    @property
    def real(self) -> Photographs | None:
        return Photographs(self.photographs, FRAME_PX) if self.photographs else None


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
        folder: keeps the state of every stage, and both checkpoints.
        stages: which ones to run.
        minutes: when to stop although there is more to do; the last stage counts updates and is not stopped by it.
        device: as for `ConceptSegModel.from_pretrained`.
        photographs: a folder of sets with `samples.jsonl` whose `train` rows are shown beside ConceptWorld.

    Returns:
        Whether all the stages asked for are done.

    Raises:
        TrainingError: a stage is unknown, needs another that has not run, or ends before its gate.
        SampleError: there are no photographs in that folder.
    """
    until_s = time.monotonic() + 60 * minutes if minutes else float("inf")
    run = _Run(recipe, folder, until_s, pick_device(device), photographs)
    for stage in stages:
        if stage not in STAGES:
            raise TrainingError(f"Unknown stage {stage!r}. Known stages: {', '.join(STAGES)}.")
        reached = _second_stage(run) if stage == STAGES[-1] else _timed_stage(stage, run)
        if reached is None:
            return False
        recipe.check_gate(stage, reached)
    return True


def assemble(recipe: NanoRecipe, folder: Path) -> ConceptSegModel:
    """The nano model with the weights of every timed stage that has left some in `folder`."""
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


def _keep(stage: str, model: ConceptSegModel, folder: Path) -> None:
    """Keep what a timed stage has trained where `assemble` finds it."""
    kept = {"boxes": "segmenter", "vision": "reasoner"}.get(stage, stage)
    for path, part in _parts(model, folder):
        if path.stem == f"{kept}_weights":
            with replacing(path) as fresh:
                save_file({key: value.contiguous().clone() for key, value in part.state_dict().items()}, fresh)
    if stage == "translation":
        model.save_pretrained(folder / WARMUP_CHECKPOINT, dtype=torch.float16)


def _timed_stage(stage: str, run: _Run) -> dict[str, float] | None:
    """Train one of the stages that have a time budget; its last numbers, or None if the call's time was up first."""
    recipe, folder = run.recipe, run.folder
    model = assemble(recipe, folder).to(run.place)
    # torch's fused attention takes four times too long backwards in bfloat16 on a CPU, and shows no weights to teach.
    for part in (model.reasoner.mllm, model.segmenter.sam):
        part.set_attn_implementation("eager")
    data, learner = _lesson(stage, run, model)
    if stage == "translation" and not (folder / "translation.safetensors").exists():
        imitate_regions(model, data, minutes=recipe.imitation_minutes)
    learner.to(model.device)
    config = StageConfig(stage, recipe.minutes[stage], recipe.learning_rate[stage])
    batches = endless_batches(data, recipe.batch_size[stage], recipe.workers)
    done = run_stage(config, learner, batches, learner.loss, folder, until_s=run.until_s,
                     finished=lambda: _keep(stage, model, folder))  # fmt: skip
    rows = _logged(folder / f"{stage}.csv")
    _draw_curve(stage, rows, folder)
    return _mean(rows[-_LAST_ROWS:]) if done else None


def _lesson(stage: str, run: _Run, model: ConceptSegModel) -> tuple[Any, Any]:
    """A stage's data and its learner."""
    recipe, seed = run.recipe, run.recipe.seed
    share = recipe.photograph_share.get(stage, 0.0)
    if stage in ("segmenter", "boxes"):
        tasks = recipe.weighed(stage, (*recipe.tasks, *recipe.named_tasks))
        pictures = SegmenterData(tasks, seed=seed, size_px=FRAME_PX, patch_px=PATCH_PX,
                                 photographs=run.real, photograph_share=share)  # fmt: skip
        if stage == "boxes":
            return BoxData(pictures), BoxLearner(model.segmenter)
        model.segmenter.train()
        _write_names(pictures.names, run.folder)
        return pictures, SegmenterLearner(model.segmenter, pictures.names)
    alone = ConceptWorld(tasks=recipe.tasks, split="train", seed=seed, size_px=FRAME_PX, references=0)
    side = FRAME_PX // PATCH_PX
    scenes = VisionData(alone, recipe.vision_tasks, seed=seed, size_px=FRAME_PX, patches=side)
    if stage == "vision":
        return scenes, VisionLearner(model.reasoner, len(scenes.classes))
    world = ConceptWorld(tasks=recipe.weighed(stage, recipe.tasks), split="train", seed=seed, size_px=FRAME_PX)
    episodes = EpisodeData(model, world, seed=seed, photographs=run.real, photograph_share=share)
    if stage == "translation":
        return episodes, TranslationLearner(model)
    return LessonData(episodes, scenes), LessonLearner(model.reasoner, FRAME_PX, len(scenes.classes))


def _write_names(names: Sequence[str], folder: Path) -> None:
    (folder / _NAMES_FILE).write_text(json.dumps(names, ensure_ascii=False), encoding="utf-8")


def _second_stage(run: _Run) -> dict[str, float] | None:
    """Meta-GRPO by the trainer that users have, from the warm-up's checkpoint to the finished one."""
    start = run.folder / WARMUP_CHECKPOINT
    if not start.exists():
        raise TrainingError(f"Stage meta_grpo needs {start}, which the stage translation leaves; run that first.")
    words = [f"out={run.folder / 'meta_grpo'}", f"model.checkpoint={start}", f"model.device={run.place.type}"]
    if run.photographs:
        sets = ", ".join(map(str, folders_of_sets(run.photographs)))
        words += [f"data.folders=[{sets}]", "data.split=train"]
    result = train(load_config("meta-grpo", run.recipe.meta_grpo, words))
    if result.model is None:
        return None
    model = ConceptSegModel.from_pretrained(str(result.model))
    model.save_pretrained(run.folder / CHECKPOINT, dtype=torch.float16)
    return dict(result.last)


def _logged(path: Path) -> list[dict[str, float]]:
    if not path.exists():
        return []
    with path.open(encoding="utf-8") as file:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]


def _mean(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {key: sum(row[key] for row in rows) / len(rows) for key in rows[0]} if rows else {}


def _draw_curve(stage: str, rows: Sequence[dict[str, float]], folder: Path) -> None:
    if not rows:
        return
    quantities = [key for key in rows[0] if key not in ("step", "samples", "minutes")]
    drawing = folder / f"curves_{stage}"
    drawing.mkdir(exist_ok=True)
    plot_curves(rows, drawing, {key: key.replace("_", " ") for key in quantities})
