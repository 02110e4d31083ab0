"""The warm-up of nano's translation: strangers are about pictures without the thing, and a batch teaches."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from conceptseg.data.world import ConceptWorld
from conceptseg.models.conceptseg import ConceptSegModel
from nano.episodes import Episode, EpisodeData
from nano.translation_stage import TranslationLearner, with_strangers
from tests.training.tiny import tiny_model


@pytest.fixture(scope="module")
def model() -> ConceptSegModel:
    return tiny_model()


def episode_of(model: ConceptSegModel, task: str, index: int = 0) -> Episode:
    world = ConceptWorld(tasks=[task], split="train", seed=0, size_px=64, references=2)
    data = EpisodeData(model, world, seed=0)
    return next(e for e in (data[index + k] for k in range(20)) if len(e.references) == 2)


def test_strangers_keep_their_references_and_take_another_target(model: ConceptSegModel) -> None:
    camouflage, defect = episode_of(model, "camouflage"), episode_of(model, "industrial_anomaly")
    first, second = with_strangers([camouflage, defect])
    assert not first.mask.any()
    assert first.image is defect.image
    assert first.prompt.text == camouflage.prompt.text
    assert first.prompt.images[0] is camouflage.prompt.images[0]
    assert first.prompt.images[-1] is defect.prompt.images[-1]
    assert second is defect


@pytest.mark.parametrize("task", ["saliency", "common_consistency", "static_difference", "industrial_anomaly"])
def test_what_might_be_there_all_the_same_is_not_said_to_be_absent(model: ConceptSegModel, task: str) -> None:
    asked, other = episode_of(model, task), episode_of(model, "industrial_anomaly")
    assert with_strangers([asked, other])[0] is asked


def test_a_batch_teaches_the_translation_alone(model: ConceptSegModel) -> None:
    torch.manual_seed(0)
    learner = TranslationLearner(model)
    episodes = [episode_of(model, task) for task in ("camouflage", "living", "camouflage", "industrial_anomaly")]
    loss, numbers, count = learner.loss(episodes)
    loss.backward()
    assert count == 4
    assert np.isfinite(float(loss.detach()))
    assert {"iou_ideal", "iou_own", "presence_absent", "presence_loss"} <= set(numbers)
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in learner.parameters())
    assert all(p.grad is None for p in model.segmenter.parameters())
