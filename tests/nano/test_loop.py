import csv
import itertools
import json
import os
import signal
import subprocess
import sys

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from conceptseg.errors import TrainingError
from nano import loop
from nano.loop import StageConfig, is_done, run_stage, steps_taken
from nano.stage_log import read_log


def stage(minutes, **options):
    return StageConfig("toy", minutes, learning_rate=0.05, warmup_steps=1, log_every_steps=1, **options)


def batches(step):
    return iter(range(step, step + 10_000))


def learner():
    torch.manual_seed(0)
    module = nn.Linear(2, 1)
    seen = []

    def loss(batch):
        seen.append(batch)
        return (module(torch.ones(1, 2)) - 3.0).pow(2).mean().float(), {"batch": float(batch)}, 4

    return module, loss, seen


def test_a_stage_learns_logs_and_ends_with_its_budget(tmp_path):
    module, loss, _ = learner()
    ends = []
    assert run_stage(stage(0.01), module, batches, loss, tmp_path, finished=lambda: ends.append(1))
    rows = list(csv.DictReader((tmp_path / "toy.csv").open()))
    assert float(rows[-1]["loss"]) < 0.1 * float(rows[0]["loss"])
    assert int(rows[-1]["samples"]) == 4 * len(rows)
    assert ends == [1]
    assert run_stage(stage(0.01), module, batches, loss, tmp_path, finished=lambda: ends.append(2))
    assert ends == [1]  # a finished stage stays as it is: later stages may have built on it


def test_an_interrupted_stage_goes_on_where_it_was(tmp_path):
    module, loss, seen = learner()
    assert not run_stage(stage(5.0), module, batches, loss, tmp_path, until_s=0.0)
    assert seen == []
    module, loss, seen = learner()

    def three_then_stop(batch):
        if batch == 3:
            raise KeyboardInterrupt
        return loss(batch)

    with pytest.raises(KeyboardInterrupt, match=r"^$"):
        run_stage(stage(5.0, save_every_s=-1.0), module, batches, three_then_stop, tmp_path)
    trained = {key: value.clone() for key, value in module.state_dict().items()}
    again, loss, seen = learner()
    assert not run_stage(stage(5.0), again, batches, loss, tmp_path, until_s=0.0)
    assert all(torch.equal(again.state_dict()[key], value) for key, value in trained.items())
    with pytest.raises(KeyboardInterrupt, match=r"^$"):
        run_stage(stage(5.0), again, batches, _stop_after(loss, 1), tmp_path)
    assert seen[0] == 3


def test_a_stage_that_is_told_to_end_saves_what_it_has(tmp_path):
    module, loss, seen = learner()

    def end_at_two(batch):
        if batch == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return loss(batch)

    before = signal.getsignal(signal.SIGTERM)
    assert not run_stage(stage(5.0), module, batches, end_at_two, tmp_path)
    assert signal.getsignal(signal.SIGTERM) == before
    assert seen == [0, 1, 2]
    assert steps_taken(stage(5.0).state_in(tmp_path)) == 3


def _stop_after(loss, count):
    left = [count]

    def wrapped(batch):
        if left[0] == 0:
            raise KeyboardInterrupt
        left[0] -= 1
        return loss(batch)

    return wrapped


def test_a_loss_that_is_no_number_stops_the_stage_by_name(tmp_path):
    module, _, _ = learner()

    def broken(batch):
        return module(torch.ones(1, 2)).mean() * float("nan"), {"batch": 0.0}, 1

    with pytest.raises(TrainingError, match="Stage toy, step 0: the loss is nan"):
        run_stage(stage(1.0), module, batches, broken, tmp_path)


@pytest.fixture
def a_second_an_update(monkeypatch):
    """A clock that moves by one second whenever it is read, which is once an update."""
    clock = itertools.count()
    monkeypatch.setattr(loop.time, "monotonic", lambda: float(next(clock)))


def steep():
    """Samples that differ, so that moments and their order matter."""
    torch.manual_seed(0)
    module = nn.Linear(2, 1)

    def loss(batch):
        miss = module(torch.tensor([[float(batch % 5), 1.0]])) - batch % 3
        return miss.pow(2).mean().float(), {"batch": float(batch)}, 4

    return module, loss


def tensors_of(folder):
    return load_file(folder / "toy.safetensors")


def test_interrupted_and_resumed_is_the_same_as_never_interrupted(tmp_path, a_second_an_update):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    module, loss = steep()
    assert run_stage(stage(0.2), module, batches, loss, whole)
    module, loss = steep()
    with pytest.raises(KeyboardInterrupt, match=r"^$"):  # at step 5, a while after the last save
        run_stage(stage(0.2, save_every_s=2.5), module, batches, _stop_after(loss, 5), parts)
    assert steps_taken(parts / "toy.safetensors") == 3
    module, loss = steep()
    assert run_stage(stage(0.2), module, batches, loss, parts)
    one, other = tensors_of(whole), tensors_of(parts)
    assert set(one) == set(other) > {"model.weight", "adam.exp_avg.weight", "adam.exp_avg_sq.bias", "adam.step.bias"}
    assert all(torch.equal(one[key], other[key]) for key in one)
    for folder in (whole, parts):
        with safe_open(folder / "toy.safetensors", "pt") as file:
            assert json.loads(file.metadata()["progress"]) == {"step": 12, "seconds": 12.0, "samples": 48}
    assert read_log(whole / "toy.csv") == read_log(parts / "toy.csv")  # steps 4 and 5 once, not twice
    assert [row["step"] for row in read_log(parts / "toy.csv")] == list(range(1, 13))


def test_a_log_cut_short_or_of_another_version_is_gone_on_with(tmp_path, a_second_an_update):
    module, loss, _ = learner()
    assert not run_stage(stage(1.0), module, batches, _with_numbers(loss, old=1.0), tmp_path, until_s=6.0)
    steps = steps_taken(tmp_path / "toy.safetensors")
    with (tmp_path / "toy.csv").open("a", encoding="utf-8") as file:
        file.write("3,12,0.0")
    module, loss, _ = learner()
    assert not run_stage(stage(1.0), module, batches, _with_numbers(loss, new=2.0), tmp_path, until_s=12.0)
    rows = read_log(tmp_path / "toy.csv")
    assert [row["step"] for row in rows] == list(range(1, len(rows) + 1))
    assert len(rows) > steps > 0
    assert "old" in rows[0]
    assert "old" not in rows[-1]
    assert rows[-1]["new"] == 2.0


def _with_numbers(loss, **numbers):
    return lambda batch: (*loss(batch)[:1], numbers, 4)


def test_a_number_is_averaged_over_the_updates_that_measured_it(tmp_path, a_second_an_update):
    module, loss, _ = learner()

    def seldom(batch):
        return loss(batch)[0], {"seen": 3.0} if batch == 1 else {}, 4

    config = StageConfig("toy", 0.07, learning_rate=0.05, log_every_steps=2)
    assert run_stage(config, module, batches, seldom, tmp_path)
    first, second = read_log(tmp_path / "toy.csv")[:2]
    assert first["seen"] == 3.0
    assert "seen" not in second


def test_a_finished_stage_is_known_without_its_weights(tmp_path):
    path = tmp_path / "toy.safetensors"
    save_file({"model.other": torch.ones(1)}, path, {"progress": '{"step": 9, "seconds": 60.0, "samples": 36}'})
    module, loss, seen = learner()
    assert is_done(stage(1.0), tmp_path)
    assert run_stage(stage(1.0), module, batches, loss, tmp_path)
    assert seen == []
    with pytest.raises(TrainingError, match=r"toy\.safetensors is damaged, or .* Delete it to begin the stage anew"):
        run_stage(stage(2.0), module, batches, loss, tmp_path)
    path.write_bytes(b"cut off")
    with pytest.raises(TrainingError, match=r"toy\.safetensors is damaged"):
        is_done(stage(1.0), tmp_path)


def test_what_is_prepared_is_kept_at_once_and_not_repeated(tmp_path):
    calls = []
    for attempt in range(2):
        module, loss, _ = learner()

        def prepare(module=module, attempt=attempt):
            calls.append(attempt)
            nn.init.constant_(module.weight, 5.0)

        with pytest.raises(KeyboardInterrupt, match=r"^$"):
            run_stage(stage(5.0), module, batches, _stop_after(loss, 0), tmp_path, prepare=prepare)
        assert (module.weight == 5.0).all()
    assert calls == [0]


_TRAINER = """
import sys, time
from pathlib import Path
import torch
from torch import nn
from nano.loop import StageConfig, endless_batches, run_stage

class Numbers(torch.utils.data.Dataset):
    def __len__(self):
        return 2**40
    def __getitem__(self, index):
        return index

module = nn.Linear(2, 1)

def loss(batch):
    print("update", flush=True)
    time.sleep(0.05)
    return module(torch.ones(1, 2)).mean().float(), {}, len(batch)

stage = StageConfig("toy", 5.0, learning_rate=0.05)
sys.exit(0 if run_stage(stage, module, endless_batches(Numbers(), 2, 1), loss, Path(sys.argv[1])) else 1)
"""


def test_sigterm_to_the_whole_group_ends_no_worker_under_the_trainers_hands(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", _TRAINER, str(tmp_path)], stdout=subprocess.PIPE, start_new_session=True
    )
    for _ in range(3):
        assert process.stdout.readline() == b"update\n"
    os.killpg(process.pid, signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 1
    assert steps_taken(tmp_path / "toy.safetensors") >= 3
