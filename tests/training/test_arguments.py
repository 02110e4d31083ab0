from __future__ import annotations

from contextlib import nullcontext
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
import torch
from transformers import Trainer, TrainingArguments
from trl import GRPOConfig

from conceptseg.errors import ConfigError
from conceptseg.training.arguments import common_arguments, grpo_arguments, use_one_device
from conceptseg.training.config_reading import load_config
from conceptseg.training.sharding import require_whole_segmenter


def test_one_process_trains_on_one_of_several_gpus(tmp_path):
    """The trainer would hand each of eight visible GPUs a batch of its own: eight times the batch of the recipe."""
    arguments = TrainingArguments(output_dir=str(tmp_path), per_device_train_batch_size=4, report_to=[], use_cpu=True)
    arguments._n_gpu = 8
    assert arguments.train_batch_size == 32
    use_one_device(arguments)
    assert (arguments.n_gpu, arguments.train_batch_size) == (1, 4)
    arguments._n_gpu = 0
    use_one_device(arguments)
    assert arguments.n_gpu == 0


@pytest.mark.parametrize(
    ("device", "has_cuda", "use_cpu", "bf16"),
    [
        ("auto", True, False, True),
        ("auto", False, True, False),
        ("cpu", True, True, False),
        ("cuda", True, False, True),
        ("mps", False, False, False),
    ],
)
def test_where_a_run_trains_and_how(monkeypatch, device, has_cuda, use_cpu, bf16):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_cuda)
    config = load_config("warmup", None, ["out=x", "data.world.count=1", f"model.device={device}"])
    told = common_arguments(config, 1)
    assert (told["use_cpu"], told["bf16"]) == (use_cpu, bf16)


@pytest.mark.parametrize(("has_cuda", "use_cpu"), [(False, False), (True, False)])
def test_deepspeed_is_not_told_to_stay_on_the_cpu(monkeypatch, has_cuda, use_cpu):
    """accelerate drops DeepSpeed without a word where `use_cpu` is set, and every process holds all the weights."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_cuda)
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    told = common_arguments(load_config("warmup", None, ["out=x", "data.world.count=1"]), 1)
    assert told["use_cpu"] is use_cpu
    assert told.get("ddp_backend") == (None if has_cuda else "gloo")
    cpu = load_config("warmup", None, ["out=x", "data.world.count=1", "model.device=cpu"])
    if has_cuda:
        with pytest.raises(ConfigError, match="DeepSpeed trains on the GPUs that it sees: hide them"):
            common_arguments(cpu, 1)


def vllm_arguments(*overrides):
    words = ["out=x", "data.world.count=1", "model.device=cpu", "batch_size=32", "per_device_batch_size=8"]
    told = grpo_arguments(load_config("meta-grpo", None, [*words, *overrides]), 1)
    return {name: value for name, value in told.items() if "vllm" in name}


def test_vllm_has_room_for_prompt_and_completion_and_no_more(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert vllm_arguments() == {"use_vllm": False}
    sizes = ["max_prompt_tokens=1500", "max_completion_tokens=300", "vllm.tensor_parallel=2", "vllm.sleep=true"]
    told = vllm_arguments("vllm.use=true", *sizes)
    assert told["vllm_max_model_length"] == 1800
    assert (told["vllm_tensor_parallel_size"], told["vllm_enable_sleep_mode"]) == (2, True)
    assert told.keys() <= GRPOConfig.__dataclass_fields__.keys()


def test_vllm_copies_that_the_processes_cannot_hold_are_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "4")
    with pytest.raises(ConfigError, match=r"vllm.tensor_parallel 3 does not divide the 4 process\(es\)"):
        vllm_arguments("vllm.use=true", "vllm.tensor_parallel=3")
    with pytest.raises(ConfigError, match="a server is told when it is started"):
        vllm_arguments("vllm.use=true", "vllm.mode=server", "vllm.sleep=true")


@pytest.mark.parametrize(
    ("zero_stage", "fsdp", "refused"), [(None, False, False), (2, False, False), (3, False, True), (None, True, True)]
)
def test_sam_is_not_taught_where_no_process_has_all_of_it(zero_stage, fsdp, refused):
    plugin = None if zero_stage is None else SimpleNamespace(zero_stage=zero_stage)
    state = SimpleNamespace(deepspeed_plugin=plugin)
    trainer = Mock(spec=Trainer, accelerator=SimpleNamespace(state=state), is_fsdp_enabled=fsdp)
    with pytest.raises(ConfigError, match=r"segmenter\.learns needs whole weights") if refused else nullcontext():
        require_whole_segmenter(trainer)
