import csv

import pytest
import torch
from torch import nn

from conceptseg.errors import TrainingError
from conceptseg.training.nano.loop import StageConfig, run_stage


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
