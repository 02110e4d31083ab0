"""LoRA: the adapter that a run trains, and the model that comes of merging it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from conceptseg.errors import CheckpointError, MissingExtraError
from conceptseg.models.conceptseg import ConceptSegModel
from conceptseg.models.reasoner import Reasoner
from conceptseg.training.config import MetaGRPOConfig
from conceptseg.training.policy import join_translation, take_translation

__all__ = ["ADAPTER_FOLDER", "lora_config", "merge_adapter"]

ADAPTER_FOLDER = "adapter"
"""Where a checkpoint of a LoRA run keeps what was trained; such a checkpoint is no model of its own."""


def lora_config(config: MetaGRPOConfig) -> Any:
    """The adapter of a run in peft's terms: the language model's layers, and all of the translation where it learns.

    Raises:
        MissingExtraError: peft is not installed.
    """
    try:
        from peft import LoraConfig
    except ImportError as error:
        raise MissingExtraError("LoRA needs peft: pip install 'conceptseg[train]'.") from error
    section = config.policy.lora
    return LoraConfig(
        r=section.rank,
        lora_alpha=section.alpha,
        lora_dropout=section.dropout,
        target_modules=rf".*language_model.*\.({'|'.join(section.targets)})",
        modules_to_save=["concept_translation"] if config.trains_translation else None,
        task_type="CAUSAL_LM",
    )


def merge_adapter(model: ConceptSegModel, checkpoint: Path) -> ConceptSegModel:
    """The model that a LoRA run started from, with what a checkpoint of the run has learned.

    Args:
        model: as it was before the first update; its MLLM is changed in place.
        checkpoint: a checkpoint of the run.

    Raises:
        CheckpointError: the checkpoint's adapter is missing or does not fit.
    """
    from peft import PeftModel

    folder, mllm = checkpoint / ADAPTER_FOLDER, model.reasoner.mllm
    if model.translation is not None:
        join_translation(mllm, model.translation)
    try:
        merged: Any = PeftModel.from_pretrained(mllm, str(folder)).merge_and_unload()
    except (OSError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"The adapter of {folder} cannot be merged: {error}") from error
    translation = take_translation(merged)
    segmenter = model.segmenter if model.has_segmenter else None
    return ConceptSegModel(model.config, Reasoner(merged, model.reasoner.processor), translation, segmenter).eval()
