"""The concept translation (Eq. 3): padding, gradients, sizes."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError
from transformers import AutoTokenizer, Sam3Model

from conceptseg.errors import InputError
from conceptseg.models.segmenter import PromptSegmenter
from conceptseg.models.translation import ConceptTranslation, TranslationConfig
from tests.models.tiny import PROMPT, WIDTH


def translation(num_queries: int = 8, depth: int = 2) -> ConceptTranslation:
    torch.manual_seed(0)
    config = TranslationConfig(hidden_size=WIDTH, prompt_size=PROMPT, num_queries=num_queries, depth=depth)
    return ConceptTranslation(config).eval()


def states(batch: int, tokens: int) -> torch.Tensor:
    return torch.randn(batch, tokens, WIDTH, generator=torch.Generator().manual_seed(7))


@pytest.mark.parametrize("num_queries", [1, 2, 4, 8, 16, 32])
def test_every_number_of_queries_runs(num_queries):
    tokens = translation(num_queries)(states(3, 5), torch.ones(3, 5, dtype=torch.bool))
    assert tokens.shape == (3, num_queries, PROMPT) and tokens.isfinite().all()


@torch.no_grad()
def test_a_padded_batch_gives_what_its_members_give_alone():
    lengths, longest = (3, 9, 6, 1), 9
    batch = states(len(lengths), longest)
    mask = torch.arange(longest) < torch.tensor(lengths)[:, None]
    batch[~mask] = 1e4  # whatever stands on padding must not matter
    module = translation()
    together = module(batch, mask)
    for row, length in enumerate(lengths):
        alone = module(batch[row : row + 1, :length], torch.ones(1, length, dtype=torch.bool))
        torch.testing.assert_close(together[row : row + 1], alone, atol=1e-5, rtol=0)


@torch.no_grad()
def test_left_and_right_padding_are_the_same():
    module, response = translation(), states(1, 4)
    padding, hidden = torch.zeros(1, 3, WIDTH), torch.zeros(1, 3, dtype=torch.bool)
    shown = torch.ones(1, 4, dtype=torch.bool)
    left = module(torch.cat([padding, response], 1), torch.cat([hidden, shown], 1))
    right = module(torch.cat([response, padding], 1), torch.cat([shown, hidden], 1))
    torch.testing.assert_close(left, right, atol=1e-5, rtol=0)


@torch.no_grad()
def test_the_response_matters_and_an_empty_one_is_no_number_trouble():
    module, mask = translation(), torch.ones(1, 4, dtype=torch.bool)
    one, other = module(states(1, 4), mask), module(states(1, 4).flip(2), mask)
    assert (one - other).abs().max() > 1e-3
    assert module(torch.zeros(1, 4, WIDTH), ~mask).isfinite().all()


def test_gradients_pass_the_frozen_segmenter_and_reach_the_queries(sam_folder):
    segmenter = PromptSegmenter(
        Sam3Model.from_pretrained(sam_folder, config=None), AutoTokenizer.from_pretrained(sam_folder)
    ).requires_grad_(False)
    module = translation().train()
    pixels = torch.rand(2, 3, segmenter.image_px, segmenter.image_px)
    tokens = module(states(2, 5), torch.ones(2, 5, dtype=torch.bool))
    prompt = segmenter.embed_text(["cat", "cat"]).prepend(tokens)
    segmenter.decode(segmenter.encode(pixels), prompt).semantic.square().mean().backward()
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name
    assert all(parameter.grad is None for parameter in segmenter.parameters())


def test_states_of_another_mllm_are_refused():
    with pytest.raises(InputError, match="expects hidden states of width 32, got 48"):
        translation()(torch.zeros(1, 2, 48), torch.ones(1, 2, dtype=torch.bool))


def test_heads_must_divide_the_width():
    with pytest.raises(ValidationError, match="hidden_size must be a multiple of num_heads, got 30 and 16"):
        TranslationConfig(hidden_size=30)


def test_bfloat16_states_are_taken():
    tokens = translation()(states(1, 3).bfloat16(), torch.ones(1, 3, dtype=torch.bool))
    assert tokens.dtype == torch.float32
