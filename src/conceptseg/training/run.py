"""A training run from its configuration to a model on disk: both stages, fresh or resumed."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
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
from conceptseg.training.arguments import common_arguments, grpo_arguments, use_one_device
from conceptseg.training.callbacks import CONFIG_COPY, CheckpointKeeper, HeldOutMeter, ProgressLine, StopOnSignal
from conceptseg.training.checking import check_samples, list_rejections, require_some, require_usable, sort_out
from conceptseg.training.checkpoints import CheckpointWriter, complete_checkpoints, latest_checkpoint, require_room
from conceptseg.training.config import MetaGRPOConfig, TrainingConfig, WarmupConfig
from conceptseg.training.config_reading import save_config
from conceptseg.training.drawing import SampleOrder, SampleSet, Turn, collect_samples
from conceptseg.training.episodes import EpisodeBuilder
from conceptseg.training.loading import load_for_training, sources_of, weight_dtype
from conceptseg.training.pictures import Watcher, contact_sheet, plot_curves
from conceptseg.training.responses import fill_store
from conceptseg.training.sharding import asked_sharding, is_sharded, require_gatherable
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


def train(config: TrainingConfig) -> RunResult:
    """Run a stage from its configuration; resumes the newest whole checkpoint of its folder.

    Raises:
        InputError: the configuration contradicts the folder, the samples or the model.
        TrainingError: no usable sample, a loss that is no number, a full disk.
        ResourceError: the folder cannot be written to, or the device is not there.
        MissingExtraError: a package that training needs is not installed.
    """
    _require_packages(config)
    pick_device(config.model.device)
    require_room(config.out, 0)
    resume = latest_checkpoint(config.out, config)
    material = _collect(config)
    save_config(config, config.out / CONFIG_COPY)
    if isinstance(config, WarmupConfig):
        trainer, stop = _build_warmup(config, material)
    else:
        trainer, stop = _build_grpo(config, material)
    trainer.remove_callback(PrinterCallback)
    require_gatherable(trainer)
    require_room(config.out, _checkpoint_bytes(trainer))
    if resume is not None:
        _log.info("Resuming from %s.", resume)
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


def _build_warmup(config: WarmupConfig, material: _Material) -> tuple[Trainer, StopOnSignal]:
    from conceptseg.training.tuning import ResponseTrainer, TuningData
    from conceptseg.training.warmup import WarmupData, WarmupTrainer

    arguments = TrainingArguments(**common_arguments(config, material.steps))
    use_one_device(arguments)
    tokens = config.responses.max_new_tokens
    model = _load(config, arguments, max_new_tokens=tokens, needs_translation=config.trains == "translation")
    build = _episode_builder(config, model, material)
    store, find = _state_store(config, model, build)
    order = SampleOrder(
        len(material.train), material.steps * config.batch_size, config.seed, config.data.references.draws
    )
    addresses = find(material.train, order)
    stop, writer = StopOnSignal(), _writer(config, model)
    if config.trains == "responses":
        tuning = TuningData(material.train, order, build, store, addresses)
        return ResponseTrainer(config, model, tuning, writer, arguments, _callbacks(config, stop)), stop
    side_px = model.segmenter.image_px
    data = WarmupData(material.train, order, store, addresses, side_px)
    trainer = WarmupTrainer(config, model, data, writer, arguments, _callbacks(config, stop))
    if is_sharded(trainer):
        _log.info(_UNSEEN)
        return trainer, stop
    aside = material.held_out or material.train[: config.log.watched]
    turns = [Turn(place) for place in range(len(aside))]
    held_out = WarmupData(aside, turns, store, find(aside, turns), side_px)
    if config.log.watched:
        trainer.add_callback(Watcher(config.out, lambda: trainer.look_at(held_out, config.log.watched)))
    if material.held_out:
        trainer.add_callback(_meter(config, trainer, lambda: trainer.measure(held_out)))
    return trainer, stop


def _build_grpo(config: MetaGRPOConfig, material: _Material) -> tuple[Trainer, StopOnSignal]:
    from trl import GRPOConfig

    from conceptseg.training.measuring import look_at, measure_rewards
    from conceptseg.training.meta_grpo import MetaGRPOTrainer
    from conceptseg.training.rollouts import episode_dataset

    arguments = GRPOConfig(**grpo_arguments(config, material.steps))
    use_one_device(arguments)
    model = _load(config, arguments, max_new_tokens=config.max_completion_tokens, needs_translation=False)
    build = _episode_builder(config, model, material)
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

        def measure() -> dict[str, float]:
            rows = measure_rewards(trainer.as_model(), aside, config)
            return {f"held_out/{name}": sum(row[name] for row in rows) / len(rows) for name in rows[0]}

        trainer.add_callback(_meter(config, trainer, measure))
    return trainer, stop


def _collect(config: TrainingConfig) -> _Material:
    samples, held_out = collect_samples(config.data, config.seed)
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


def _episode_builder(config: TrainingConfig, model: ConceptSegModel, material: _Material) -> EpisodeBuilder:
    references = config.data.references
    others = [sample for _, sample in material.train.stored()]
    seed = config.seed if references.seed is None else references.seed
    drawer = ReferenceDrawer(others, seed, count=references.count, from_others=references.from_others)
    return EpisodeBuilder(model, drawer.references_of, withhold_proxy=references.withhold_proxy)


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
    return sum(3 * p.numel() * p.element_size() for p in learning)


def _writer(config: TrainingConfig, model: ConceptSegModel) -> CheckpointWriter:
    mllm, sam = sources_of(config.model)
    return CheckpointWriter(model.config, mllm, sam, model.reasoner.processor)


def _callbacks(config: TrainingConfig, stop: StopOnSignal) -> list[Any]:
    return [stop, CheckpointKeeper(config), ProgressLine(config.batch_size, _SHOWN)]


def _meter(config: TrainingConfig, trainer: Any, measure: Callable[[], dict[str, float]]) -> HeldOutMeter:
    return HeldOutMeter(measure, trainer.log, trainer.numbers, config.log.evaluate_every)


def _finish(config: TrainingConfig, trainer: Trainer, result: RunResult) -> None:
    """Curves, the contact sheet, and the whole model from the last checkpoint."""
    plot_curves(trainer.state.log_history, config.out, _TITLES)
    contact_sheet(config.out)
    if result.model is None:
        _log.info("Stopped at update %d; the same command goes on from there.", result.steps)
        return
    _final_model(config, trainer).save_pretrained(result.model)
    _log.info("Done after %d updates: %s.", result.steps, result.model)


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
