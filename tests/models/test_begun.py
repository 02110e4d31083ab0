"""Responses that are gone on with: what is begun is read, not written, and counts as response all the same."""

from __future__ import annotations

import pytest
import torch
from PIL import Image

from conceptseg.models.conceptseg import ConceptSegModel
from conceptseg.models.reasoner import Prompt
from tests.training.tiny import tiny_model

BEGUN = "<think>red disc</think>\n<rule>a rule</rule>\n"


@pytest.fixture(scope="module")
def model() -> ConceptSegModel:
    return tiny_model()


@pytest.fixture(scope="module")
def prompts(model: ConceptSegModel) -> list[Prompt]:
    pictures = Image.new("RGB", (90, 60), (200, 30, 30)), Image.new("RGB", (50, 80), (20, 90, 30))
    return [
        model.build_prompt(words, one, None) for words, one in zip(("red disc", "bright square"), pictures, strict=True)
    ]


@torch.no_grad()
def test_going_on_gives_the_states_of_a_full_pass(model, prompts):
    reasoner = model.reasoner
    generation = reasoner.generate(prompts, max_new_tokens=5, begun=[BEGUN, BEGUN + "<check>"])
    inputs = reasoner.encode(prompts, [BEGUN, BEGUN + "<check>"], ended=False)
    new = generation.token_ids[:, -5:]
    for key, more in (("input_ids", new), ("attention_mask", torch.ones_like(new))):
        inputs[key] = torch.cat([inputs[key], more], dim=1)
    inputs["mm_token_type_ids"] = torch.cat([inputs["mm_token_type_ids"], torch.zeros_like(new)], dim=1)
    whole = reasoner.mllm.model(**inputs, use_cache=False).last_hidden_state
    width = generation.token_ids.shape[1]
    assert generation.hidden_states.shape[:2] == generation.mask.shape == (2, width)
    expected = whole[:, -width:][generation.mask]
    torch.testing.assert_close(generation.hidden_states[generation.mask], expected, atol=1e-4, rtol=0)


def test_what_is_begun_is_part_of_the_response_and_the_shorter_one_is_padded(model, prompts):
    generation = model.reasoner.generate(prompts, max_new_tokens=3, begun=[BEGUN, BEGUN + "<check>"])
    assert all(text.startswith(BEGUN.strip()) for text in generation.texts)
    assert generation.texts[1].startswith(BEGUN + "<check>")
    assert generation.mask[:, 0].tolist() == [False, True]  # one token less was begun


def test_nothing_begun_is_as_before(model, prompts):
    plain = model.reasoner.generate(prompts, max_new_tokens=4)
    empty = model.reasoner.generate(prompts, max_new_tokens=4, begun=["", ""])
    assert plain.texts == empty.texts and torch.equal(plain.hidden_states, empty.hidden_states)


def test_a_seed_makes_chance_repeatable_and_leaves_torchs_own_alone(model, prompts):
    drawn = [model.reasoner.generate(prompts, max_new_tokens=6, temperature=1.0, seed=s).texts for s in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)
    model.reasoner.generate(prompts, max_new_tokens=2, temperature=1.0, seed=3)
    assert torch.equal(torch.rand(1), expected)
