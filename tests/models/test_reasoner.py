"""The reasoner: the states it keeps while generating are those of a full pass."""

from __future__ import annotations

import pytest
import torch
from PIL import Image

from conceptseg.models.reasoner import Generation, Prompt
from conceptseg.protocol import format_response


@pytest.fixture(scope="module")
def prompts(nano) -> list[Prompt]:
    """Three questions of different lengths."""
    one, other = Image.new("RGB", (90, 60), (200, 30, 30)), Image.new("RGB", (50, 80), (20, 90, 30))
    model = nano.model
    mosaic = nano.build_mosaic([])
    return [
        model.build_prompt("salient object", one, mosaic),
        model.build_prompt("common object", other, mosaic),
        model.build_prompt("what changed", one, mosaic),
    ]


@torch.no_grad()
def full_pass(nano, prompts: list[Prompt], generation: Generation) -> torch.Tensor:
    """Last-layer states of the response tokens by one ordinary forward pass over prompt and response."""
    reasoner = nano.model.reasoner
    inputs = reasoner.encode(prompts)
    width = generation.token_ids.shape[1]
    for key, filler in (("attention_mask", 1), ("mm_token_type_ids", 0)):
        more = torch.full_like(generation.token_ids, filler)
        inputs[key] = torch.cat([inputs[key], more], dim=1)
    inputs["input_ids"] = torch.cat([inputs["input_ids"], generation.token_ids], dim=1)
    return reasoner.mllm.model(**inputs, use_cache=False).last_hidden_state[:, -width:]


@pytest.mark.parametrize("max_new_tokens", [1, 2, 24])
def test_states_kept_while_generating_are_those_of_a_full_pass(nano, prompts, max_new_tokens):
    generation = nano.model.reasoner.generate(prompts, max_new_tokens=max_new_tokens)
    assert generation.hidden_states.shape[:2] == generation.token_ids.shape == generation.mask.shape
    expected = full_pass(nano, prompts, generation)[generation.mask]
    torch.testing.assert_close(generation.hidden_states[generation.mask], expected, atol=1e-4, rtol=0)


@torch.no_grad()
def test_states_of_written_responses_are_those_of_generating_them(nano, prompts):
    reasoner = nano.model.reasoner
    limit = nano.model.config.protocol.max_new_tokens
    generation = reasoner.generate(prompts, max_new_tokens=limit)
    written = reasoner.hidden_states_of(prompts, generation.texts)
    compared = 0
    for row in range(len(prompts)):
        ids = generation.token_ids[row][generation.mask[row]]
        if not generation.truncated[row] and torch.equal(ids, written.token_ids[row][written.mask[row]]):
            kept, again = (g.hidden_states[row][g.mask[row]] for g in (generation, written))
            torch.testing.assert_close(kept, again, atol=1e-4, rtol=0)
            compared += 1
    if not compared:
        pytest.skip("no response of this checkpoint ended and reads back as the same tokens")


@torch.no_grad()
def test_padding_does_not_change_the_states_of_written_responses(nano, prompts):
    reasoner = nano.model.reasoner
    texts = [
        format_response("a", "b", None, (1, 2, 3, 4), "c"),
        format_response("a a a a a", "b b b", None, (10, 20, 130, 140), "c c"),
        "a",
    ]
    together = reasoner.hidden_states_of(prompts, texts)
    for row, (prompt, text) in enumerate(zip(prompts, texts, strict=True)):
        alone = reasoner.hidden_states_of([prompt], [text])
        torch.testing.assert_close(
            together.hidden_states[row][together.mask[row]], alone.hidden_states[0][alone.mask[0]], atol=1e-4, rtol=0
        )


def test_an_image_token_in_a_users_text_is_no_image():
    prompt = Prompt((Image.new("RGB", (28, 28)),), "a <|image_pad|> b")
    assert prompt.messages()[0]["content"][-1]["text"] == "a   b"


def test_what_stands_behind_the_end_is_masked(nano):
    end = nano.model.reasoner.end_token_id
    mask, ended = nano.model.reasoner._response_mask(torch.tensor([[5, end, 7, end], [5, 6, 7, 8]]))
    assert mask.tolist() == [[True, True, False, False], [True, True, True, True]]
    assert ended == (True, False)


def test_sampling_draws_from_all_tokens(nano):
    config = nano.model.reasoner._generation_config(4, 1.0, 1.0)
    prepared, _ = nano.model.reasoner.mllm._prepare_generation_config(config)
    assert prepared.do_sample and prepared.top_k == 0 and prepared.top_p == 1.0
