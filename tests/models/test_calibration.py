"""Confidence: what signs are worth, fitted on answers whose truth is known."""

from __future__ import annotations

import json

import numpy as np
import pytest

from conceptseg.errors import CheckpointError, InputError
from conceptseg.models.calibration import (
    Calibration,
    Signals,
    expected_error,
    fit_calibration,
    part_presence,
    read_calibration,
)
from conceptseg.models.conceptseg import ConceptSegModel
from tests.training.tiny import tiny_model


def answers(count: int, seed: int = 0) -> list[tuple[Signals, float]]:
    """IoU is the square of sharpness, with noise; presence is high and says nothing more."""
    rng = np.random.default_rng(seed)
    drawn = []
    for _ in range(count):
        sharpness = float(rng.uniform(0, 1))
        iou = float(np.clip(sharpness**2 + rng.normal(0, 0.05), 0, 1))
        drawn.append((Signals(float(rng.uniform(0.6, 1)), sharpness, None, float(rng.uniform(0, 1))), iou))
    return drawn


def missing(count: int) -> list[Signals]:
    return [Signals(float(value), 0.5) for value in np.linspace(0, 0.5, count)]


def test_what_is_called_so_much_is_so_much():
    calibration = fit_calibration(answers(600), missing(40), checkpoint="ab")
    fresh = answers(600, seed=1)
    said = [calibration.confidence(signals) for signals, _ in fresh]
    true = [iou for _, iou in fresh]
    assert expected_error(said, true) < 0.05 < 0.1 < expected_error([s.plain() for s, _ in fresh], true)
    assert np.mean(np.abs(np.array(said) - true)) < 0.08
    assert calibration.questions == 600 and calibration.absent == 40


def test_the_threshold_parts_what_is_there_from_what_is_not():
    calibration = fit_calibration(answers(600), missing(40), checkpoint="ab")
    assert 0.5 < calibration.presence_threshold <= 0.61 and calibration.lost == 0 and calibration.false == 0
    assert fit_calibration(answers(50), [], checkpoint="ab").presence_threshold == 0


def test_of_what_is_there_little_is_lost_however_much_it_would_help():
    present, absent = np.linspace(0, 1, 101), np.full(1000, 0.5)
    assert (present < part_presence(present, absent)).mean() <= 0.05


def test_the_plain_confidence_is_the_mean_of_what_is_known():
    assert Signals(0.2, 0.6).plain() == pytest.approx(0.4)
    assert Signals(0.2, 0.6, 1.0, 0.0).plain() == pytest.approx(0.45)


def test_the_calibration_error_by_hand():
    # Two in the bin at 0.05 with a mean IoU of 0.25, two in the bin at 0.95 with 0.95: half of 0.2.
    assert expected_error([0.05, 0.05, 0.95, 0.95], [0.2, 0.3, 0.9, 1.0]) == pytest.approx(0.1)


def test_too_few_answers_are_refused():
    with pytest.raises(InputError, match="at least 20 questions"):
        fit_calibration(answers(19), [], checkpoint="ab")
    with pytest.raises(InputError, match="got 30 and 3"):
        fit_calibration(answers(30), missing(3), checkpoint="ab")


def test_a_calibration_comes_back_and_belongs_to_its_weights(tmp_path):
    calibration = fit_calibration(answers(40), missing(20), checkpoint="ab", data=["world"])
    calibration.write(tmp_path)
    assert read_calibration(tmp_path, "ab") == calibration
    with pytest.warns(UserWarning, match="belongs to other weights"):
        assert read_calibration(tmp_path, "cd") is None
    assert read_calibration(tmp_path / "elsewhere", "ab") is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weights": [1.0]}, "weights"),
        ({"mixed": [1.0, 0.0], "expected": [0.0, 1.0]}, "must rise"),
        ({"mixed": [0.0], "expected": [0.0, 1.0]}, "as many knots"),
        ({"presence_threshold": 2}, "presence_threshold"),
        ({"more": 1}, "more"),
    ],
)
def test_a_damaged_calibration_is_refused(tmp_path, change, message):
    told = json.loads(fit_calibration(answers(40), [], checkpoint="ab").model_dump_json())
    (tmp_path / "calibration.json").write_text(json.dumps(told | change))
    with pytest.raises(CheckpointError, match=message):
        read_calibration(tmp_path, "ab")
    (tmp_path / "calibration.json").write_text("{")
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_calibration(tmp_path, "ab")


def test_a_checkpoint_keeps_its_calibration_until_it_is_another(tmp_path):
    model = tiny_model()
    model.calibration = Calibration(
        checkpoint=model.digest(), weights=(0.0,) * 8, mixed=(0.0,), expected=(0.5,), presence_threshold=0.1,
        questions=20, absent=20, lost=0.0, false=0.0,
    )  # fmt: skip
    model.save_pretrained(tmp_path)
    assert ConceptSegModel.from_pretrained(tmp_path).calibration == model.calibration
    model.translation.learnable_query.weight.data += 1
    model.save_pretrained(tmp_path)
    assert not (tmp_path / "calibration.json").exists()


def test_the_digest_is_that_of_the_weights():
    assert tiny_model().digest() == tiny_model().digest() != tiny_model(seed=1).digest()


def test_without_a_translation_the_digest_tells_mllms_apart():
    model = tiny_model()

    def digest(**names: str) -> str:
        config = model.config.model_copy(update=names)
        return ConceptSegModel(config, model.reasoner, None, model.segmenter).digest()

    pair = {"name": "Qwen/3B+facebook/sam3", "mllm": "Qwen/3B"}
    assert digest(**pair) == digest(**pair) == digest(name=pair["name"])  # saved, the MLLM lies in mllm/
    assert digest(**pair) != digest(name="Qwen/7B+facebook/sam3", mllm="Qwen/7B")
    assert digest(mllm="Qwen/3B") != digest(mllm="Qwen/7B")
