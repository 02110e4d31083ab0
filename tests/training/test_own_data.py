"""A run on one's own pictures: what is kept, how it goes on, what happens when the disk is full, and small data."""

from __future__ import annotations

import errno
import json
import logging

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from conceptseg.data import ConceptSample, read_samples, write_samples
from conceptseg.data.loading import load_sample
from conceptseg.errors import InputError, TrainingError
from conceptseg.inference import ConceptSegmenter
from conceptseg.interfaces.cli.train import _as_inference
from conceptseg.ledger import LOCK_FILE
from conceptseg.models.conceptseg import ConceptSegConfig, ConceptSegModel
from conceptseg.training.answers import Answer, answer_by_reasoning, evaluating
from conceptseg.training.checkpoints import STATE_FILE, complete_checkpoints, explain_full_disk
from conceptseg.training.config_reading import load_config
from conceptseg.training.run import train
from conceptseg.training.standing import read_state, require_whole
from tests.training.tiny import square_folder, square_sample, tiny_model

SHORT = [
    "model.device=cpu", "log.to=[]", "log.every=1", "log.watched=0", "checkpoints.every=1", "checkpoints.keep=9",
    "max_steps=3", "learning_rate=1e-2", "scheduler=constant", "warmup_steps=0", "batch_size=4",
    "per_device_batch_size=2", "responses.batch_size=4",
]  # fmt: skip


@pytest.fixture
def configure(tiny_checkpoint, squares, tmp_path):
    def build(*overrides, out="run", folder=squares):
        where = [f"out={tmp_path / out}", f"model.checkpoint={tiny_checkpoint}", f"data.folders={folder}"]
        return load_config("warmup", "own_data", [*where, *SHORT, *overrides])

    return build


def scripted(*right):
    """Answers that are the truth at some measurements, counted from 0, and empty at others."""
    calls = []

    def answer(model, samples):
        calls.append(len(samples))
        good = len(calls) - 1 in right
        truths = [load_sample(sample).mask for sample in samples]
        return [Answer(truth if good else np.zeros_like(truth), "") for truth in truths]

    return answer


def weights(folder):
    files = sorted(folder.rglob("*.safetensors"))
    return {f"{f.relative_to(folder)}:{name}": value for f in files for name, value in load_file(f).items()}


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_the_best_update_is_kept_whole_beside_the_last_and_told(configure, caplog):
    config = configure("log.evaluate_every=1")
    with caplog.at_level(logging.INFO, "conceptseg"):
        train(config, scripted(1))  # right after the first update alone
    best, last = (ConceptSegModel.from_pretrained(config.out / name) for name in ("best", "model"))
    assert same(load_file(config.out / "best/ctm.safetensors"), load_file(config.out / "checkpoint-1/ctm.safetensors"))
    assert same(load_file(config.out / "model/ctm.safetensors"), load_file(config.out / "checkpoint-3/ctm.safetensors"))
    assert not same(best.state_dict(), last.state_dict())
    assert (ConceptSegConfig.read(config.out / "best").sam, ConceptSegConfig.read(config.out / "best").mllm) == (
        "sam",
        "mllm",
    )
    assert "Samples: 6 to learn from, 2 held out (set aside by data.held_out=0.2)." in caplog.text
    assert "Held out, mIoU of the best update (1, best/)" in caplog.text and "100.0 ± 0.0 after" in caplog.text
    assert "within what chance does over 2 picture(s)" in caplog.text, "the last did as badly as the first"
    assert "Update 3 of 3: loss" in caplog.text and "left." in caplog.text
    assert not {path.name for path in config.out.glob(".*")} - {LOCK_FILE}
    require_whole(config.out / "best", read_state(config.out / "best" / STATE_FILE))


def test_what_is_held_out_is_answered_without_its_truth(configure):
    seen = []

    def answer(model, samples):
        seen.extend(samples)
        return answer_by_reasoning(model, samples)

    config = configure("max_steps=1")
    train(config, answer)
    own = {sample.id: sample for sample in read_samples(config.data.folders[0])}
    assert len(seen) == 4 and all(sample.references for sample in seen)
    rows = [json.loads(line) for line in (config.out / "held_out.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [0, 1] and rows[0]["scores"].keys() <= own.keys()
    shown = {reference.image for sample in seen for reference in sample.references}
    assert not shown & {sample.image for sample in seen}


def test_the_command_line_answers_as_segment_does():
    model = tiny_model()
    samples = [square_sample(number) for number in range(2)]
    blind = [ConceptSample(s.id, s.task, s.concept, s.image, references=s.references) for s in samples]
    answers = _as_inference(model, blind)
    segmenter = ConceptSegmenter(model)
    for sample, answer in zip(samples, answers, strict=True):
        result = segmenter(sample.image, sample.concept, sample.references)
        assert np.array_equal(answer.mask, result.mask)
        assert answer.said == (result.response.text if result.response else "SAM 3 alone")
    reasoned = answer_by_reasoning(model, samples[:1])[0]
    expected = segmenter(samples[0].image, samples[0].concept, samples[0].references, route="reason")
    assert np.array_equal(reasoned.mask, expected.mask) and reasoned.said == expected.response.text


def test_looking_leaves_every_part_in_its_mode():
    model = tiny_model()
    model.translation.train()
    with evaluating(model):
        assert not model.translation.training and not torch.is_grad_enabled()
    assert model.translation.training and not model.segmenter.training


def test_sam_learns_where_asked_to_and_nothing_else_does(configure, tiny_checkpoint):
    config = configure()
    train(config)
    before, after = weights(tiny_checkpoint), weights(config.out / "model")
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    kinds = {name.split(":")[0] + ":" + name.split(":")[1].split(".")[0] for name in changed if name.startswith("sam")}
    assert kinds == {"sam/model.safetensors:detr_encoder", "sam/model.safetensors:mask_decoder"}
    assert all(name.startswith(("ctm", "sam")) for name in changed)
    frozen = configure("segmenter.learns=false", out="frozen")
    train(frozen)
    after = weights(frozen.out / "model")
    assert all(name.startswith("ctm") for name in before if not torch.equal(before[name], after[name]))


def test_a_finished_run_can_be_made_longer_and_not_shorter(configure):
    straight = configure("max_steps=4", out="straight")
    train(straight)
    short = configure("max_steps=2")
    train(short)
    first = weights(short.out / "model")
    assert train(configure("max_steps=4")).steps == 4
    assert same(weights(short.out / "model"), weights(straight.out / "model"))
    assert not same(weights(short.out / "model"), first)
    with pytest.raises(InputError, match=r"has done 4 updates, max_steps \(or epochs\) ask for 3: raise it to go on"):
        train(configure("max_steps=3"))


@pytest.mark.parametrize(
    "error", [RuntimeError("No space left on device (os error 28)"), OSError(errno.EDQUOT, "quota")]
)
def test_a_disk_that_is_full_at_the_very_end_loses_nothing(configure, monkeypatch, error):
    config = configure()

    def fail(self, folder, **_):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(ConceptSegModel, "save_pretrained", fail)
        with pytest.raises(
            TrainingError, match=r"is full. The last whole checkpoint is .*checkpoint-3; free some space"
        ):
            train(config)
    assert complete_checkpoints(config.out)[-1].name == "checkpoint-3"
    assert train(config).model == config.out / "model"
    assert ConceptSegModel.from_pretrained(config.out / "model")


def test_other_errors_are_not_taken_for_a_full_disk(tmp_path):
    with pytest.raises(OSError, match="denied"), explain_full_disk(tmp_path):
        raise OSError(errno.EACCES, "denied")


@pytest.mark.parametrize(("count", "held_out"), [(1, 0), (2, 0), (3, 1)])
def test_the_smallest_data_can_be_learned_from_and_what_is_missing_is_told(
    configure, tmp_path, caplog, count, held_out
):
    folder = square_folder(tmp_path / "few", count, references=0)
    with caplog.at_level(logging.INFO, "conceptseg"):
        result = train(configure("max_steps=1", folder=folder))
    assert result.model is not None
    assert (
        f"Samples: {count} to learn from, none held out" in caplog.text if not held_out else "1 held out" in caplog.text
    )
    assert ("1 of 1 samples to learn from have no reference" in caplog.text) == (count == 1)
    assert "An update takes 4 samples, there are" in caplog.text


def test_a_split_of_ones_own_is_what_is_measured(configure, tmp_path):
    samples = [square_sample(n, references=0, split="val" if n % 3 == 0 else "train") for n in range(6)]
    write_samples(samples, tmp_path / "set")
    config = configure("max_steps=1", folder=tmp_path / "set")
    train(config)
    rows = [json.loads(line) for line in (config.out / "held_out.jsonl").read_text().splitlines()]
    assert rows[0]["scores"].keys() == {"square/000", "square/003"}
