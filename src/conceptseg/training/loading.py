"""The model as a run starts from it: a checkpoint, with what the configuration wants otherwise."""

from __future__ import annotations

import logging
from typing import Literal

import torch

from conceptseg.errors import CheckpointError, ConfigError, InputError
from conceptseg.models.checkpoints import open_checkpoint
from conceptseg.models.conceptseg import ConceptSegConfig, ConceptSegModel
from conceptseg.models.config import change_protocol
from conceptseg.models.translation import ConceptTranslation, TranslationConfig
from conceptseg.training.config import ModelSection, TrainingConfig

__all__ = [
    "DRAWING_PARTS",
    "load_for_training",
    "sources_of",
    "training_protocol",
    "wanted_translation",
    "weight_dtype",
]

DRAWING_PARTS = ("detr_encoder", "mask_decoder")
"""The modules of `Sam3Model` that lie between its eyes and the semantic mask: what learns when SAM 3 does."""

_DEFAULT_TOKENS = 8  # L2 of Table 7
_log = logging.getLogger(__name__)


def load_for_training(
    section: ModelSection,
    *,
    seed: int,
    device: str,
    dtype: str | None = None,
    max_new_tokens: int | None = None,
    needs_translation: bool = True,
) -> ConceptSegModel:
    """Load a model to train.

    Args:
        section: what to start from.
        seed: of a fresh concept translation's weights.
        device: where to load to.
        dtype: of the MLLM's weights, see `weight_dtype`; None is the loader's default.
        max_new_tokens: longest response; None keeps the checkpoint's.
        needs_translation: whether to make a concept translation where there is none and none is asked for.

    Raises:
        ConfigError: no such template.
        CheckpointError: see `conceptseg.models.loading.load_parts`, also for its other errors.
    """
    model = ConceptSegModel.from_pretrained(section.checkpoint, sam=section.sam, device=device, dtype=dtype)
    prompt_size = model.segmenter.prompt_size
    config = training_protocol(model.config, section, max_new_tokens)
    wanted = wanted_translation(section, config.translation, model.reasoner.hidden_size, prompt_size)
    translation = model.translation
    other_size = section.concept_tokens is not None and wanted != config.translation
    if section.fresh_translation or other_size or (needs_translation and translation is None):
        _log.info("The concept translation starts afresh: %s.", wanted)
        translation = _fresh(wanted, seed).to(model.device)
    config = config.model_copy(update={"translation": translation.config if translation else None})
    return ConceptSegModel(config, model.reasoner, translation, model.segmenter).eval()


def weight_dtype(config: TrainingConfig, *, on_cpu: bool, keeps_master: bool) -> Literal["float32", "bfloat16"]:
    """The type of the MLLM's weights in a run.

    All of an MLLM's weights learning at 1e-6 would lose most updates to rounding in bfloat16, so they are float32
    (computed with in bfloat16) unless the optimizer keeps float32 copies of its own, as DeepSpeed's does.

    Args:
        config: the run; a type that it names is taken.
        on_cpu: whether it trains on a CPU.
        keeps_master: whether the optimizer keeps float32 copies.
    """
    if config.model.dtype != "auto":
        return config.model.dtype
    return "float32" if on_cpu or (config.trains_whole_mllm and not keeps_master) else "bfloat16"


def wanted_translation(
    section: ModelSection, stored: TranslationConfig | None, hidden_size: int, prompt_size: int
) -> TranslationConfig:
    """Sizes of the concept translation that the configuration asks for, given the checkpoint's own."""
    if stored is None:
        tokens = section.concept_tokens or _DEFAULT_TOKENS
        return TranslationConfig(hidden_size=hidden_size, prompt_size=prompt_size, num_queries=tokens)
    return stored.model_copy(update={"num_queries": section.concept_tokens or stored.num_queries})


def training_protocol(config: ConceptSegConfig, section: ModelSection, max_new_tokens: int | None) -> ConceptSegConfig:
    """The checkpoint's config with the run's template and response length.

    Raises:
        ConfigError: no such template.
    """
    changes = {"template": section.template, "max_new_tokens": max_new_tokens}
    try:
        protocol = change_protocol(config.protocol, {name: value for name, value in changes.items() if value})
    except InputError as error:
        raise ConfigError(f"model.template: {error}") from error
    return config.model_copy(update={"protocol": protocol})


def _fresh(config: TranslationConfig, seed: int) -> ConceptTranslation:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return ConceptTranslation(config)


def sources_of(section: ModelSection) -> tuple[str, str]:
    """Where the MLLM and SAM 3 of a run lie on this machine, for checkpoints to name them.

    Raises:
        CheckpointError: there is no such checkpoint, or it has no SAM 3.
    """
    checkpoint = open_checkpoint(section.checkpoint, sam=section.sam)
    if checkpoint.sam_folder is None:
        raise CheckpointError(f"{section.checkpoint} comes without SAM 3: name one with model.sam.")
    return str(checkpoint.mllm_folder.resolve()), str(checkpoint.sam_folder.resolve())
