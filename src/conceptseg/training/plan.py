"""What a run would be, worked out before anything is loaded: samples, updates, parameters, memory."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import nn
from transformers import Sam3Config

from conceptseg.errors import CheckpointError, ConfigError
from conceptseg.models.checkpoints import open_checkpoint
from conceptseg.models.config import ConceptSegConfig
from conceptseg.models.families import mllm_class
from conceptseg.models.full_size import KNOWN_MODELS, qwen2_5_vl_config
from conceptseg.models.sam_files import sam_model
from conceptseg.models.translation import ConceptTranslation, TranslationConfig
from conceptseg.training.activations import segmenter_activations
from conceptseg.training.config import MetaGRPOConfig, ModelSection, TrainingConfig, WarmupConfig
from conceptseg.training.drawing import collect_samples
from conceptseg.training.loading import DRAWING_PARTS, training_protocol, wanted_translation, weight_dtype

__all__ = ["Launch", "Memory", "PartCount", "TrainingPlan", "plan_training", "read_launch"]

_FLOAT32, _BFLOAT16 = 4, 2
_ADAM_STATES = 2
_MASTER_BYTES = 3 * _FLOAT32  # DeepSpeed keeps a float32 copy of the weights beside both moments
_ACTIVATION_BYTES = 34  # a token, a layer, a unit of width: attention and MLP at 16 bits (Korthikanti et al., 2022)
_CHECKPOINT_BYTES = 2  # the same where a layer is computed again in the backward pass
_WORDS = 200  # an instruction's length in tokens, about


@dataclass(frozen=True)
class Launch:
    """How many processes share a run, and what they divide among themselves."""

    processes: int = 1
    kind: str = "one process"
    shards_weights: bool = False
    shards_gradients: bool = False
    shards_optimizer: bool = False
    keeps_master: bool = False
    """Whether the optimizer holds a float32 copy of 16-bit weights (DeepSpeed)."""


@dataclass(frozen=True)
class PartCount:
    """Parameters of one part."""

    name: str
    total: int
    trainable: int


@dataclass(frozen=True)
class Memory:
    """Bytes on each device; an estimate, in which activations are the least certain."""

    weights: int
    gradients: int
    optimizer: int
    reference: int
    """The reference policy's weights, for the KL term."""
    frozen: int
    """SAM 3, and in stage I the MLLM."""
    activations: int
    """Of the MLLM where it learns, and of SAM 3 where gradients pass through it."""

    @property
    def total(self) -> int:
        """All of it."""
        return self.weights + self.gradients + self.optimizer + self.reference + self.frozen + self.activations


@dataclass(frozen=True)
class TrainingPlan:
    """What a run would be."""

    samples: int
    held_out: int
    steps: int
    accumulation: int
    launch: Launch
    parts: tuple[PartCount, ...]
    memory: Memory
    responses: int = 0
    """Responses that stage I reads and keeps, at most: one for each sample and draw of its references."""

    @property
    def trainable(self) -> int:
        """Parameters that learn."""
        return sum(part.trainable for part in self.parts)

    @property
    def total(self) -> int:
        """All parameters."""
        return sum(part.total for part in self.parts)


@dataclass(frozen=True)
class _Sizes:
    mllm: Any
    """An MLLM's config; transformers types its parts loosely."""
    sam: Any
    """A `Sam3Config`, or that of a variant."""
    config: ConceptSegConfig


def plan_training(config: TrainingConfig, launch: Launch | None = None) -> TrainingPlan:
    """Work out a run: the samples are counted, the model is built without memory, nothing is loaded or written.

    Args:
        config: the run.
        launch: the processes that would share it; one by default.

    Raises:
        ConfigError: the batch cannot be split over the processes, or there is no such template.
        CheckpointError: there is no such checkpoint.
        SampleError: a folder is no folder of samples.
    """
    launch = launch or Launch()
    accumulation = config.accumulation_steps(launch.processes)
    train, held_out = collect_samples(config.data, config.seed)
    sizes = _sizes_of(config.model)
    parts = _count(config, sizes)
    steps = config.update_steps(len(train))
    return TrainingPlan(
        samples=len(train),
        held_out=len(held_out),
        steps=steps,
        accumulation=accumulation,
        launch=launch,
        parts=parts,
        memory=_memory(config, sizes, parts, launch),
        responses=_responses(config, steps, len(train)) if isinstance(config, WarmupConfig) else 0,
    )


def _responses(config: WarmupConfig, steps: int, samples: int) -> int:
    shown, draws = steps * config.batch_size, config.data.references.draws
    return shown if draws is None else min(shown, draws * samples)


def read_launch(file: Path) -> Launch:
    """What an `accelerate launch --config_file` would start.

    Raises:
        ConfigError: the file cannot be read, or names a kind of launch that is not known here.
    """
    try:
        values: Any = yaml.safe_load(file.read_text(encoding="utf-8"))
        kind, processes = str(values["distributed_type"]), int(values["num_processes"])
    except OSError as error:
        raise ConfigError(f"Cannot read {file}: {error.strerror}.") from error
    except (yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"{file} is no configuration of accelerate: {error}.") from error
    plain = Launch(processes, f"{processes} process(es)")
    if kind == "DEEPSPEED":
        stage = int(values["deepspeed_config"]["zero_stage"])
        return replace(
            plain,
            kind=f"DeepSpeed ZeRO-{stage}, {processes} processes",
            shards_weights=stage >= 3,
            shards_gradients=stage >= 2,
            shards_optimizer=stage >= 1,
            keeps_master=True,
        )
    if kind == "FSDP":
        return replace(
            plain,
            kind=f"FSDP, {processes} processes",
            shards_weights=True,
            shards_gradients=True,
            shards_optimizer=True,
        )
    if kind in ("NO", "MULTI_GPU", "MULTI_CPU"):
        return plain
    raise ConfigError(f"{file}: distributed_type {kind!r} is not known here.")


def _sizes_of(section: ModelSection) -> _Sizes:
    """The architecture of a checkpoint; published models are known without the hub."""
    names = section.checkpoint.split("+")
    known = KNOWN_MODELS.get(names[0])
    if known is not None and known.size and not Path(names[0]).exists():
        config = ConceptSegConfig(name=section.checkpoint, translation=known.translation)
        return _Sizes(qwen2_5_vl_config(known.size), Sam3Config(), config)
    checkpoint = open_checkpoint(section.checkpoint, sam=section.sam)
    if checkpoint.sam_config is None:
        raise CheckpointError(f"{section.checkpoint} comes without SAM 3: name one with model.sam.")
    return _Sizes(checkpoint.mllm_config, checkpoint.sam_config, checkpoint.config)


def _count(config: TrainingConfig, sizes: _Sizes) -> tuple[PartCount, ...]:
    training_protocol(sizes.config, config.model, None)
    with torch.device("meta"):
        mllm = mllm_class(sizes.mllm)(sizes.mllm)
        mllm.tie_weights()
        sam = sam_model(sizes.sam)
        translation = _parameters(ConceptTranslation(_translation(config, sizes)))
    vision = _parameters(mllm.model.visual)
    language = _parameters(mllm) - vision
    if isinstance(config, WarmupConfig):
        tunes = config.trains == "responses"
        learning = (vision if tunes else 0, language if tunes else 0, 0 if tunes else translation)
    elif config.policy.mllm == "lora":
        learning = (0, _adapter(mllm.model.language_model, config), translation if config.trains_translation else 0)
    else:
        learning = (
            vision if config.policy.vision else 0,
            language,
            translation if config.trains_translation else 0,
        )
    adapter = learning[1] if isinstance(config, MetaGRPOConfig) and config.policy.mllm == "lora" else 0
    return (
        PartCount("MLLM, vision tower", vision, learning[0]),
        PartCount("MLLM, language model", language + adapter, learning[1]),
        PartCount("concept translation", translation, learning[2]),
        PartCount("SAM 3", _parameters(sam), _drawing_parts(sam) if _teaches_sam(config) else 0),
    )


def _teaches_sam(config: TrainingConfig) -> bool:
    return isinstance(config, WarmupConfig) and config.segmenter.learns


def _drawing_parts(sam: nn.Module) -> int:
    return sum(_parameters(getattr(sam, name)) for name in DRAWING_PARTS)


def _translation(config: TrainingConfig, sizes: _Sizes) -> TranslationConfig:
    width = sizes.mllm.text_config.hidden_size
    prompt = sizes.sam.detr_encoder_config.hidden_size
    return wanted_translation(config.model, sizes.config.translation, width, prompt)


def _adapter(language_model: nn.Module, config: MetaGRPOConfig) -> int:
    """Parameters of a LoRA adapter: rank × (inputs + outputs) a layer."""
    ends = re.compile(rf".*\.({'|'.join(map(re.escape, config.policy.lora.targets))})")
    layers = [m for name, m in language_model.named_modules() if isinstance(m, nn.Linear) and ends.fullmatch(name)]
    return sum(config.policy.lora.rank * (layer.in_features + layer.out_features) for layer in layers)


def _memory(config: TrainingConfig, sizes: _Sizes, parts: tuple[PartCount, ...], launch: Launch) -> Memory:
    vision, language, translation, sam = parts
    wide = _weight_bytes(config, launch)
    mllm = vision.total + language.total
    learning = vision.trainable + language.trainable
    ours = translation.trainable + sam.trainable  # always float32
    is_policy = isinstance(config, MetaGRPOConfig) or config.trains == "responses"

    def share(count: int, *, sharded: bool) -> int:
        return count // launch.processes if sharded else count

    states = _MASTER_BYTES if launch.keeps_master and wide == _BFLOAT16 else _ADAM_STATES * wide
    weights = mllm * wide if is_policy else 0
    reference = isinstance(config, MetaGRPOConfig) and config.beta > 0 and config.policy.mllm == "full"
    return Memory(
        weights=share(weights + translation.total * _FLOAT32, sharded=launch.shards_weights),
        gradients=share(learning * wide + ours * _FLOAT32, sharded=launch.shards_gradients),
        optimizer=share(learning * states + ours * _ADAM_STATES * _FLOAT32, sharded=launch.shards_optimizer),
        reference=share(mllm * wide, sharded=launch.shards_weights) if reference else 0,
        frozen=sam.total * _FLOAT32 + (0 if is_policy else mllm * wide),
        activations=(_activation_bytes(config, sizes) if is_policy else 0) + _mask_bytes(config, sizes),
    )


def _mask_bytes(config: TrainingConfig, sizes: _Sizes) -> int:
    """What SAM 3 keeps of a batch for the way back to the concept tokens."""
    learns = config.trains == "translation" if isinstance(config, WarmupConfig) else config.segmentation.weight > 0
    return config.per_device_batch_size * segmenter_activations(sizes.sam) * _FLOAT32 if learns else 0


def _activation_bytes(config: TrainingConfig, sizes: _Sizes) -> int:
    text = sizes.mllm.text_config
    vision = sizes.mllm.vision_config
    square = vision.patch_size * vision.spatial_merge_size
    images = 2 * (sizes.config.protocol.frame_px // square) ** 2
    said = config.max_completion_tokens if isinstance(config, MetaGRPOConfig) else config.responses.max_new_tokens
    said = said or sizes.config.protocol.max_new_tokens
    tokens = min(images + _WORDS, config.max_prompt_tokens) + said
    units = config.per_device_batch_size * tokens * text.hidden_size
    recompute = isinstance(config, MetaGRPOConfig) and config.policy.gradient_checkpointing
    layers = text.num_hidden_layers
    kept = _CHECKPOINT_BYTES * layers + _ACTIVATION_BYTES if recompute else _ACTIVATION_BYTES * layers
    return units * kept * (2 if config.model.device == "cpu" else 1)


def _weight_bytes(config: TrainingConfig, launch: Launch) -> int:
    dtype = weight_dtype(config, on_cpu=config.model.device == "cpu", keeps_master=launch.keeps_master)
    return _FLOAT32 if dtype == "float32" else _BFLOAT16


def _parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
