from __future__ import annotations

import pytest
import torch

from conceptseg.models.conceptseg import ConceptSegModel
from conceptseg.training.config import ModelSection
from conceptseg.training.loading import load_for_training


def load(checkpoint, *, needs_translation=False, **choices):
    section = ModelSection(checkpoint=str(checkpoint), **choices)
    return load_for_training(section, seed=1, device="cpu", needs_translation=needs_translation)


def queries_of(model):
    return model.translation.state_dict()["learnable_query.weight"]


@pytest.mark.parametrize("needs_translation", [True, False], ids=["warmup", "meta-grpo"])
def test_a_translation_is_kept_unless_another_is_asked_for(tiny_checkpoint, needs_translation):
    """In both stages: one-stage training (Table 4c) starts stage II with a fresh one."""
    stored = queries_of(ConceptSegModel.from_pretrained(tiny_checkpoint))
    kept = load(tiny_checkpoint, needs_translation=needs_translation)
    same_size = load(tiny_checkpoint, needs_translation=needs_translation, concept_tokens=2)
    fresh = load(tiny_checkpoint, needs_translation=needs_translation, fresh_translation=True)
    resized = load(tiny_checkpoint, needs_translation=needs_translation, concept_tokens=5)
    assert torch.equal(queries_of(kept), stored)
    assert torch.equal(queries_of(same_size), stored)
    assert queries_of(fresh).shape == stored.shape and not torch.equal(queries_of(fresh), stored)
    assert len(queries_of(resized)) == resized.config.translation.num_queries == 5


def test_two_models_without_a_translation_get_one_where_it_is_needed_or_asked_for(tiny_checkpoint):
    pair = f"{tiny_checkpoint}/mllm+{tiny_checkpoint}/sam"
    assert load(pair).translation is None
    assert load(pair, needs_translation=True).config.translation.num_queries == 8  # L2 of Table 7
    assert load(pair, fresh_translation=True).config.translation.num_queries == 8
