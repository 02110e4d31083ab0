"""Runs in processes of their own: two that share a batch, and one that is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from safetensors.torch import load_file

from conceptseg.training.config_reading import load_config, save_config
from conceptseg.training.run import train

pytestmark = pytest.mark.slow

COMMON = ["model.device=cpu", "log.to=[]", "log.every=1", "log.watched=0", "learning_rate=1e-3", "seed=3"]
STAGES = {
    "warmup": ["batch_size=4", "per_device_batch_size=4", "responses.source=template"],
    # Always the likeliest token: what is sampled would depend on which process samples it.
    "meta-grpo": ["batch_size=8", "per_device_batch_size=8", "group_size=4", "max_completion_tokens=6", "top_p=1e-6"],
}


@pytest.fixture
def recipe(tiny_checkpoint, squares, tmp_path):
    def write(stage, out, *overrides):
        where = [f"out={tmp_path / out}", f"model.checkpoint={tiny_checkpoint}", f"data.folders=[{squares}]"]
        config = load_config(stage, None, [*where, *COMMON, *STAGES[stage], *overrides])
        save_config(config, tmp_path / f"{out}.yaml")
        return config, tmp_path / f"{out}.yaml"

    return write


def environment():
    return os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}


def losses_of(out, step):
    history = json.loads((out / f"checkpoint-{step}" / "trainer_state.json").read_text())["log_history"]
    return [line["loss"] for line in history if "loss" in line]


def weights_of(out):
    files = sorted((out / "model").rglob("*.safetensors"))
    return {f"{file.parent.name}/{name}": value for file in files for name, value in load_file(file).items()}


@pytest.mark.parametrize("stage", STAGES)
def test_two_processes_learn_what_one_does(recipe, stage):
    alone, _ = recipe(stage, "alone", "max_steps=4")
    train(alone)
    half = f"per_device_batch_size={alone.per_device_batch_size // 2}"
    shared, file = recipe(stage, "shared", "max_steps=4", half)
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--master-port=29611"]
    command = [*launch, "-m", "conceptseg.interfaces.cli", "train", stage, "--config", str(file)]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert losses_of(shared.out, 4) == pytest.approx(losses_of(alone.out, 4), abs=1e-4)
    one, two = weights_of(alone.out), weights_of(shared.out)
    assert all(torch.allclose(one[name], two[name], atol=1e-4) for name in one)


@pytest.mark.parametrize("stage", STAGES)
def test_a_killed_run_goes_on_bit_for_bit(recipe, stage):
    length = (
        ["max_steps=6", "checkpoints.every=2", "top_p=1"]
        if stage == "meta-grpo"
        else ["max_steps=6", "checkpoints.every=2"]
    )
    straight, _ = recipe(stage, "straight", *length)
    train(straight)
    killed, file = recipe(stage, "killed", *length)
    command = [sys.executable, "-m", "conceptseg.interfaces.cli", "train", stage, "--config", str(file)]
    process = subprocess.Popen(command, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for(killed.out / "checkpoint-2" / "training_state.json")
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (killed.out / "model").exists(), "the run was over before it was killed"
    again = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=600, check=False)
    assert again.returncode == 0, again.stderr[-2000:]
    one, two = weights_of(straight.out), weights_of(killed.out)
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_a_terminated_run_says_so(recipe):
    config, file = recipe("warmup", "terminated", "max_steps=2000", "checkpoints.every=1")
    command = [sys.executable, "-m", "conceptseg.interfaces.cli", "train", "warmup", "--config", str(file)]
    process = subprocess.Popen(command, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for(config.out / "checkpoint-1" / "training_state.json")
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=120) == 143


def wait_for(path, seconds=300):
    deadline = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} did not appear"
        time.sleep(0.02)
