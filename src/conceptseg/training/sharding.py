"""What a run must know of how its launcher divides the weights among processes (DeepSpeed ZeRO, FSDP)."""

from __future__ import annotations

import os
from typing import Any, Literal

from transformers import Trainer

from conceptseg.errors import ConfigError

__all__ = ["asked_sharding", "is_sharded", "require_gatherable", "require_whole_segmenter", "wrap_modules"]


def asked_sharding() -> Literal["deepspeed", "fsdp"] | None:
    """What `accelerate launch` was told to divide the training with, as the processes that it starts see it."""
    if _is_on("ACCELERATE_USE_DEEPSPEED"):
        return "deepspeed"
    return "fsdp" if _is_on("ACCELERATE_USE_FSDP") else None


def is_sharded(trainer: Trainer) -> bool:
    """Whether no process has all of the weights that are trained."""
    plugin: Any = getattr(trainer.accelerator.state, "deepspeed_plugin", None)
    return trainer.is_fsdp_enabled or (plugin is not None and plugin.zero_stage == 3)


def require_gatherable(trainer: Trainer) -> None:
    """Refuse a launch whose checkpoints would hold no whole weights, before anything is trained.

    Raises:
        ConfigError: its settings keep the shards apart, or are not heeded where it runs; the setting is named.
    """
    if asked_sharding() == "fsdp" and not trainer.is_fsdp_enabled:
        raise ConfigError(
            f"accelerate was told to use FSDP, but it does not on {trainer.args.device.type}: every process would hold "
            "all the weights. Launch without FSDP, or on GPUs."
        )
    state: Any = trainer.accelerator.state
    deepspeed, fsdp = getattr(state, "deepspeed_plugin", None), getattr(state, "fsdp_plugin", None)
    if deepspeed is not None and deepspeed.zero_stage == 3:
        zero = deepspeed.deepspeed_config.get("zero_optimization", {})
        if not zero.get("stage3_gather_16bit_weights_on_model_save", False):
            raise ConfigError(
                "Under ZeRO-3 a checkpoint would hold no weights: set deepspeed_config.zero3_save_16bit_model: true in "
                "the configuration of `accelerate launch` (stage3_gather_16bit_weights_on_model_save in DeepSpeed's)."
            )
    if trainer.is_fsdp_enabled and fsdp is not None and "FULL_STATE_DICT" not in str(fsdp.state_dict_type):
        raise ConfigError(
            "Under FSDP a checkpoint would hold no weights: set fsdp_config.fsdp_state_dict_type: FULL_STATE_DICT in "
            f"the configuration of `accelerate launch`, which has {fsdp.state_dict_type}."
        )


def require_whole_segmenter(trainer: Trainer) -> None:
    """Refuse to teach SAM 3 where no process has all of its weights: a checkpoint writes it as it stands.

    Raises:
        ConfigError: the launch divides the weights that are trained.
    """
    if is_sharded(trainer):
        raise ConfigError(
            "segmenter.learns needs whole weights, which this launch divides among processes (ZeRO-3 or FSDP): launch "
            "with ZeRO-2 or without either, or set segmenter.learns=false."
        )


def wrap_modules(trainer: Trainer, *class_names: str) -> None:
    """Under FSDP, divide the trained module at its own layers: a launch file names the MLLM's.

    Args:
        trainer: before it prepares its model.
        class_names: of the layers.
    """
    plugin: Any = getattr(trainer.accelerator.state, "fsdp_plugin", None)
    if plugin is not None and plugin.transformer_cls_names_to_wrap is not None:
        plugin.transformer_cls_names_to_wrap = list(class_names)


def _is_on(name: str) -> bool:
    return os.environ.get(name, "false").lower() in ("true", "1")
