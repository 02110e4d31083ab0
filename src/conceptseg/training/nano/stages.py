"""The recipe of the bundled checkpoint, carried out: from nothing to `nano`, stage by stage, each resumable."""

from __future__ import annotations

import json
import logging
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from filelock import FileLock
from safetensors.torch import load_file, save_file

from conceptseg.data.world import ConceptWorld, vocabulary_texts
from conceptseg.errors import InputError, TrainingError
from conceptseg.files import lock_for_writing, replacing
from conceptseg.models.conceptseg import ConceptSegModel
from conceptseg.models.loading import pick_device
from conceptseg.training.config_reading import load_config
from conceptseg.training.nano.architecture import FRAME_PX, PATCH_PX, build_nano
from conceptseg.training.nano.box_stage import BoxData, BoxLearner
from conceptseg.training.nano.episodes import EpisodeData
from conceptseg.training.nano.imitation import imitate_regions
from conceptseg.training.nano.loop import StageConfig, endless_batches, is_done, run_stage, steps_taken
from conceptseg.training.nano.photographs import Photographs, folders_of_sets
from conceptseg.training.nano.reasoner_stage import LessonData, LessonLearner
from conceptseg.training.nano.recipe import STAGES, NanoRecipe
from conceptseg.training.nano.segmenter_stage import SegmenterData, SegmenterLearner
from conceptseg.training.nano.stage_log import names_of, read_log
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
_NEEDS = MappingProxyType(
    {"boxes": ("segmenter",), "reasoner": ("vision",), "translation": ("segmenter", "reasoner"),
     "meta_grpo": ("translation",)}
)  # fmt: skip
"""Stage → the stages whose weights it builds on."""
_SHARED = MappingProxyType({"boxes": "segmenter", "vision": "reasoner"})
"""Stage → the stage in whose file its weights are kept."""
_OVERWRITES = MappingProxyType({"segmenter": "boxes", "vision": "reasoner"})
"""Stage → the later one that goes on in the same file, and whose work a late end of the first would undo."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Run:
    """What the stages of one call have in common."""

    recipe: NanoRecipe
    folder: Path
    until_s: float
    place: torch.device
    photographs: Path | None

    @cached_property
    def real(self) -> Photographs | None:
        """Read once: every picture is opened, to tell what is held out."""
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
        TrainingError: a stage is unknown, needs another that has not run, would undo a later one, is being trained in
            that folder by another process, or ends before its gate.
        SampleError: there are no photographs in that folder.
    """
    until_s = time.monotonic() + 60 * minutes if minutes else float("inf")
    run = _Run(recipe, folder, until_s, pick_device(device), photographs)
    for stage in stages:
        if stage not in STAGES:
            raise TrainingError(f"Unknown stage {stage!r}. Known stages: {', '.join(STAGES)}.")
        with _alone(stage, folder):
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
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".texts.lock"):  # two stages may begin at once, each in its own process
        if not path.exists():
            _write_json(path, [*vocabulary_texts(), *WORDS])
    return json.loads(path.read_text(encoding="utf-8"))


def _write_json(path: Path, content: Any) -> None:
    with replacing(path) as fresh:
        fresh.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")


def _taught_names(folder: Path) -> tuple[str, ...]:
    """What the segmenter of this run was taught to call by name."""
    path = folder / _NAMES_FILE
    return tuple(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else ConceptWorld.names_of("train")


def _weights_file(stage: str, folder: Path) -> Path:
    return folder / f"{_SHARED.get(stage, stage)}_weights.safetensors"


def _parts(model: ConceptSegModel, folder: Path) -> list[tuple[Path, Any]]:
    named = {"segmenter": model.segmenter.sam, "reasoner": model.reasoner.mllm, "translation": model.translation}
    return [(_weights_file(name, folder), part) for name, part in named.items()]


def _keep(stage: str, model: ConceptSegModel, folder: Path) -> None:
    """Keep what a timed stage has trained where `assemble` finds it."""
    for path, part in _parts(model, folder):
        if path == _weights_file(stage, folder):
            with replacing(path) as fresh:
                save_file({key: value.contiguous().clone() for key, value in part.state_dict().items()}, fresh)
    if stage == "translation":
        model.save_pretrained(folder / WARMUP_CHECKPOINT, dtype=torch.float16)


@contextmanager
def _alone(stage: str, folder: Path) -> Iterator[None]:
    """Keep a second run of the stage out of the folder; other stages may run beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        lock = lock_for_writing(folder, f".{stage}.lock")
    except InputError as error:
        raise TrainingError(
            f"Stage {stage} is being trained in {folder} by another process: wait for it, or choose another --out."
        ) from error
    try:
        yield
    finally:
        lock.release()


def _config(stage: str, recipe: NanoRecipe) -> StageConfig:
    return StageConfig(stage, recipe.minutes[stage], recipe.learning_rate[stage])


def _require_earlier(stage: str, run: _Run) -> None:
    """Refuse to build on weights that are not there, or not final: on random ones, training only seems to work."""
    for needed in _NEEDS.get(stage, ()):
        if not _has_left_weights(needed, run):
            raise TrainingError(
                f"Stage {stage} needs what stage {needed} leaves, and {needed} has not finished in {run.folder}. Run "
                f"it first: --stages {needed}."
            )


def _has_left_weights(stage: str, run: _Run) -> bool:
    if not _weights_file(stage, run.folder).exists():
        return False
    if stage == "vision":
        return True  # the file is begun by this stage, and gone on with by the reasoner
    config = _config(stage, run.recipe)
    if not config.state_in(run.folder).exists():
        return stage != "reasoner"  # brought along from another run; but the reasoner's may be vision's alone
    return is_done(config, run.folder)


def _require_no_later(stage: str, run: _Run) -> None:
    """Refuse to overwrite weights that a later stage has gone on with."""
    later = _OVERWRITES.get(stage)
    state = run.folder / f"{later}.safetensors"
    if later and steps_taken(state):
        raise TrainingError(
            f"Stage {stage} has time left, but would overwrite {_weights_file(stage, run.folder)}, with which stage "
            f"{later} has gone on. Leave {stage} out of the stages, or delete {state} to train {later} anew after it."
        )


def _timed_stage(stage: str, run: _Run) -> dict[str, float] | None:
    """Train one of the stages that have a time budget; its last numbers, or None if the call's time was up first."""
    config = _config(stage, run.recipe)
    done = is_done(config, run.folder) or _train(config, run)
    rows = read_log(run.folder / f"{stage}.csv")
    _draw_curve(stage, rows, run.folder)
    return _mean(rows[-_LAST_ROWS:]) if done else None


def _train(config: StageConfig, run: _Run) -> bool:
    """Go on with a stage that is not done; whether it is now."""
    stage, recipe, folder = config.name, run.recipe, run.folder
    _require_earlier(stage, run)
    _require_no_later(stage, run)
    recipe.record(folder / f"{stage}.json", run.photographs, steps_taken(config.state_in(folder)))
    model = assemble(recipe, folder).to(run.place)
    # torch's fused attention takes four times too long backwards in bfloat16 on a CPU, and shows no weights to teach.
    for part in (model.reasoner.mllm, model.segmenter.sam):
        part.set_attn_implementation("eager")
    data, learner = _lesson(stage, run, model)
    learner.to(model.device)
    batches = endless_batches(data, recipe.batch_size[stage], recipe.workers)
    return run_stage(config, learner, batches, learner.loss, folder, until_s=run.until_s,
                     prepare=lambda: _prepare(stage, run, model),
                     finished=lambda: _keep(stage, model, folder))  # fmt: skip


def _prepare(stage: str, run: _Run, model: ConceptSegModel) -> None:
    if stage != "translation":
        return
    minutes = run.recipe.imitation_minutes
    imitate_regions(model, _episodes("imitation", run, model), minutes=minutes, until_s=run.until_s)
    if time.monotonic() >= run.until_s:
        _log.warning("The call ended before the imitation did, which then begins anew: it takes %g minutes.", minutes)


def _seed(stage: str, recipe: NanoRecipe) -> int:
    """The seed of a stage's samples: other stages have others, so that each sees what none before it has seen."""
    return int(np.random.SeedSequence([recipe.seed, zlib.crc32(stage.encode())]).generate_state(1)[0])


def _lesson(stage: str, run: _Run, model: ConceptSegModel) -> tuple[Any, Any]:
    """A stage's data and its learner."""
    if stage in ("segmenter", "boxes"):
        pictures = _pictures(stage, run)
        if stage == "boxes":
            return BoxData(pictures), BoxLearner(model.segmenter)
        model.segmenter.train()
        _write_json(run.folder / _NAMES_FILE, pictures.names)
        return pictures, SegmenterLearner(model.segmenter, pictures.names)
    if stage == "translation":
        return _episodes(stage, run, model), TranslationLearner(model)
    scenes = _scenes(stage, run)
    if stage == "vision":
        return scenes, VisionLearner(model.reasoner, len(scenes.classes))
    learner = LessonLearner(model.reasoner, FRAME_PX, len(scenes.classes))
    return LessonData(_episodes(stage, run, model), scenes), learner


def _pictures(stage: str, run: _Run) -> SegmenterData:
    recipe = run.recipe
    tasks = recipe.weighed(stage, (*recipe.tasks, *recipe.named_tasks))
    share = recipe.photograph_share.get(stage, 0.0)
    return SegmenterData(tasks, seed=_seed(stage, recipe), size_px=FRAME_PX, patch_px=PATCH_PX,
                         photographs=run.real, photograph_share=share)  # fmt: skip


def _scenes(stage: str, run: _Run) -> VisionData:
    recipe, seed = run.recipe, _seed(stage, run.recipe)
    alone = ConceptWorld(tasks=recipe.tasks, split="train", seed=seed, size_px=FRAME_PX, references=0)
    return VisionData(alone, recipe.vision_tasks, seed=seed, size_px=FRAME_PX, patches=FRAME_PX // PATCH_PX)


def _episodes(name: str, run: _Run, model: ConceptSegModel) -> EpisodeData:
    """Episodes of a stage, or of the imitation before the translation, which shows what the translation does."""
    recipe, seed = run.recipe, _seed(name, run.recipe)
    stage = "translation" if name == "imitation" else name
    tasks, share = recipe.weighed(stage, recipe.tasks), recipe.photograph_share.get(stage, 0.0)
    world = ConceptWorld(tasks=tasks, split="train", seed=seed, size_px=FRAME_PX)
    return EpisodeData(model, world, seed=seed, photographs=run.real, photograph_share=share)


def _second_stage(run: _Run) -> dict[str, float] | None:
    """Meta-GRPO by the trainer that users have, from the warm-up's checkpoint to the finished one."""
    start = run.folder / WARMUP_CHECKPOINT
    if not start.exists():  # lost on the way between two machines, or never there
        _require_earlier(STAGES[-1], run)
        assemble(run.recipe, run.folder).save_pretrained(start, dtype=torch.float16)
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


def _mean(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Of every number over the rows that have it."""
    columns = {key: [row[key] for row in rows if key in row] for key in names_of(rows)}
    return {key: sum(values) / len(values) for key, values in columns.items()}


def _draw_curve(stage: str, rows: Sequence[dict[str, float]], folder: Path) -> None:
    if not rows:
        return
    quantities = [key for key in names_of(rows) if key not in ("step", "samples", "minutes")]
    drawing = folder / f"curves_{stage}"
    drawing.mkdir(exist_ok=True)
    plot_curves(rows, drawing, {key: key.replace("_", " ") for key in quantities})
