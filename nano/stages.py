"""The recipe of the bundled checkpoint, carried out: from nothing to `nano`, stage by stage, each resumable."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import MappingProxyType

import torch

from conceptseg.errors import InputError, TrainingError
from conceptseg.files import lock_for_writing
from conceptseg.models.conceptseg import ConceptSegModel
from conceptseg.models.loading import pick_device
from conceptseg.training.config_reading import load_config
from conceptseg.training.pictures import plot_curves
from conceptseg.training.run import train
from conceptseg.training.termination import Termination
from nano.architecture import FRAME_PX
from nano.assembly import WARMUP_CHECKPOINT, assemble, keep, keep_names, weights_file
from nano.imitation import imitate_regions
from nano.lessons import episodes_of, lesson_of
from nano.loop import StageConfig, endless_batches, is_done, run_stage, steps_taken
from nano.photographs import Photographs
from nano.published import open_eyes
from nano.recipe import STAGES, NanoRecipe
from nano.stage_log import names_of, read_log

__all__ = ["CHECKPOINT", "train_nano"]

CHECKPOINT = "checkpoint"
"""Folder of the finished checkpoint."""

_LAST_ROWS = 5
_NEEDS = MappingProxyType(
    {"reasoner": ("vision",), "translation": ("segmenter", "reasoner"), "meta_grpo": ("translation",)}
)
"""Stage → the stages whose weights it builds on."""
_OVERWRITES = MappingProxyType({"vision": "reasoner"})
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
    termination: Termination = field(default_factory=Termination)
    """Asked between updates and between stages."""

    @cached_property
    def real(self) -> Photographs | None:
        """Read once: every picture is opened, to tell what is held out."""
        return Photographs(self.photographs, FRAME_PX, self.recipe.set_weights) if self.photographs else None


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
        if run.termination.asked:
            return False
        with _alone(stage, folder):
            reached = _second_stage(run) if stage == STAGES[-1] else _timed_stage(stage, run)
        if reached is None:
            return False
        recipe.check_gate(stage, reached)
    return True


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
    if not weights_file(stage, run.folder).exists():
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
            f"Stage {stage} has time left, but would overwrite {weights_file(stage, run.folder)}, with which stage "
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
    # Fused attention is a quarter faster for the segmenter, and shows no weights, which the reasoner's are taught by.
    model.reasoner.mllm.set_attn_implementation("eager")
    data, learner = lesson_of(stage, recipe, model, run.real)
    if stage == "segmenter":
        keep_names(data.names, folder)
    learner.to(model.device)
    batches = endless_batches(data, recipe.batch_size[stage], recipe.workers)
    return run_stage(config, learner, batches, learner.loss, folder, until_s=run.until_s,
                     termination=run.termination, prepare=lambda: _prepare(stage, run, model),
                     finished=lambda: keep(stage, model, folder))  # fmt: skip


def _prepare(stage: str, run: _Run, model: ConceptSegModel) -> None:
    if stage == "segmenter":
        open_eyes(model.segmenter)
    if stage != "translation":
        return
    minutes = run.recipe.imitation_minutes
    episodes = episodes_of("imitation", run.recipe, model, run.real)
    imitate_regions(model, episodes, minutes=minutes, until_s=run.until_s)
    if time.monotonic() >= run.until_s:
        _log.warning("The call ended before the imitation did, which then begins anew: it takes %g minutes.", minutes)


def _second_stage(run: _Run) -> dict[str, float] | None:
    """Meta-GRPO by the trainer that users have, from the warm-up's checkpoint to the finished one."""
    start = run.folder / WARMUP_CHECKPOINT
    if not start.exists():  # lost on the way between two machines, or never there
        _require_earlier(STAGES[-1], run)
        assemble(run.recipe, run.folder).save_pretrained(start, dtype=torch.float16)
    words = [f"out={run.folder / 'meta_grpo'}", f"model.checkpoint={start}", f"model.device={run.place.type}"]
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
