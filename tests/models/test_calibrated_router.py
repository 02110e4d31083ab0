"""A learned router: most shortcuts at next to no cost, kept beside the weights it was fitted on."""

from __future__ import annotations

import json

import numpy as np
import pytest

from conceptseg.errors import CheckpointError, InputError
from conceptseg.models.calibrated_router import (
    ROUTER_FILE,
    BothWays,
    CalibratedRouter,
    RouterSigns,
    fit_router,
    read_router,
)
from conceptseg.models.calibration import CALIBRATION_FILE, read_calibration
from conceptseg.models.checkpoints import bundled_folder
from conceptseg.models.conceptseg import ConceptSegModel, _protocol_text
from conceptseg.protocol import Template
from tests.training.tiny import tiny_model


def answers(count: int) -> list[BothWays]:
    """SAM 3 alone is as good as reasoning where its mask stays the same beside references, and useless elsewhere."""
    rng = np.random.default_rng(0)
    drawn = []
    for number in range(count):
        agreement = float(number % 2)
        signs = RouterSigns(1, float(rng.uniform()), float(rng.uniform()), float(rng.uniform()), agreement)
        drawn.append(BothWays(signs, direct=0.8 if agreement else 0.2, reasoned=0.8, paper=0.5))
    return drawn


def test_shortcuts_are_taken_where_they_cost_nothing():
    router = fit_router(answers(100), checkpoint="ab", data=["world"])
    assert router.shortcuts == pytest.approx(0.5) and router.iou == pytest.approx(0.8)
    assert (router.iou_reasoned, router.iou_direct, router.iou_paper) == pytest.approx((0.8, 0.5, 0.5))
    assert router.accepts(RouterSigns(1, 0.5, 0.5, 0.5, 1.0)) and not router.accepts(RouterSigns(1, 0.5, 0.5, 0.5, 0.0))
    assert "SAM 3 alone answers 50% of 100 questions" in router.describe()


def test_no_shortcut_is_taken_where_each_costs():
    costly = [BothWays(one.signs, 0.1, 0.9, 0.9) for one in answers(40)]
    router = fit_router(costly, checkpoint="ab")
    assert router.shortcuts == 0 and router.iou == pytest.approx(0.9)
    assert not any(router.accepts(one.signs) for one in costly)


def test_all_are_taken_where_reasoning_is_worse():
    router = fit_router([BothWays(one.signs, 0.9, 0.1, 0.1) for one in answers(40)], checkpoint="ab")
    assert router.shortcuts == 1


def test_too_few_answers_are_refused():
    with pytest.raises(InputError, match="at least 20 questions, got 19"):
        fit_router(answers(19), checkpoint="ab")


def test_it_belongs_to_its_weights(tmp_path):
    router = fit_router(answers(40), checkpoint="ab")
    router.write(tmp_path)
    assert read_router(tmp_path, "ab") == router and read_router(tmp_path / "elsewhere", "ab") is None
    with pytest.warns(UserWarning, match="belongs to other weights"):
        assert read_router(tmp_path, "cd") is None
    told = json.loads((tmp_path / ROUTER_FILE).read_text())
    (tmp_path / ROUTER_FILE).write_text(json.dumps(told | {"least": 7}))
    with pytest.raises(CheckpointError, match="least"):
        read_router(tmp_path, "ab")


def test_a_checkpoint_keeps_it_until_it_is_another(tmp_path):
    model = tiny_model()
    model.router = fit_router(answers(20), checkpoint=model.digest())
    model.save_pretrained(tmp_path)
    again = ConceptSegModel.from_pretrained(tmp_path)
    assert again.router == model.router and again.digest() == model.digest()
    model.translation.learnable_query.weight.data += 1
    model.save_pretrained(tmp_path)
    assert not (tmp_path / ROUTER_FILE).exists()


def test_words_for_what_a_concept_is_not_are_part_of_the_digest_only_where_there_are_some():
    model = tiny_model()
    digests = []
    for unlike in ("", "not {unlike_boxes}"):
        template = Template("own", "{problem}", "{problem}", "{problem}", unlike)
        protocol = model.config.protocol.model_copy(update={"template": "own", "instructions": template})
        model.config = model.config.model_copy(update={"protocol": protocol})
        digests.append(model.digest())
        assert ('"unlike"' in _protocol_text(protocol)) == bool(unlike)
    assert len(set(digests)) == 2
    told = model.config.protocol.model_dump()
    del told["instructions"]["unlike"]  # as written before there was such a thing
    assert type(model.config.protocol).model_validate(told).instructions.unlike == ""


def test_what_is_bundled_was_measured_on_the_bundled_weights(nano):
    for name, read in ((CALIBRATION_FILE, read_calibration), (ROUTER_FILE, read_router)):
        if (bundled_folder() / name).exists():
            assert read(bundled_folder(), nano.model.digest()) is not None


def test_another_number_of_weights_is_refused():
    with pytest.raises(ValueError, match="weights"):
        CalibratedRouter(
            checkpoint="ab", weights=(1.0,), least=0.0, questions=1, shortcuts=0, iou=0, iou_reasoned=0, iou_direct=0,
            iou_paper=0,
        )  # fmt: skip
