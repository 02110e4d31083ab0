from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from conceptseg.data import ConceptSample, Reference
from conceptseg.errors import SampleError
from conceptseg.models.conceptseg import ConceptSegModel
from conceptseg.protocol import format_response
from conceptseg.training.episodes import EpisodeBuilder
from tests.training.tiny import FRAME_PX, tiny_model

IMAGE = np.zeros((28, 56, 3), dtype=np.uint8)
MASK = np.zeros((28, 56), dtype=bool)
MASK[7:14, 14:28] = True  # in the frame of 56: x doubles no more, y doubles


@pytest.fixture(scope="module")
def model():
    return tiny_model()


def sample(*references, **changes):
    options = {"task": "saliency", "concept": "bright square", "image": IMAGE, "mask": MASK}
    return ConceptSample("s", references=references, **(options | changes))


def test_the_truth_is_in_the_frame_that_the_model_sees(model):
    episode = EpisodeBuilder(model)(sample(Reference(IMAGE, MASK), Reference(IMAGE, MASK)))
    assert episode.truth.box == (14.0, 14.0, 28.0, 28.0)
    assert episode.truth.check == (7.0, 7.0, 14.0, 14.0)  # the top left quarter of the mosaic
    assert [image.size for image in episode.prompt.images] == [(FRAME_PX, FRAME_PX)] * 2
    assert "[35, 7, 42, 14]" in episode.prompt.text  # the shown reference
    assert "[7, 7, 14, 14]" not in episode.prompt.text  # the withheld one


@pytest.mark.parametrize("count", [0, 1])
def test_nothing_is_withheld_from_less_than_two_references(model, count):
    episode = EpisodeBuilder(model)(sample(*[Reference(IMAGE, MASK)] * count))
    assert episode.truth.check is None
    assert len(episode.prompt.images) == 1 + (count > 0)
    assert episode.read(format_response("t", "r", None, (1, 1, 2, 2), "a")).is_strict


def test_withholding_can_be_switched_off(model):
    references = [Reference(IMAGE, MASK)] * 2
    assert EpisodeBuilder(model, withhold_proxy=False)(sample(*references)).truth.check is None


def test_without_meta_reasoning_neither_rule_nor_check_is_expected(model):
    protocol = model.config.protocol.model_copy(update={"template": "direct"})
    config = model.config.model_copy(update={"protocol": protocol})
    direct = ConceptSegModel(config, model.reasoner, model.translation, model.segmenter)
    episode = EpisodeBuilder(direct)(sample(Reference(IMAGE, MASK), Reference(IMAGE, MASK)))
    assert episode.truth.check is None
    assert episode.read(format_response("t", None, None, (1, 1, 2, 2), "a")).is_strict
    assert not episode.read(format_response("t", "r", (1, 1, 2, 2), (1, 1, 2, 2), "a")).is_strict


def test_chosen_references_go_before_the_samples_own(model):
    broken = Reference("/nowhere.png")
    builder = EpisodeBuilder(model, lambda _sample, _draw: (Reference(IMAGE, MASK),))
    assert len(builder(sample(broken)).prompt.images) == 2


def test_a_missing_answer_is_the_concept(model):
    episode = EpisodeBuilder(model)(sample())
    assert episode.answer_of(episode.read("")) == "bright square"
    assert episode.answer_of(episode.read("<answer>disc</answer>")) == "disc"


def test_episodes_need_a_mask(model):
    build = EpisodeBuilder(model)
    with pytest.raises(SampleError, match="Sample 's' has no mask to learn from"):
        build(replace(sample(), mask=None))
    with pytest.raises(SampleError, match="Sample 's': the mask is empty"):
        build(sample(mask=np.zeros((28, 56), dtype=bool)))
