"""Writing with drafts, shared beginnings and rows that leave: the text is what it would be without any of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace

import pytest
import torch
from PIL import Image
from transformers import GenerationConfig

from conceptseg.errors import InputError
from conceptseg.models.reasoner import Generation, Prompt, Reasoner
from conceptseg.protocol import expected_parts, format_response
from tests.training.tiny import tiny_model

SAID = format_response("red disc", "a rule", (1, 2, 30, 40), (5, 6, 50, 51), "red disc")


def picture(shade: int) -> Image.Image:
    return Image.new("RGB", (56, 56), (shade, 30, 255 - shade))


def prompt(target: int = 10, words: str = "red disc", mosaic: int = 200) -> Prompt:
    text = f"find : {words} . " + "boxes [[1, 2, 3, 4]] . " * 4
    return Prompt((picture(mosaic), picture(target)), text, text_first=True, parts=expected_parts())


def without_drafts(prompts: Sequence[Prompt]) -> list[Prompt]:
    return [replace(one, parts=()) for one in prompts]


@pytest.fixture(scope="module")
def reasoner() -> Reasoner:
    return tiny_model().reasoner


@contextmanager
def forced(reasoner: Reasoner, token_at: Callable[[torch.Tensor], torch.Tensor]) -> Iterator[None]:
    """Makes the MLLM write what a function says of its (rotary) positions, however the passes part them."""
    seen: list[torch.Tensor] = []

    def look(_module: object, _given: object, kwargs: dict[str, torch.Tensor]) -> None:
        seen[:] = [kwargs["position_ids"][-1]]

    def force(_module: object, _given: object, logits: torch.Tensor) -> torch.Tensor:
        places = seen[0][:, -logits.shape[1] :]
        return torch.nn.functional.one_hot(token_at(places), logits.shape[-1]).float()

    hooks = [
        reasoner.mllm.model.language_model.register_forward_pre_hook(look, with_kwargs=True),
        reasoner.mllm.lm_head.register_forward_hook(force),
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def last_position(reasoner: Reasoner, prompts: Sequence[Prompt]) -> int:
    inputs = {name: value for name, value in reasoner.encode(prompts).items() if name != "pixel_values"}
    return int(reasoner.mllm.model.get_rope_index(**inputs)[0].max())


def saying(reasoner: Reasoner, prompts: Sequence[Prompt], text: str) -> AbstractContextManager[None]:
    """Makes the MLLM say this to prompts of one length."""
    tokens = torch.tensor(reasoner.response_ids([text])[0])
    start = last_position(reasoner, prompts[:1])
    return forced(reasoner, lambda places: tokens[(places - start).clamp(0, len(tokens) - 1)])


def assert_same(one: Generation, other: Generation) -> None:
    assert one.texts == other.texts
    assert torch.equal(one.token_ids, other.token_ids) and torch.equal(one.mask, other.mask)
    torch.testing.assert_close(one.hidden_states[one.mask], other.hidden_states[other.mask], atol=1e-4, rtol=0)


def test_tags_that_are_right_save_passes_and_change_nothing(reasoner):
    prompts = [prompt(10), prompt(90)]
    with saying(reasoner, prompts, SAID):
        drafted = reasoner.generate(prompts, max_new_tokens=200)
        written = reasoner.generate(without_drafts(prompts), max_new_tokens=200)
    assert drafted.texts == [SAID, SAID] and drafted.truncated == [False, False]
    assert_same(drafted, written)
    assert written.passes == written.token_ids.shape[1] + 1  # one for the prompt, one for the last token's state
    assert drafted.passes < 0.7 * written.passes


@pytest.mark.parametrize("limit", [1, 2, 3, 20])
def test_drafts_that_are_wrong_change_nothing(reasoner, limit):
    prompts = [prompt(10), prompt(90, "bright square in the dark")]
    assert_same(
        reasoner.generate(prompts, max_new_tokens=limit),
        reasoner.generate(without_drafts(prompts), max_new_tokens=limit),
    )


@pytest.mark.parametrize("limit", range(4, 10))
def test_a_limit_may_fall_within_a_draft(reasoner, limit):
    with saying(reasoner, [prompt()], SAID):
        drafted = reasoner.generate([prompt()], max_new_tokens=limit)
        written = reasoner.generate(without_drafts([prompt()]), max_new_tokens=limit)
    assert drafted.truncated == [True] and drafted.token_ids.shape[1] == limit
    assert_same(drafted, written)


def test_rows_that_end_leave_and_the_others_go_on(reasoner):
    prompts = [prompt(10, mosaic=40), prompt(90, "bright square in the dark"), prompt(170, "dark")]
    end, last = reasoner.end_token_id, last_position(reasoner, prompts) + 4
    with forced(reasoner, lambda places: torch.where(places < last, 100 + places % 50, end)):
        inputs = reasoner.encode(prompts)
        config = GenerationConfig(max_new_tokens=40, eos_token_id=end, pad_token_id=reasoner.pad_token_id)
        theirs = reasoner.mllm.generate(**inputs, generation_config=config)[:, inputs.input_ids.shape[1] :]
        ours = reasoner.generate(prompts, max_new_tokens=40)
        for row, mask in enumerate(ours.mask):
            assert ours.token_ids[row][mask].tolist() == theirs[row][: int(mask.sum())].tolist()
            alone = reasoner.generate(prompts[row : row + 1], max_new_tokens=40)
            torch.testing.assert_close(alone.hidden_states[0], ours.hidden_states[row][mask], atol=1e-4, rtol=0)
    assert len(set(ours.mask.sum(dim=1).tolist())) == 3 and ours.truncated == [False] * 3


def test_a_beginning_is_read_once_and_the_answers_are_the_same(reasoner, monkeypatch):
    reasoner.forget()
    read = []
    see = reasoner.mllm.model.get_image_features
    monkeypatch.setattr(
        reasoner.mllm.model, "get_image_features", lambda pixels, grids: read.append(len(grids)) or see(pixels, grids)
    )
    prompts = [prompt(10), prompt(90)]
    first = reasoner.generate(prompts, max_new_tokens=6, remember=True)
    again = reasoner.generate(prompts, max_new_tokens=6, remember=True)
    assert read == [1, 2, 2]  # the mosaic; the targets; the targets
    plain = reasoner.generate(without_drafts(prompts), max_new_tokens=6)
    assert read[3:] == [3]  # the mosaic counts once
    assert_same(first, plain)
    assert_same(again, plain)


def test_what_was_said_to_a_beginning_is_drafted_for_the_next(reasoner):
    reasoner.forget()
    with saying(reasoner, [prompt()], SAID):
        first = reasoner.generate([prompt(10)], max_new_tokens=200, remember=True)
        again = reasoner.generate([prompt(90)], max_new_tokens=200, remember=True)
        plain = reasoner.generate([prompt(90)], max_new_tokens=200)
    assert again.passes < first.passes / 2
    assert_same(again, plain)


def test_what_is_begun_gives_the_same_states_to_the_bit_however_often(reasoner):
    reasoner.forget()
    begun = ["<think>red disc</think>\n<rule>a rule</rule>\n"]
    one, other = (reasoner.generate([prompt()], max_new_tokens=6, begun=begun, remember=True) for _ in range(2))
    assert torch.equal(one.hidden_states, other.hidden_states)
    assert_same(one, reasoner.generate(without_drafts([prompt()]), max_new_tokens=6, begun=begun))


def test_prompts_that_begin_differently_share_nothing(reasoner):
    reasoner.forget()
    for prompts in ([prompt(10), prompt(10, mosaic=40)], [prompt(), prompt(words="dark")]):
        assert_same(
            reasoner.generate(prompts, max_new_tokens=4, remember=True), reasoner.generate(prompts, max_new_tokens=4)
        )
    assert len(reasoner._beginnings) == 0


def test_what_other_weights_read_is_read_again():
    reasoner = tiny_model(seed=3).reasoner
    reasoner.generate([prompt()], max_new_tokens=4, remember=True)
    with torch.no_grad():
        reasoner.mllm.model.language_model.layers[0].mlp.down_proj.weight.mul_(3.0)
    assert_same(
        reasoner.generate([prompt()], max_new_tokens=4, remember=True), reasoner.generate([prompt()], max_new_tokens=4)
    )


def test_few_beginnings_are_kept_and_all_can_be_forgotten(reasoner):
    for mosaic in range(0, 240, 40):
        reasoner.generate([prompt(mosaic=mosaic)], max_new_tokens=1, remember=True)
    assert len(reasoner._beginnings) == 4
    reasoner.forget()
    assert len(reasoner._beginnings) == 0


def test_drafts_leave_chance_as_it_is(reasoner):
    """The first token is drafted; it comes as often as it would."""
    think, other = reasoner.response_ids(["<think>"], ended=False)[0][0], 9
    logits = torch.full((reasoner.mllm.config.text_config.vocab_size,), -torch.inf)
    logits[think], logits[other] = torch.tensor([0.7, 0.3]).log()
    hook = reasoner.mllm.lm_head.register_forward_hook(lambda _m, _i, given: logits.expand(given.shape))
    try:
        drawn = reasoner.generate([prompt()] * 400, max_new_tokens=2, temperature=1.0, seed=5).token_ids
    finally:
        hook.remove()
    shares = (drawn == think).float().mean(dim=0)
    assert abs(float(shares[0]) - 0.7) < 0.06 and abs(float(shares[1]) - 0.7) < 0.06
    both = ((drawn == think).all(dim=1)).float().mean()
    assert abs(float(both) - 0.49) < 0.07


def test_nothing_to_respond_to_is_refused(reasoner):
    with pytest.raises(InputError, match="at least one prompt"):
        reasoner.generate([], max_new_tokens=1)
