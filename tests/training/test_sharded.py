"""Runs whose weights are divided among processes (DeepSpeed ZeRO, FSDP2) learn what one process learns.

The launch is that of `recipes/accelerate`, in float32 and on CPUs; deepspeed has to be installed (docs/training.md).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.utils.launch import prepare_deepspeed_cmd_env, prepare_multi_gpu_env
from safetensors.torch import load_file

from conceptseg.models.conceptseg import ConceptSegModel
from conceptseg.training.config_reading import load_config, save_config
from conceptseg.training.run import train

pytestmark = pytest.mark.slow

RECIPES = Path(__file__).parents[2] / "recipes" / "accelerate"
needs_deepspeed = pytest.mark.skipif(find_spec("deepspeed") is None, reason="deepspeed is not installed")
LAUNCHES = [
    pytest.param("eight_gpus_zero2.yaml", 1, marks=needs_deepspeed),
    pytest.param("eight_gpus_zero2.yaml", 2, marks=needs_deepspeed),
    pytest.param("eight_gpus_zero3.yaml", 1, marks=needs_deepspeed),
    pytest.param("eight_gpus_zero3.yaml", 2, marks=needs_deepspeed),
    pytest.param("eight_gpus_fsdp.yaml", 2),
]
COMMON = [
    "model.device=cpu",
    "log.to=[]",
    "log.every=1",
    "log.watched=0",
    "learning_rate=1e-3",
    "seed=3",
    "max_steps=2",
]
GRPO = ["batch_size=8", "per_device_batch_size=8", "group_size=4", "max_completion_tokens=6", "top_p=1e-6"]
RUNS = {
    "warmup": ["batch_size=4", "per_device_batch_size=4", "responses.max_new_tokens=6"],
    "meta-grpo": GRPO,
    "meta-grpo lora": [*GRPO, "policy.mllm=lora", "policy.lora.rank=4"],
}


@pytest.fixture(scope="module")
def configure(tiny_checkpoint, squares, tmp_path_factory):
    """A run's configuration and its file, with the batch divided among so many processes."""
    folder = tmp_path_factory.mktemp("runs")

    def build(run, name, *overrides, processes=1):
        stage, out = run.split()[0], folder / f"{run.replace(' ', '_')}-{name}"
        words = [
            f"out={out}",
            f"model.checkpoint={tiny_checkpoint}",
            f"data.folders=[{squares}]",
            "max_steps=2",
            *COMMON,
            *RUNS[run],
        ]
        config = load_config(stage, None, [*words, *overrides])
        config = config.model_copy(update={"per_device_batch_size": config.per_device_batch_size // processes})
        save_config(config, out.with_suffix(".yaml"))
        return config, out.with_suffix(".yaml")

    return build


@pytest.fixture(scope="module")
def alone(configure):
    """The weights that one process learns without a launcher, by run."""
    learned = {}

    def weights(run):
        if run not in learned:
            config, _ = configure(run, "alone")
            train(config)
            learned[run] = weights_of(config.out / "model")
        return learned[run]

    return weights


def weights_of(folder):
    files = sorted(folder.rglob("*.safetensors"))
    return {f"{file.relative_to(folder)}:{name}": value for file in files for name, value in load_file(file).items()}


def environment_of(recipe, processes):
    """What `accelerate launch` would start processes with, in float32 and without a GPU."""
    words = ["--config_file", str(RECIPES / recipe), "--num_processes", str(processes), "--mixed_precision", "no", "x"]
    arguments, _, _ = _validate_launch_command(launch_command_parser().parse_args(words))
    arguments.deepspeed_fields_from_accelerate_config = ""
    told = prepare_deepspeed_cmd_env(arguments)[1] if arguments.use_deepspeed else prepare_multi_gpu_env(arguments)
    here = {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": os.pathsep.join(sys.path)}
    return told | here


def launch(recipe, processes, config, file):
    starts = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={processes}", "--master-port=29613"]
    # DeepSpeed divides on CPUs as it is; for FSDP accelerate has to be told that its processes are GPUs.
    program = "tests.training.sharded" if "fsdp" in recipe else "conceptseg.interfaces.cli"
    command = [*starts, "-m", program, "train", config.stage, "--config", str(file)]
    environment = environment_of(recipe, processes)
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=3000, check=False)


@pytest.mark.parametrize(("recipe", "processes"), LAUNCHES)
@pytest.mark.parametrize("run", RUNS)
def test_divided_weights_learn_what_whole_ones_do(configure, alone, tiny_checkpoint, run, recipe, processes):
    config, file = configure(run, f"{recipe}-{processes}", processes=processes)
    done = launch(recipe, processes, config, file)
    assert done.returncode == 0, done.stderr[-3000:]
    assert ("Parameters are sharded" in done.stderr) == ("zero2" not in recipe)  # else this is plain DDP
    before, expected, learned = weights_of(tiny_checkpoint), alone(run), weights_of(config.out / "model")
    assert learned.keys() == expected.keys()
    assert all(torch.allclose(learned[name], expected[name], atol=1e-4) for name in expected)
    assert max(float((learned[name] - before[name]).abs().max()) for name in before) > 1e-3
    ConceptSegModel.from_pretrained(config.out / "model")


@needs_deepspeed
def test_a_divided_run_resumes(configure):
    length = ["max_steps=4", "checkpoints.every=2"]
    config, file = configure("meta-grpo lora", "resumed", *length)
    for _ in range(2):
        done = launch("eight_gpus_zero3.yaml", 1, config, file)
        assert done.returncode == 0, done.stderr[-3000:]
        if "Resuming" not in done.stderr:
            straight = weights_of(config.out / "model")
            shutil.rmtree(config.out / "checkpoint-4")
            shutil.rmtree(config.out / "model")
    assert "Resuming from" in done.stderr
    resumed = weights_of(config.out / "model")
    assert all(torch.allclose(resumed[name], straight[name], atol=1e-6) for name in straight)


@needs_deepspeed
def test_a_launch_whose_checkpoints_would_be_empty_is_refused(configure, monkeypatch):
    config, file = configure("warmup", "apart")
    monkeypatch.setattr(f"{__name__}.environment_of", _apart(environment_of))
    done = launch("eight_gpus_zero3.yaml", 1, config, file)
    assert done.returncode != 0
    assert "a checkpoint would hold no weights: set deepspeed_config.zero3_save_16bit_model: true" in done.stderr
    assert not (config.out / "checkpoint-2").exists()


def _apart(build):
    def environment(recipe, processes):
        return build(recipe, processes) | {"ACCELERATE_DEEPSPEED_ZERO3_SAVE_16BIT_MODEL": "false"}

    return environment
