from __future__ import annotations

from transformers import TrainingArguments

from conceptseg.training.arguments import use_one_device


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
