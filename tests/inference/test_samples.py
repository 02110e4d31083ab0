"""Best of several responses, and single objects: with a tiny model."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from conceptseg.errors import InputError
from conceptseg.inference import ConceptSegmenter, Query
from conceptseg.inference.answers import NO_OBJECT, merit_of
from conceptseg.inference.inputs import AppliedRule, Request
from conceptseg.inference.instances import FoundObjects
from conceptseg.inference.references import turned_query
from conceptseg.inference.results import SegmentationResult
from conceptseg.inference.router import Route, RouteChoice
from conceptseg.inference.router import Router as RouterName
from conceptseg.models.calibrated_router import CalibratedRouter
from conceptseg.models.calibration import Signals
from conceptseg.models.segmenter import Instances
from tests.training.tiny import square_sample, tiny_model


@pytest.fixture(scope="module")
def segmenter() -> ConceptSegmenter:
    return ConceptSegmenter(tiny_model(max_new_tokens=4))


@pytest.fixture(scope="module")
def query(segmenter) -> Query:
    sample = square_sample(0, references=3)
    return Query(Image.fromarray(sample.image), sample.concept, segmenter.prepare(sample.references))


def result(check: float | None, agreement: float | None) -> SegmentationResult:
    return SegmentationResult("x", check_iou=check, signals=Signals(0.5, 0.5, agreement, check))


def test_the_better_check_goes_first_then_the_better_agreement():
    assert merit_of(result(0.8, 0.1)) > merit_of(result(0.5, 0.9))
    assert merit_of(result(0.81, 0.3)) > merit_of(result(0.84, 0.2))  # the same tenth
    assert merit_of(result(None, 0.3)) > merit_of(result(None, None))


def test_of_several_responses_the_best_is_kept(segmenter, query, monkeypatch):
    asked = []

    def respond(queries, *, temperature=0.0, seed=None):
        asked.append((queries[0].references.loaded[0], temperature, seed))
        return real(queries, temperature=temperature, seed=seed)

    real = segmenter.respond
    monkeypatch.setattr(segmenter, "respond", respond)
    several = segmenter.segment_batch([query], route="reason", samples=3, seed=5)[0]
    assert [(t > 0, s) for _, t, s in asked] == [(False, None), (True, 6), (True, 7)]
    assert [one for one, _, _ in asked] == list(query.references.loaded)  # each withholds another one
    monkeypatch.undo()
    again = segmenter.segment_batch([query], route="reason", samples=3, seed=5)[0]
    assert several.response.text == again.response.text and np.array_equal(several.mask, again.mask)
    greedy = segmenter.segment_batch([query], route="reason")[0]
    assert merit_of(several) >= merit_of(greedy)


def test_what_a_rule_begins_keeps_its_order(query, segmenter):
    assert turned_query(query, 1, segmenter.model).references.loaded[0] is query.references.loaded[1]
    assert turned_query(query, 3, segmenter.model) is query
    begun = replace(query, rule=AppliedRule("<think>t</think>"))
    assert turned_query(begun, 1, segmenter.model) is begun


def test_a_request_follows_the_rule_unless_it_says_otherwise():
    assert Request.of("auto", Route.DIRECT).route is RouteChoice.DIRECT
    assert Request.of("auto", Route.REASONED).route is RouteChoice.REASON
    assert Request.of("direct", Route.REASONED).route is RouteChoice.DIRECT
    assert Request.of("auto").route is RouteChoice.AUTO
    with pytest.raises(InputError, match="samples must be 1…64, got 0"):
        Request.of("auto", samples=0)


def test_objects_are_those_above_the_score_the_best_first():
    masks = torch.full((1, 3, 4, 4), -9.0)
    masks[0, 0, :2], masks[0, 1, 2:] = 9.0, 9.0
    found = Instances(masks, torch.tensor([[0.0, 3.0, 5.0]]), torch.tensor([9.0]), torch.zeros(1, 3, 4))
    objects = FoundObjects.of(found, 0)
    one, other = objects.above(0.4, (8, 8))  # the third has no pixel
    assert one.score > 0.9 > other.score > 0.49
    assert one.box == (0, 4, 8, 8) and other.box == (0, 0, 8, 4)
    assert len(objects.above(0.6, (8, 8))) == 1


def test_every_answer_says_what_it_is_worth(segmenter, query):
    for route in ("direct", "reason"):
        answer = segmenter.segment_batch([query], route=route)[0]
        assert 0 <= answer.confidence <= 1 and not answer.calibrated
        assert answer.found == answer.mask.any() and answer.expected_iou is None
        told = answer.to_dict()
        assert set(told["signals"]) == {"presence", "sharpness", "agreement", "check"}
        assert all(one.mask.shape == answer.mask.shape for one in answer.instances_above(0.05))
    with pytest.raises(InputError, match="must lie in 0…1"):
        answer.instances_above(2)


def test_a_mask_may_be_the_union_of_objects(segmenter, query):
    plain = segmenter.segment_batch([query], route="reason", always=True)[0]
    joined = segmenter.segment_batch([query], route="reason", always=True, mask_from="instances", score_threshold=0.0)[
        0
    ]
    objects = plain.instances_above(0.0)
    assert objects and np.array_equal(joined.mask, np.any([one.mask for one in objects], axis=0))
    assert joined.objects_above == 0.0 and joined.to_dict()["mask_from"] == "instances"
    assert plain.objects_above is None and plain.to_dict()["mask_from"] == "semantic"
    none = segmenter.segment_batch([query], route="reason", always=True, mask_from="instances", score_threshold=1.0)[0]
    assert not none.mask.any() and (NO_OBJECT in none.notes) == bool(plain.mask.any())
    with pytest.raises(InputError, match="comes from one of semantic, instances, got 'both'"):
        segmenter.segment_batch([query], mask_from="both")
    with pytest.raises(InputError, match=r"score threshold must lie in 0…1, got 2"):
        segmenter.segment_batch([query], mask_from="instances", score_threshold=2)


def test_a_learned_router_chooses_where_it_is_asked_to(segmenter, query, monkeypatch):
    with pytest.raises(InputError, match="has no calibrated router"):
        segmenter.segment_batch([query], route="calibrated")
    accepted = []

    class Router(CalibratedRouter):
        def accepts(self, signs):
            accepted.append(signs)
            return len(accepted) == 1

    monkeypatch.setattr(segmenter.model, "router", Router.model_construct())
    first, second = segmenter.segment_batch([query, query], route="calibrated")
    assert (first.route, second.route) == (Route.DIRECT, Route.REASONED)
    assert first.router is second.router is RouterName.CALIBRATED and first.to_dict()["router"] == "calibrated"
    assert [signs.words for signs in accepted] == [2, 2] and accepted[0].presence == first.presence == second.presence
    assert segmenter.segment_batch([query])[0].router is RouterName.PAPER
    assert segmenter.segment_batch([query], route="direct")[0].router is None


def test_both_ways_are_the_two_routes(segmenter, query):
    ((signs, direct, reasoned),) = segmenter.answer_both_ways([query])
    alone = segmenter.segment_batch([query], route="direct", always=True)[0]
    thought = segmenter.segment_batch([query], route="reason", always=True)[0]
    assert np.array_equal(direct.mask, alone.mask) and np.array_equal(reasoned.mask, thought.mask)
    assert signs.presence == alone.presence and signs.words == 2 and signs.agreement is None  # no prior


def test_two_passes_say_who_chose(segmenter, query):
    ((_, result),) = segmenter.stream_in_two_passes([query.image], query.concept)
    assert result.router is RouterName.PAPER and result.route is not None
    ((_, forced),) = segmenter.stream_in_two_passes([query.image], query.concept, route="reason")
    assert forced.router is None
