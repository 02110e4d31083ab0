"""Whole runs of both stages at the smallest size: what they leave, how they stop, and that they resume exactly."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from conceptseg.errors import InputError, MissingExtraError, ResourceError, TrainingError
from conceptseg.models.conceptseg import ConceptSegModel
from conceptseg.training.callbacks import ProgressLine
from conceptseg.training.checkpoints import (
    STATE_FILE,
    CheckpointWriter,
    complete_checkpoints,
    explain_full_disk,
    latest_checkpoint,
    prune_checkpoints,
    require_room,
)
from conceptseg.training.config_reading import load_config
from conceptseg.training.run import train

SHORT = ["log.to=[]", "log.every=1", "log.watched=0", "checkpoints.every=2", "max_steps=4", "learning_rate=1e-2"]
STAGES = {
    "warmup": ["batch_size=4", "per_device_batch_size=2", "responses.max_new_tokens=6", "responses.batch_size=4"],
    "meta-grpo": ["batch_size=4", "per_device_batch_size=2", "group_size=2", "max_completion_tokens=6"],
}


@pytest.fixture
def configure(tiny_checkpoint, squares, tmp_path):
    def build(stage, *overrides, out="run"):
        where = [f"out={tmp_path / out}", f"model.checkpoint={tiny_checkpoint}", f"data.folders=[{squares}]"]
        return load_config(stage, None, [*where, "model.device=cpu", *SHORT, *STAGES[stage], *overrides])

    return build


def weights_of(folder):
    """All tensors of a checkpoint, by the file they are in."""
    files = sorted(folder.rglob("*.safetensors"))
    return {f"{file.relative_to(folder)}:{name}": value for file in files for name, value in load_file(file).items()}


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


class Crash(RuntimeError):
    """As if the process had died."""


def crash_at(monkeypatch, step):
    def fail(self, args, state, control, **_):
        if state.global_step == step:
            raise Crash

    monkeypatch.setattr(ProgressLine, "on_step_end", fail)


def test_a_run_that_breaks_off_gives_the_signal_back(configure, monkeypatch):
    before = signal.getsignal(signal.SIGTERM)
    crash_at(monkeypatch, 1)
    with pytest.raises(Crash):
        train(configure("warmup"))
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.parametrize("stage", STAGES)
def test_a_resumed_run_ends_bit_for_bit_the_same(configure, monkeypatch, stage):
    looked_at = ["log.watched=1", "data.held_out=2", "log.evaluate_every=1"]  # to look must change nothing
    straight = configure(stage, *looked_at, out="straight")
    train(straight)
    broken = configure(stage, *looked_at, out="broken")
    with monkeypatch.context() as patch:
        crash_at(patch, 3)
        with pytest.raises(Crash):
            train(broken)
    assert [path.name for path in complete_checkpoints(broken.out)] == ["checkpoint-2"]
    assert not (broken.out / "model").exists()
    assert train(broken).steps == 4
    assert same(weights_of(broken.out / "model"), weights_of(straight.out / "model"))


def test_the_warm_up_changes_the_translation_alone(configure, tiny_checkpoint):
    config = configure("warmup", "data.held_out=2", "log.watched=1", "log.evaluate_every=2")
    result = train(config)
    assert (result.steps, result.stopped, result.rejected) == (4, False, 0)
    before, after = weights_of(tiny_checkpoint), weights_of(config.out / "model")
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert all(name.startswith("ctm.safetensors:") for name in changed)
    assert (config.out / "curves.png").is_file()
    sheet = Image.open(config.out / "contact_sheet.png")
    assert sheet.width == 3 * 168  # at 0, 2 and 4
    history = json.loads((config.out / "checkpoint-4" / "trainer_state.json").read_text())["log_history"]
    assert [line["step"] for line in history if "held_out/miou" in line] == [0, 2, 4]
    assert all("miou" in line for line in history if "loss" in line)


def test_the_second_stage_measures_and_shows_itself(configure):
    config = configure("meta-grpo", "data.held_out=2", "log.watched=1", "data.references.count=2")
    train(config)
    history = json.loads((config.out / "checkpoint-4" / "trainer_state.json").read_text())["log_history"]
    measured = [line for line in history if "held_out/meta" in line]
    assert [line["step"] for line in measured] == [0, 4]
    # Measuring puts the policy into evaluation mode, and TRL logs by mode: the update's own numbers must not get lost.
    assert all({"kl", "reward", "completions/mean_length"} <= line.keys() for line in history if "loss" in line)
    assert {"held_out/format", "held_out/mask", "held_out/check"} <= measured[0].keys()
    assert {"reward/format", "reward/mask", "reward/meta", "kl", "segmentation_loss", "iou"} <= history[1].keys()
    said = json.loads((config.out / "watched/step-0000004/said.jsonl").read_text().splitlines()[0])
    assert said["id"].startswith("square/")


def test_every_checkpoint_is_a_model(configure):
    config = configure("meta-grpo", "max_steps=2")
    train(config)
    model = ConceptSegModel.from_pretrained(config.out / "checkpoint-2")
    final = ConceptSegModel.from_pretrained(config.out / "model")
    assert same(dict(model.state_dict()), dict(final.state_dict()))
    state = json.loads((config.out / "checkpoint-2" / STATE_FILE).read_text())
    assert (state["step"], state["stage"], state["config"]["group_size"]) == (2, "meta-grpo", 2)
    again = load_config("meta-grpo", config.out / "checkpoint-2" / "config.yaml")
    assert again == config


def test_only_the_newest_checkpoints_are_kept(configure):
    config = configure("warmup", "checkpoints.every=1", "checkpoints.keep=2")
    train(config)
    assert sorted(path.name for path in config.out.glob("checkpoint-*")) == ["checkpoint-3", "checkpoint-4"]


def test_a_finished_run_is_not_trained_again(configure):
    config = configure("warmup", "max_steps=2")
    train(config)
    before = weights_of(config.out / "model")
    assert train(config).steps == 2
    assert same(weights_of(config.out / "model"), before)


def test_sigterm_saves_and_stops(configure, monkeypatch):
    config = configure("warmup", "checkpoints.every=50")
    before = signal.getsignal(signal.SIGTERM)

    def terminate(self, args, state, control, **_):
        if state.global_step == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(ProgressLine, "on_step_end", terminate)
        result = train(config)
    assert result.stopped and result.model is None
    assert [path.name for path in complete_checkpoints(config.out)] == [f"checkpoint-{result.steps}"]
    assert signal.getsignal(signal.SIGTERM) == before
    assert train(config).steps == 4


def test_another_configuration_does_not_go_into_the_same_folder(configure):
    train(configure("warmup", "max_steps=2"))
    with pytest.raises(InputError, match="another configuration: learning_rate, seed differ"):
        train(configure("warmup", "max_steps=2", "seed=1", "learning_rate=1e-4"))


def test_an_option_that_came_later_does_not_make_a_run_another(configure):
    config = configure("warmup", "max_steps=2")
    train(config)
    path = config.out / "checkpoint-2" / STATE_FILE
    state = json.loads(path.read_text())
    del state["config"]["trains"]
    path.write_text(json.dumps(state))
    assert train(config).steps == 2


def test_a_loss_that_is_no_number_stops_the_warm_up(configure, monkeypatch):
    monkeypatch.setattr(
        "conceptseg.training.warmup.mask_losses", lambda semantic, *_, **__: semantic.mean(dim=(1, 2)) * float("nan")
    )
    with pytest.raises(TrainingError, match=r"The loss is nan at update 1; samples of the batch: square/"):
        train(configure("warmup"))


def test_a_gradient_that_is_no_number_stops_the_run_before_it_is_learned_from(configure, monkeypatch):
    """The root of zero is a number, its slope is none."""
    monkeypatch.setattr(
        "conceptseg.training.warmup.mask_losses", lambda semantic, *_, **__: (semantic * 0).mean(dim=(1, 2)).sqrt()
    )
    config = configure("warmup", "checkpoints.every=1")
    with pytest.raises(TrainingError, match=r"The gradient is nan at update 1, although the loss is a number"):
        train(config)
    assert complete_checkpoints(config.out) == []


def test_bad_samples_stop_a_run_before_it_starts_or_are_left_out(configure, squares, tmp_path):
    folder = tmp_path / "set"
    shutil.copytree(squares, folder)
    rows = [json.loads(line) for line in (folder / "samples.jsonl").read_text().splitlines()]
    rows[3].pop("mask")
    (folder / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = f"data.folders=[{folder}]"
    with pytest.raises(TrainingError, match=r"square/003: it has no mask"):
        train(configure("warmup", data))
    result = train(configure("warmup", data, "data.on_bad_sample=skip", "max_steps=1"))
    assert result.rejected == 1
    assert "square/003" in (result.out / "rejected.jsonl").read_text()
    result = train(configure("warmup", data, "data.on_bad_sample=skip", "data.held_out=7", "max_steps=1", out="aside"))
    assert result.rejected == 1, "it is among those held out, whatever the seed: seven of eight are"
    assert "square/003" in (result.out / "rejected.jsonl").read_text()


def test_a_device_that_is_not_there_is_refused(configure, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ResourceError, match="Device 'cuda' was asked for"):
        train(configure("warmup", "model.device=cuda"))


def test_the_responses_themselves_can_be_taught(configure, tiny_checkpoint):
    """Table 4(a), "+ MLLM (SFT)": the cross-entropy falls, the translation stays."""
    config = configure("warmup", "trains=responses", "responses.source=template", "max_steps=6")
    train(config)
    history = json.loads((config.out / "checkpoint-6" / "trainer_state.json").read_text())["log_history"]
    losses = [line["loss"] for line in history if "loss" in line]
    assert losses[-1] < losses[0]
    assert same(load_file(config.out / "model/ctm.safetensors"), load_file(tiny_checkpoint / "ctm.safetensors"))


def test_a_fresh_translation_may_have_another_number_of_tokens(configure):
    config = configure("warmup", "model.concept_tokens=5", "max_steps=1")
    train(config)
    model = ConceptSegModel.from_pretrained(config.out / "model")
    assert model.config.translation.num_queries == 5


def test_hidden_states_are_shared_between_runs(configure, tmp_path, monkeypatch):
    shared = f"responses.cache={tmp_path / 'states'}", "data.references.draws=1"
    train(configure("warmup", *shared, "max_steps=2", out="first"))  # all samples come up
    monkeypatch.setattr("conceptseg.training.responses.read_episodes", None)  # would fail if asked
    assert train(configure("warmup", *shared, "max_steps=3", out="second")).steps == 3


def test_checkpoints_that_were_cut_off_are_not_resumed(tmp_path, configure):
    config = configure("warmup")
    for step, whole in ((2, True), (4, True), (6, False)):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        if whole:
            (folder / STATE_FILE).write_text(json.dumps({"config": config.model_dump(mode="json")}))
    assert latest_checkpoint(tmp_path, config) == tmp_path / "checkpoint-4"
    assert not (tmp_path / "checkpoint-6").exists()
    prune_checkpoints(tmp_path, 1)
    assert complete_checkpoints(tmp_path) == [tmp_path / "checkpoint-4"]
    assert latest_checkpoint(tmp_path / "none", config) is None


def test_a_folder_without_room_is_refused_at_the_start(tmp_path, monkeypatch):
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(ResourceError, match="Cannot write to the run's folder"):
        require_room(file / "run", 0)
    with pytest.raises(ResourceError, match=r"one checkpoint needs about 1048576\.0 GiB"):
        require_room(tmp_path, 2**50)


def test_a_disk_that_fills_up_is_explained(configure, monkeypatch):
    config = configure("warmup")

    def fail(self, folder, *_):
        if folder.name == "checkpoint-4":
            raise OSError(errno.ENOSPC, "No space left on device")
        write(self, folder, *_)

    write = CheckpointWriter.write
    monkeypatch.setattr(CheckpointWriter, "write", fail)
    with pytest.raises(TrainingError, match=r"is full. The last whole checkpoint is .*checkpoint-2; free some space"):
        train(config)
    with pytest.raises(KeyError, match="other"), explain_full_disk(config.out):
        raise KeyError("other")


def test_missing_packages_are_named(configure, monkeypatch):
    monkeypatch.setattr("conceptseg.training.run.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"needs accelerate wandb: pip install 'conceptseg\[train\]'"):
        train(configure("warmup", "log.to=[wandb]"))
