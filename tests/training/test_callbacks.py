from __future__ import annotations

from transformers import TrainerControl, TrainerState, TrainingArguments

from conceptseg.training.callbacks import ProgressLine


def test_the_line_keeps_its_numbers_when_a_log_line_has_none(tmp_path):
    """Trainers end with a line about time alone."""
    line = ProgressLine(4, {"loss": "loss", "reward/format": "valid"})
    arguments = TrainingArguments(output_dir=str(tmp_path), report_to=[], use_cpu=True)
    state = TrainerState(max_steps=2)
    line.on_train_begin(arguments, state, TrainerControl())
    shown = []
    line._bar.set_postfix = shown.append
    state.global_step = 1
    line.on_log(arguments, state, TrainerControl(), {"loss": 0.51234, "reward/format": 1.0, "grad_norm": 3.0})
    line.on_log(arguments, state, TrainerControl(), {"train_runtime": 9.0})
    line.on_train_end(arguments, state, TrainerControl())
    assert [set(numbers) for numbers in shown] == [{"loss", "valid", "samples/s"}] * 2
    assert (shown[1]["loss"], shown[1]["valid"]) == ("0.512", "1")
