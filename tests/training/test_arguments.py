from __future__ import annotations

import pytest
import torch
from transformers import TrainingArguments

from conceptseg.training.arguments import common_arguments, use_one_device
from conceptseg.training.config_reading import load_config


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
