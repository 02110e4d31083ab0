"""A training run from its configuration to a model on disk: both stages, fresh or resumed."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch.distributed as dist
from transformers import PrinterCallback, Trainer, TrainingArguments

from conceptseg.data.references import ReferenceDrawer
from conceptseg.data.samples import ConceptSample
from conceptseg.errors import MissingExtraError
from conceptseg.models.conceptseg import ConceptSegModel
from conceptseg.models.loading import pick_device
from conceptseg.models.sharding import whole_weights
from conceptseg.training.adapters import merge_adapter
from conceptseg.training.answers import Answerer, answer_by_reasoning
from conceptseg.training.arguments import common_arguments, grpo_arguments, use_one_device
from conceptseg.training.best import BestKeeper, complete_best
from conceptseg.training.callbacks import CONFIG_COPY, CheckpointKeeper, ProgressLine, StopOnSignal
from conceptseg.training.checking import check_samples, list_rejections, require_some, require_usable, sort_out
from conceptseg.training.checkpoints import (
    CheckpointWriter,
    complete_checkpoints,
    explain_full_disk,
    latest_checkpoint,
    require_not_shorter,
    require_room,
)
from conceptseg.training.config import MetaGRPOConfig, TrainingConfig, WarmupConfig
from conceptseg.training.config_reading import save_config
from conceptseg.training.drawing import SampleOrder, SampleSet, Turn, collect_samples
from conceptseg.training.episodes import EpisodeBuilder
from conceptseg.training.held_out import HeldOutMeter, HeldOutTable, Measured, tell_outcome
from conceptseg.training.loading import load_for_training, sources_of, weight_dtype
from conceptseg.training.notes import notes_on_data, notes_on_references, tell
from conceptseg.training.pictures import Watcher, contact_sheet, plot_curves
from conceptseg.training.responses import fill_store
from conceptseg.training.sharding import asked_sharding, is_sharded, require_gatherable, require_whole_segmenter
from conceptseg.training.standing import alone_in, check_data
from conceptseg.training.states import StateStore, fingerprint_of

__all__ = ["MODEL_FOLDER", "RunResult", "train"]

MODEL_FOLDER = "model"
"""Where a finished run leaves its model, whole."""

_STATES = "states"
_TITLES: Mapping[str, str] = MappingProxyType(
    {
        "loss": "loss",
        "iou": "IoU of the target",
        "miou": "mIoU, target and background",
        "held_out/miou": "mIoU, held out",
        "reward": "reward",
        "reward/format": "R_format",
        "reward/mask": "R_mask",
        "reward/meta": "R_meta",
        "held_out/meta": "R_meta, held out",
        "segmentation_loss": "segmentation loss",
        "kl": "KL to the reference policy",
        "completions/mean_length": "response length (tokens)",
        "learning_rate": "learning rate",
    }
)
_SHOWN: Mapping[str, str] = MappingProxyType(
    {
        "loss": "loss",
        "iou": "iou",
        "miou": "miou",
        "reward/format": "valid",
        "reward/mask": "mask",
        "reward/meta": "meta",
        "kl": "kl",
    }
)
_UNSEEN = "Parameters are sharded: held-out samples are neither measured nor watched while training."
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunResult:
    """How a run ended."""

    out: Path
    steps: int
    """Updates done, those before a resume included."""
    stopped: bool
    """Whether a signal stopped it before its last update; the same configuration goes on from there."""
    rejected: int
    """Samples that were left out, listed in `rejected.jsonl`."""
    last: Mapping[str, float] = field(default_factory=dict)
    """The last value of every number that was logged."""

    @property
    def model(self) -> Path | None:
        """The finished model's folder."""
        return None if self.stopped else self.out / MODEL_FOLDER


@dataclass(frozen=True, eq=False)
class _Material:
    """What both stages start from."""

    train: SampleSet
    held_out: SampleSet
    steps: int
    rejected: int

    def stored(self) -> list[ConceptSample]:
        """Everything that comes from folders, in order."""
        return [sample for part in (self.train, self.held_out) for _, sample in part.stored()]


def train(config: TrainingConfig, answer: Answerer = answer_by_reasoning) -> RunResult:
    """Run a stage from its configuration; resumes the newest whole checkpoint of its folder.

    A finished run goes on where it stopped when `max_steps` or `epochs` are raised, on the learning-rate schedule of a
    run of the new length.

    Args:
        config: the run.
        answer: how held-out samples are answered in stage I, e.g. as at inference.

    Raises:
        InputError: the configuration contradicts the folder, the samples or the model, the data have changed since the
            run began, or another run writes to the folder.
        TrainingError: no usable sample, a loss that is no number, a full disk.
        ResourceError: the folder cannot be written to, or the device is not there.
        MissingExtraError: a package that training needs is not installed.
    """
    _require_packages(config)
    pick_device(config.model.device)
    require_room(config.out, 0)
    with alone_in(config.out), explain_full_disk(config.out):
        return _train(config, answer)


def _train(config: TrainingConfig, answer: Answerer) -> RunResult:
    resume = latest_checkpoint(config.out, config)
    material = _collect(config)
    check_data(config.out, material.stored(), resumed=resume is not None)
    require_not_shorter(resume, material.steps)
    save_config(config, config.out / CONFIG_COPY)
    return _run(config, material, resume, answer)


def _run(config: TrainingConfig, material: _Material, resume: Path | None, answer: Answerer) -> RunResult:
    if isinstance(config, WarmupConfig):
        trainer, stop = _build_warmup(config, material, answer)
    else:
        trainer, stop = _build_grpo(config, material)
    trainer.remove_callback(PrinterCallback)
    require_gatherable(trainer)
    require_room(config.out, _checkpoint_bytes(trainer))
    if resume is not None:
        _log.info("Going on from %s, to %d updates.", resume, material.steps)
    try:
        trainer.train(resume_from_checkpoint=str(resume) if resume else None)
    finally:
        stop.stop_listening()
    last = {key: value for line in trainer.state.log_history for key, value in line.items()}
    result = RunResult(config.out, trainer.state.global_step, stop.stopped, material.rejected, last)
    if trainer.is_world_process_zero():
        _finish(config, trainer, result)
    if dist.is_initialized():
        dist.barrier()
    return result


def _build_warmup(config: WarmupConfig, material: _Material, answer: Answerer) -> tuple[Trainer, StopOnSignal]:
    from conceptseg.training.measuring import look_at_answers, measure_answers
    from conceptseg.training.tuning import ResponseTrainer, TuningData
    from conceptseg.training.warmup import WarmupData, WarmupTrainer

    arguments = TrainingArguments(**common_arguments(config, material.steps))
    use_one_device(arguments)
    tokens = config.responses.max_new_tokens
    model = _load(config, arguments, max_new_tokens=tokens, needs_translation=config.trains == "translation")
    drawer = _drawer(config, material)
    build = _episode_builder(config, model, drawer)
    store, find = _state_store(config, model, build)
    order = SampleOrder(
        len(material.train), material.steps * config.batch_size, config.seed, config.data.references.draws
    )
    addresses = find(material.train, order)
    stop, writer = StopOnSignal(), _writer(config, model)
    if config.trains == "responses":
        if material.held_out:
            _log.info("Held-out samples are not measured while responses are taught: there is no mask to compare.")
        tuning = TuningData(material.train, order, build, store, addresses)
        return ResponseTrainer(config, model, tuning, writer, arguments, _callbacks(config, stop)), stop
    side_px = model.segmenter.image_px
    references_of = drawer.references_of if model.has_prior else None
    data = WarmupData(material.train, order, store, addresses, side_px, references_of)
    trainer = WarmupTrainer(config, model, data, writer, arguments, _callbacks(config, stop))
    if config.segmenter.learns:
        require_whole_segmenter(trainer)
    if is_sharded(trainer):
        _log.info(_UNSEEN)
        return trainer, stop
    aside = [_shown(build, sample) for sample in material.held_out or material.train[: config.log.watched]]
    if config.log.watched:
        watched = aside[: config.log.watched]
        trainer.add_callback(Watcher(config.out, lambda: look_at_answers(answer, trainer.as_model(), watched)))
    if material.held_out:
        trainer.add_callback(
            _meter(config, trainer, "mIoU", lambda: measure_answers(answer, trainer.as_model(), aside))
        )
    return trainer, stop


def _build_grpo(config: MetaGRPOConfig, material: _Material) -> tuple[Trainer, StopOnSignal]:
    from trl import GRPOConfig

    from conceptseg.training.measuring import look_at, measure_rewards
    from conceptseg.training.meta_grpo import MetaGRPOTrainer
    from conceptseg.training.rollouts import episode_dataset

    arguments = GRPOConfig(**grpo_arguments(config, material.steps))
    use_one_device(arguments)
    model = _load(config, arguments, max_new_tokens=config.max_completion_tokens, needs_translation=False)
    build = _episode_builder(config, model, _drawer(config, material))
    prompts = material.steps * config.batch_size // config.group_size
    order = SampleOrder(len(material.train), prompts, config.seed, config.data.references.draws)
    data = episode_dataset(material.train, order, build, model.reasoner, config.max_prompt_tokens)
    stop, writer = StopOnSignal(), _writer(config, model)
    trainer = MetaGRPOTrainer(config, model, data, writer, arguments, _callbacks(config, stop))
    if is_sharded(trainer):
        _log.info(_UNSEEN)
        return trainer, stop
    aside = [build(sample) for sample in material.held_out or material.train[: config.log.watched]]
    if config.log.watched:
        watched = aside[: config.log.watched]
        trainer.add_callback(Watcher(config.out, lambda: look_at(trainer.as_model(), watched, config)))
    if material.held_out:

        def measure() -> Measured:
            rows = measure_rewards(trainer.as_model(), aside, config)
            counts = "mask" if config.needs_masks else "meta"
            scores = {episode.id: row[counts] for episode, row in zip(aside, rows, strict=True)}
            return Measured(scores, {name: sum(row[name] for row in rows) / len(rows) for name in rows[0]})

        trainer.add_callback(_meter(config, trainer, _score_title(config), measure))
    return trainer, stop


def _collect(config: TrainingConfig) -> _Material:
    samples, held_out = collect_samples(config.data, config.seed)
    tell(notes_on_data(config, samples, held_out))
    bad, bad_aside = check_samples(samples), check_samples(held_out)
    if config.data.on_bad_sample == "stop":
        require_usable([*bad, *bad_aside])
    list_rejections([*bad, *bad_aside], config.out)
    samples, held_out = sort_out(samples, bad), sort_out(held_out, bad_aside)
    require_some(samples, bad)
    return _Material(samples, held_out, config.update_steps(len(samples)), len(bad) + len(bad_aside))


def _load(config: TrainingConfig, arguments: TrainingArguments, **options: Any) -> ConceptSegModel:
    dtype = _dtype(config, arguments)
    return load_for_training(config.model, seed=config.seed, device=str(arguments.device), dtype=dtype, **options)


def _dtype(config: TrainingConfig, arguments: TrainingArguments) -> str:
    keeps_master = asked_sharding() == "deepspeed"
    return weight_dtype(config, on_cpu=arguments.device.type == "cpu", keeps_master=keeps_master)


def _drawer(config: TrainingConfig, material: _Material) -> ReferenceDrawer:
    """Chooses references from what is learned from; tells which samples go without."""
    references = config.data.references
    others = [sample for _, sample in material.train.stored()]
    seed = config.seed if references.seed is None else references.seed
    drawer = ReferenceDrawer(others, seed, count=references.count, from_others=references.from_others)
    named = [*(("to learn from", sample) for sample in others),
             *(("held out", sample) for _, sample in material.held_out.stored())]  # fmt: skip
    tell(notes_on_references(named, drawer.references_of, references.count if references.from_others else 0))
    return drawer


def _episode_builder(config: TrainingConfig, model: ConceptSegModel, drawer: ReferenceDrawer) -> EpisodeBuilder:
    return EpisodeBuilder(model, drawer.references_of, withhold_proxy=config.data.references.withhold_proxy)


def _shown(build: EpisodeBuilder, sample: ConceptSample) -> ConceptSample:
    """A sample with the references that it is shown with."""
    return replace(sample, references=tuple(build.references_of(sample)))


def _state_store(
    config: WarmupConfig, model: ConceptSegModel, build: EpisodeBuilder
) -> tuple[StateStore, Callable[[Sequence[ConceptSample], Iterable[Turn]], dict[Turn, str]]]:
    """The cache of hidden states, and what fills it for turns of a set of samples, split among the processes."""
    store = StateStore(config.responses.cache or config.out / _STATES)
    fingerprint = fingerprint_of(model.reasoner.mllm)
    share = (int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1")))

    def find(samples: Sequence[ConceptSample], turns: Iterable[Turn]) -> dict[Turn, str]:
        with whole_weights():  # else each process's words would wait for the others'
            mine = fill_store(model, build, samples, turns, config.responses, store, fingerprint, share=share)
        everyones = _gather(mine)
        store.refresh()
        return {turn: address for part in everyones for turn, address in part.items()}

    return store, find


def _gather(mine: dict[Turn, str]) -> list[dict[Turn, str]]:
    if not dist.is_initialized():
        return [mine]
    parts: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(parts, mine)
    return parts


def _checkpoint_bytes(trainer: Any) -> int:
    """What one checkpoint takes: what learns, and both of AdamW's moments."""
    learning = (p for p in trainer.model.parameters() if p.requires_grad)
    return sum(3 * p.numel() * p.element_size() for p in learning)  # SAM 3's frozen half, where it learns, is little


def _writer(config: TrainingConfig, model: ConceptSegModel) -> CheckpointWriter:
    mllm, sam = sources_of(config.model)
    prior = model.segmenter.prior if model.has_segmenter else None
    return CheckpointWriter(model.config, mllm, sam, model.reasoner.processor, prior)


def _callbacks(config: TrainingConfig, stop: StopOnSignal) -> list[Any]:
    return [stop, CheckpointKeeper(config), ProgressLine(config.batch_size, _SHOWN)]


def _meter(config: TrainingConfig, trainer: Any, title: str, measure: Callable[[], Measured]) -> HeldOutMeter:
    table, every = HeldOutTable(config.out), config.log.evaluate_every
    keep = BestKeeper(config, trainer.keep_as).keep if _may_keep_best(config) else None
    return HeldOutMeter(table, title, measure, keep, trainer.log, trainer.numbers, every)


def _may_keep_best(config: TrainingConfig) -> bool:
    """Checkpoints of an adapter alone are no models."""
    return isinstance(config, WarmupConfig) or config.policy.mllm == "full"


def _score_title(config: TrainingConfig) -> str:
    if isinstance(config, WarmupConfig):
        return "mIoU"
    return "IoU of the target" if config.needs_masks else "R_meta"


def _finish(config: TrainingConfig, trainer: Trainer, result: RunResult) -> None:
    """Curves, the contact sheet, the whole model from the last checkpoint and that of the best, and what came of it."""
    plot_curves(trainer.state.log_history, config.out, _TITLES)
    contact_sheet(config.out)
    if result.model is None:
        _log.info("Stopped at update %d; the same command goes on from there.", result.steps)
        return
    _final_model(config, trainer).save_pretrained(result.model)
    complete_best(config.out, _dtype(config, trainer.args))
    table = HeldOutTable(config.out)
    table.read(result.steps)
    tell(tell_outcome(table, _score_title(config), best_is_kept=_may_keep_best(config)))
    _log.info("Done after %d updates: %s. A larger max_steps goes on from here.", result.steps, result.model)


def _final_model(config: TrainingConfig, trainer: Any) -> ConceptSegModel:
    """The model of the last checkpoint, whole: on this process alone, whatever the launcher shards."""
    last = complete_checkpoints(config.out)[-1]
    dtype = _dtype(config, trainer.args)
    if not (isinstance(config, MetaGRPOConfig) and config.policy.mllm == "lora"):
        return ConceptSegModel.from_pretrained(last, device="cpu", dtype=dtype)
    tokens = config.max_completion_tokens
    start = load_for_training(
        config.model, seed=config.seed, device="cpu", dtype=dtype, max_new_tokens=tokens, needs_translation=False
    )
    with whole_weights():
        return merge_adapter(start, last)


def _require_packages(config: TrainingConfig) -> None:
    wanted = ["accelerate", *config.log.to]
    if isinstance(config, MetaGRPOConfig):
        wanted += ["trl", "datasets", *(["peft"] if config.policy.mllm == "lora" else [])]
        wanted += ["vllm"] if config.vllm.use else []
    missing = [name for name in wanted if find_spec(name) is None]
    if missing:
        names = " ".join(missing)
        raise MissingExtraError(f"This run needs {names}: pip install 'conceptseg[train]' {names}.")
