"""From our configuration to the arguments of transformers' and TRL's trainers, the only place that knows both."""

from __future__ import annotations

import os
from typing import Any

import torch
from transformers import TrainingArguments

from conceptseg.errors import ConfigError
from conceptseg.training.config import MetaGRPOConfig, TrainingConfig, VllmSection
from conceptseg.training.sharding import asked_sharding

__all__ = ["common_arguments", "grpo_arguments", "use_one_device", "world_size"]


def world_size() -> int:
    """How many processes train, as their launcher says."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def common_arguments(config: TrainingConfig, steps: int, **more: Any) -> dict[str, Any]:
    """What both trainers are told.

    The run is one pass over `steps` updates of draws in an order of our own, so the trainer's own notions of epochs,
    shuffling and rotation of checkpoints are switched off.
    """
    place = _place(config.model.device)
    bf16 = place == "cuda" if config.bf16 is None else config.bf16
    return {
        "output_dir": str(config.out),
        "seed": config.seed,
        "max_steps": steps,
        "num_train_epochs": 1,
        "per_device_train_batch_size": config.per_device_batch_size,
        "gradient_accumulation_steps": config.accumulation_steps(world_size()),
        "learning_rate": config.learning_rate,
        "lr_scheduler_type": {"constant": "constant_with_warmup"}.get(config.scheduler, config.scheduler),
        "warmup_steps": config.warmup_steps,
        "optim": "adamw_torch",
        "weight_decay": config.weight_decay,
        "max_grad_norm": config.max_grad_norm,
        "bf16": bf16,
        "fp16": False,
        **_device_arguments(place),
        "logging_steps": config.log.every,
        "logging_nan_inf_filter": False,
        "report_to": list(config.log.to) or "none",
        "save_strategy": "steps",
        "save_steps": config.checkpoints.every,
        "save_total_limit": None,
        "dataloader_num_workers": config.workers,
        "dataloader_pin_memory": place == "cuda",
        "remove_unused_columns": False,
        "disable_tqdm": True,
        **more,
    }


def use_one_device(arguments: TrainingArguments) -> None:
    """Keep a process to one of the GPUs it sees: the trainer would split each batch among all, by `DataParallel`."""
    arguments._n_gpu = min(1, arguments.n_gpu)


def grpo_arguments(config: MetaGRPOConfig, steps: int) -> dict[str, Any]:
    """What TRL's trainer is told besides: its defaults differ from the paper's, so everything is said.

    Raises:
        ConfigError: the batch, or vLLM's copies, cannot be split over the processes.
    """
    accumulation = config.accumulation_steps(world_size())
    vllm = config.vllm
    choices: dict[str, Any] = {
        "num_generations": config.group_size,
        "steps_per_generation": accumulation,
        "num_iterations": 1,
        "max_completion_length": config.max_completion_tokens,
        "beta": config.beta,
        "epsilon": 0.2,
        "loss_type": "grpo",
        "scale_rewards": "group",
        "temperature": config.temperature,
        "top_p": config.top_p,
        "top_k": 0,
        "mask_truncated_completions": False,
        "disable_dropout": True,
        "shuffle_dataset": False,
        "gradient_checkpointing": config.policy.gradient_checkpointing,
        "log_completions": False,
        "use_vllm": vllm.use,
    }
    if vllm.use:
        choices |= {
            "vllm_mode": vllm.mode,
            "vllm_gpu_memory_utilization": vllm.memory_share,
            # Else vLLM keeps room for the MLLM's own limit, 128,000 tokens, or refuses to start.
            "vllm_max_model_length": config.max_prompt_tokens + config.max_completion_tokens,
            "vllm_tensor_parallel_size": _tensor_parallel(vllm),
            "vllm_enable_sleep_mode": vllm.sleep,
            "vllm_server_host": vllm.host,
            "vllm_server_port": vllm.port,
        }
    return common_arguments(config, steps, **choices)


def _tensor_parallel(vllm: VllmSection) -> int:
    if vllm.mode == "colocate" and world_size() % vllm.tensor_parallel:
        raise ConfigError(
            f"vllm.tensor_parallel {vllm.tensor_parallel} does not divide the {world_size()} process(es) of the run."
        )
    return vllm.tensor_parallel


def _device_arguments(place: str) -> dict[str, Any]:
    """Whether to stay on the CPU, in the trainers' terms; accelerate gives up DeepSpeed where `use_cpu` is said.

    Raises:
        ConfigError: DeepSpeed was asked for, and the CPU beside a GPU that DeepSpeed would take.
    """
    if place != "cpu" or asked_sharding() != "deepspeed":
        return {"use_cpu": place == "cpu"}
    if torch.cuda.is_available():
        raise ConfigError(
            "model.device is cpu, but DeepSpeed trains on the GPUs that it sees: hide them with CUDA_VISIBLE_DEVICES=, "
            "or leave model.device at auto."
        )
    return {"use_cpu": False, "ddp_backend": "gloo"}


def _place(device: str) -> str:
    """The kind of device that "auto" and the others stand for; an Apple GPU has to be named."""
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return device
