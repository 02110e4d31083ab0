"""`--method rule`: a rule for every set of references, or one from a file."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from conceptseg.errors import InputError
from conceptseg.evaluation.baselines import get_method
from conceptseg.evaluation.calibrating import strangers
from conceptseg.inference import ConceptSegmenter, Query, Route, RouteChoice
from tests.training.tiny import square_sample, tiny_model


@pytest.fixture(scope="module")
def segmenter() -> ConceptSegmenter:
    return ConceptSegmenter(tiny_model(max_new_tokens=3))


@pytest.fixture(scope="module")
def queries(segmenter) -> list[Query]:
    """Two questions that share references, and one without any."""
    one, other = square_sample(0, references=2), square_sample(1)
    shared = segmenter.prepare(one.references)
    images = [Image.fromarray(sample.image) for sample in (one, other, one)]
    return [
        Query(image, "bright square", shown, f"q{n}")
        for n, (image, shown) in enumerate(zip(images, (shared, shared, None), strict=True))
    ]


def test_a_rule_is_learned_once_for_a_set_of_references(segmenter, queries, monkeypatch):
    learned = []
    learn = segmenter.learn
    monkeypatch.setattr(segmenter, "learn", lambda *a, **o: learned.append(learn(*a, **o)) or learned[-1])
    method = get_method("rule", segmenter, samples=1)
    results = method.answer(queries, RouteChoice.AUTO)
    assert len(learned) == 1 and [result.source for result in results] == ["q0", "q1", "q2"]
    assert results[0].expected_iou == results[1].expected_iou == learned[0].expected_iou is not None
    assert results[0].route is learned[0].route
    assert "No rule: no reference is marked." in results[2].notes and results[2].expected_iou is None


def test_a_rule_from_a_file_answers_everything(segmenter, queries, tmp_path):
    rule = segmenter.learn("dark square", [(r.image, r.mask) for r in square_sample(5, references=3).references])
    path = rule.save(tmp_path / "dark.rule")
    result = get_method("rule", segmenter, file=str(path)).answer(queries[2:], RouteChoice.AUTO)[0]
    assert result.concept == "dark square" and result.expected_iou == rule.expected_iou
    assert np.array_equal(result.mask, segmenter(queries[2].image, rule).mask)
    forced = get_method("rule", segmenter, file=str(path)).answer(queries[2:], RouteChoice.DIRECT)[0]
    assert forced.route is Route.DIRECT
    with pytest.raises(InputError, match="There is no rule file"):
        get_method("rule", segmenter, file=str(tmp_path / "none.rule"))


def test_strangers_are_asked_of_pictures_that_can_be_taken_to_lack_them():
    square = replace(square_sample(0), task="artifact")
    samples = [
        square,
        replace(square, id="same task", answer="cat"),
        replace(square, id="same word", task="living", answer="small square"),
        replace(square, id="other", task="living", answer="cat"),
        replace(square, id="salient", task="saliency", answer="dog"),
        replace(square, id="reasoning", task="common_consistency", answer="thing"),
    ]
    pairs = {(asked.id, picture.id) for asked, picture in strangers(samples)}
    assert pairs == {
        ("square/000", "other"),
        ("same task", "salient"),
        ("same word", "reasoning"),
        ("other", "square/000"),
    }
