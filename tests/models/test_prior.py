"""The reference prior: nothing until it is trained, nothing without references, and saved with its checkpoint."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from conceptseg.errors import CheckpointError, InputError
from conceptseg.models.conceptseg import ConceptSegModel
from conceptseg.models.config import PRIOR_FILE
from conceptseg.models.matching import EVIDENCE, Evidence
from conceptseg.models.prior import PriorConfig, ReferencePrior
from conceptseg.models.segmenter import PromptSegmenter
from tests.training.tiny import tiny_model


@pytest.fixture
def model() -> ConceptSegModel:
    torch.manual_seed(0)
    model = tiny_model()
    width = model.segmenter.glance(pixels(model.segmenter)).tokens.shape[-1]
    model.segmenter.prior = ReferencePrior(PriorConfig(width=width, hidden=4)).eval()
    model.config = model.config.model_copy(update={"prior": model.segmenter.prior.config})
    return model


def pixels(segmenter: PromptSegmenter, count: int = 2) -> torch.Tensor:
    side = segmenter.image_px
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(3)) * 2 - 1


def evidence(segmenter: PromptSegmenter) -> Evidence:
    rows, columns = segmenter.glance(pixels(segmenter)).sight.grid_hw
    return Evidence(torch.rand(len(EVIDENCE), rows, columns, generator=torch.Generator().manual_seed(4)))


def say_something(segmenter: PromptSegmenter) -> None:
    assert segmenter.prior is not None
    torch.nn.init.normal_(segmenter.prior.say.weight)


@torch.no_grad()
def test_looking_and_finishing_is_encoding(model: ConceptSegModel) -> None:
    segmenter = model.segmenter
    whole = segmenter.sam.get_vision_features(pixel_values=pixels(segmenter))
    parts = segmenter.encode(pixels(segmenter)).vision
    for level, other in zip(whole.fpn_hidden_states, parts.fpn_hidden_states, strict=True):
        assert torch.equal(level, other)
    for level, other in zip(whole.fpn_position_encoding, parts.fpn_position_encoding, strict=True):
        assert torch.equal(level, other)


@torch.no_grad()
def test_an_untrained_prior_changes_nothing(model: ConceptSegModel) -> None:
    segmenter = model.segmenter
    glance = segmenter.glance(pixels(segmenter))
    plain = segmenter.features_of(glance).vision.fpn_hidden_states
    told = segmenter.features_of(glance, [evidence(segmenter)] * 2).vision.fpn_hidden_states
    assert all(torch.equal(one, other) for one, other in zip(plain, told, strict=True))


@torch.no_grad()
def test_evidence_changes_the_image_it_is_about_and_no_other(model: ConceptSegModel) -> None:
    segmenter = model.segmenter
    say_something(segmenter)
    glance = segmenter.glance(pixels(segmenter))
    plain = segmenter.features_of(glance).vision.fpn_hidden_states[0]
    told = segmenter.features_of(glance, [None, evidence(segmenter)]).vision.fpn_hidden_states[0]
    torch.testing.assert_close(told[0], plain[0])
    assert not torch.allclose(told[1], plain[1])


@torch.no_grad()
def test_the_vote_is_added_to_the_masks_logits_of_its_image_alone(model: ConceptSegModel) -> None:
    segmenter = model.segmenter
    assert segmenter.prior is not None
    glance = segmenter.glance(pixels(segmenter))
    words = segmenter.embed_text(["square", "disc"])
    plain = segmenter.decode(segmenter.features_of(glance), words)
    torch.nn.init.constant_(segmenter.prior.vote.bias, 3.0)
    told = segmenter.features_of(glance, [None, evidence(segmenter)])
    voted = segmenter.decode(told, words)
    torch.testing.assert_close(
        voted.semantic - plain.semantic,
        torch.tensor([0.0, 3.0])[:, None, None].expand_as(plain.semantic),
        atol=1e-4,
        rtol=0,
    )
    assert torch.equal(voted.presence, plain.presence)
    torch.testing.assert_close(
        segmenter.decode(told.select([1]), segmenter.embed_text(["disc"])).semantic,
        voted.semantic[1:],
        atol=1e-4,
        rtol=1e-4,
    )


def test_evidence_without_a_prior_is_refused(model: ConceptSegModel) -> None:
    segmenter = model.segmenter
    glance = segmenter.glance(pixels(segmenter))
    some = evidence(segmenter)
    with pytest.raises(InputError, match="Expected evidence for each of 2 images"):
        segmenter.features_of(glance, [some])
    segmenter.prior = None
    with pytest.raises(InputError, match="and no prior"):
        segmenter.features_of(glance, [some, some])


def test_a_prior_is_saved_with_its_checkpoint(model: ConceptSegModel, tmp_path: Path) -> None:
    say_something(model.segmenter)
    folder = model.save_pretrained(tmp_path / "one")
    again = ConceptSegModel.from_pretrained(folder)
    assert model.segmenter.prior is not None and again.segmenter.prior is not None
    assert torch.equal(again.segmenter.prior.say.weight, model.segmenter.prior.say.weight)


def test_another_sam_does_not_get_this_ones_prior(model: ConceptSegModel, tmp_path: Path) -> None:
    folder = model.save_pretrained(tmp_path / "one")
    elsewhere = model.save_pretrained(tmp_path / "other") / "sam"
    assert ConceptSegModel.from_pretrained(folder, sam=str(elsewhere)).segmenter.prior is None


def test_a_missing_prior_is_told(model: ConceptSegModel, tmp_path: Path) -> None:
    folder = model.save_pretrained(tmp_path / "one")
    (folder / PRIOR_FILE).unlink()
    with pytest.raises(CheckpointError, match="does not hold the reference prior"):
        ConceptSegModel.from_pretrained(folder)
