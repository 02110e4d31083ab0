"""Measuring on pictures set aside: what is kept, and what is said of it at the end."""

from __future__ import annotations

import json
import logging

import pytest
from transformers import TrainerControl, TrainerState, TrainingArguments

from conceptseg.training.callbacks import NumberLog
from conceptseg.training.held_out import HeldOutMeter, HeldOutTable, Measured, tell_outcome


def table_of(folder, **by_step):
    table = HeldOutTable(folder)
    for step, scores in by_step.items():
        table.add(int(step[1:]), dict(zip("abcdefgh", scores, strict=False)), write=True)
    return table


def test_measurements_survive_and_later_ones_than_the_checkpoint_are_forgotten(tmp_path):
    table_of(tmp_path, s0=[0.1, 0.2], s5=[0.3, 0.5], s10=[0.4, 0.3])
    again = HeldOutTable(tmp_path)
    again.read(5)
    assert again.last_step == 5 and again.best() == (5, pytest.approx(0.4))
    assert again.change(5).gain == pytest.approx(0.25)
    assert again.change(10) is None


def test_the_earliest_of_equals_is_the_best_and_the_start_is_none(tmp_path):
    assert table_of(tmp_path, s0=[0.9, 0.9]).best() is None
    assert table_of(tmp_path, s0=[0.9, 0.9], s5=[0.5, 0.3], s10=[0.4, 0.4]).best() == (5, pytest.approx(0.4))


def test_the_outcome_says_by_how_much_and_whether_it_is_real(tmp_path):
    before, better = [0.1, 0.2, 0.3, 0.4], [0.5, 0.6, 0.8, 0.8]
    (only,) = tell_outcome(table_of(tmp_path / "..", s0=before, s5=better), "mIoU")
    assert "of the last update (5, model/): 25.0" in only and "+42.5 ± 2.5 (n = 4" in only
    assert only.endswith("It is better, and that is real.")
    last, best, caution = tell_outcome(table_of(tmp_path, s0=before, s5=better, s10=[0.2, 0.1, 0.35, 0.4]), "mIoU")
    assert "within what chance does over 4 picture(s); hold more out" in last
    assert "of the best update (5, best/)" in best
    assert "chosen on these same 4 pictures" in caution


def test_a_run_that_made_it_worse_says_so(tmp_path):
    (line,) = tell_outcome(table_of(tmp_path, s0=[0.5, 0.6, 0.7], s5=[0.1, 0.2, 0.35]), "mIoU")
    assert line.endswith("It is worse, and that is real: lower learning_rate.")


def test_other_pictures_than_at_the_beginning_are_not_compared(tmp_path):
    table = HeldOutTable(tmp_path)
    table.add(0, {"a": 0.1}, write=False)
    table.add(5, {"b": 0.9}, write=False)
    assert tell_outcome(table, "mIoU") == [
        "The held-out samples are not those of the run's beginning: before and after cannot be compared."
    ]
    assert not list(tmp_path.iterdir()), "another process writes"


def test_the_meter_measures_before_now_and_then_and_last_and_keeps_what_does_better(tmp_path, caplog):
    means = iter([0.5, 0.3, 0.4, 0.2])
    kept, logged = [], []
    meter = HeldOutMeter(
        HeldOutTable(tmp_path), "mIoU", lambda: Measured({"a": (mean := next(means))}, {"miou": mean}), kept.append,
        logged.append, numbers := NumberLog(), 2,
    )  # fmt: skip
    arguments = TrainingArguments(output_dir=str(tmp_path), report_to=[], use_cpu=True)
    state = TrainerState(max_steps=5, is_world_process_zero=True)
    with caplog.at_level(logging.INFO, "conceptseg"):
        meter.on_train_begin(arguments, state, TrainerControl())
        for step in range(1, 6):
            state.global_step = step
            meter.on_step_end(arguments, state, TrainerControl())
    assert logged == [{"held_out/miou": 0.5}]
    assert kept == [2, 4], "the start is no update, and the last did worse"
    assert numbers.take() == {"held_out/miou": pytest.approx(0.3)}
    rows = [json.loads(line) for line in (tmp_path / "held_out.jsonl").read_text().splitlines()]
    assert [(row["step"], row["scores"]["a"]) for row in rows] == [(0, 0.5), (2, 0.3), (4, 0.4), (5, 0.2)]
    assert "update 4: mIoU 40.0 over 1 pictures, the best so far." in caplog.text


@pytest.mark.parametrize(
    "content", ["null", "[]", '{"step": 0}', '{"step": -1, "scores": {"a": 1}}', "\\xff", '{"step": 1']
)
def test_a_damaged_table_is_told_and_not_believed(tmp_path, caplog, content):
    (tmp_path / "held_out.jsonl").write_bytes(content.encode().replace(b"\\xff", b"\xff"))
    table = HeldOutTable(tmp_path)
    table.read(9)
    assert "is damaged" in caplog.text and table.before is None and tell_outcome(table, "mIoU") == []


def test_an_adapter_has_no_best_to_point_to(tmp_path):
    table = table_of(tmp_path, s0=[0.1, 0.2], s5=[0.5, 0.6], s10=[0.2, 0.1])
    assert len(tell_outcome(table, "R_meta", best_is_kept=False)) == 1
