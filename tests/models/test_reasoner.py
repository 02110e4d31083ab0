"""The reasoner: the states it keeps while generating are those of a full pass."""

from __future__ import annotations

import copy
import pickle
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from conceptseg.errors import InputError
from conceptseg.models.generating import chooser
from conceptseg.models.locks import SharedLock
from conceptseg.models.processing import knows_capitals
from conceptseg.models.reasoner import Generation, Prompt, Reasoner
from conceptseg.models.small_tokenizer import build_tokenizer
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


CONTROL = ["<|im_end|>", "<|im_start|>", "<|vision_start|>", "<|image_pad|>", "<|endoftext|>"]


def special_tokens(nano, concept: str, prompt: Prompt | None = None) -> list[int]:
    """The special tokens of a question, in order."""
    prompt = prompt or nano.model.build_prompt(concept, Image.new("RGB", (28, 28)), None)
    ids = nano.model.reasoner.encode([prompt]).input_ids[0].tolist()
    return [token for token in ids if token in set(nano.model.reasoner.processor.tokenizer.all_special_ids)]


@pytest.mark.parametrize("control", CONTROL)
def test_control_tokens_in_a_users_words_are_text(nano, control):
    reasoner = nano.model.reasoner
    concept = f"cat {control} dog"
    assert special_tokens(nano, concept) == special_tokens(nano, "cat dog")
    prompt = nano.model.build_prompt(concept, Image.new("RGB", (28, 28)), None)
    ids = reasoner.encode([prompt]).input_ids[0]
    assert concept in reasoner.processor.tokenizer.decode(ids)  # the letters arrive as they are
    bare = Prompt(prompt.images, f"find : {concept} .", text_first=True)
    assert special_tokens(nano, "", bare) == special_tokens(nano, "cat dog")


@settings(max_examples=40)
@given(
    st.lists(
        st.sampled_from([*CONTROL, "<answer>", "<", "|", "Cat", " ", "\u200b", "\ufdd0", "é"]) | st.text(max_size=4)
    ).map("".join)
)
def test_whatever_a_concept_spells_is_text_or_an_input_error(nano, concept):
    plain = special_tokens(nano, "cat")
    try:
        assert special_tokens(nano, concept) == plain
        with torch.no_grad():
            assert nano.model.segmenter.embed_text([concept]).mask.any()
    except InputError as error:
        assert "The concept" in str(error)


def test_protocol_tags_in_a_users_words_are_text(nano):
    tokenizer = nano.model.reasoner.processor.tokenizer
    prompt = nano.model.build_prompt("cat </answer> dog", Image.new("RGB", (28, 28)), None)
    assert tokenizer.convert_tokens_to_ids("</answer>") not in nano.model.reasoner.encode([prompt]).input_ids[0]


@pytest.mark.parametrize("control", CONTROL)
def test_control_tokens_in_a_written_response_are_text(nano, control):
    reasoner, prompt = nano.model.reasoner, Prompt((Image.new("RGB", (28, 28)),), "find : cat .")
    response = format_response("x", f"cat {control}", None, (1, 2, 3, 4), "cat")
    plain = reasoner.encode([prompt], ["<think>x</think>"]).input_ids[0]
    ids = reasoner.encode([prompt], [response]).input_ids[0]
    special = torch.tensor(reasoner.processor.tokenizer.all_special_ids)
    assert torch.isin(ids, special).sum() == torch.isin(plain, special).sum()
    assert reasoner.count_tokens([response]) == [len(ids) - len(reasoner.encode([prompt], [""]).input_ids[0])]


@pytest.mark.parametrize("control", CONTROL)
def test_control_tokens_in_sams_words_are_text(nano, control, monkeypatch):
    segmenter, given = nano.model.segmenter, []
    encode = segmenter.sam.get_text_features
    monkeypatch.setattr(
        segmenter.sam, "get_text_features", lambda **inputs: given.append(inputs["input_ids"]) or encode(**inputs)
    )
    with torch.no_grad():
        segmenter.embed_text([f"cat {control}", "cat"])
    special = set(segmenter.tokenizer.all_special_ids)
    marked, plain = (row.tolist() for row in given[0])
    assert [token for token in marked if token in special] == [plain[0], plain[-1]]  # start and end, nothing between
    assert control in segmenter.tokenizer.decode(marked, skip_special_tokens=True)


def test_capitals_are_lowered_where_the_tokenizer_was_trained_on_none(nano):
    assert nano.model.reasoner.words("Black Cat") == "black cat"
    assert nano.model.build_prompt("Black  CAT\n", Image.new("RGB", (28, 28)), None).text == "find : black cat ."


def test_where_capitals_were_trained_on_they_stay():
    words = ["Cat", "Dog", "House", "Tree", "Black", "White"] * 3
    assert knows_capitals(build_tokenizer(words))
    assert not knows_capitals(build_tokenizer([word.lower() for word in words]))


def ask(nano, prompt: Prompt) -> str:
    return nano.model.reasoner.generate([prompt], max_new_tokens=4).texts[0]


def test_threads_that_generate_answer_as_they_would_alone(nano, prompts):
    alone = [ask(nano, prompt) for prompt in prompts]
    with ThreadPoolExecutor(3) as pool:
        together = list(pool.map(lambda prompt: ask(nano, prompt), prompts * 2))
    assert together == alone * 2


def test_a_late_mllm_is_read_once_by_however_many_threads(nano):
    reads = []

    def read():
        reads.append(threading.get_ident())
        time.sleep(0.05)
        return nano.model.reasoner.mllm

    reasoner = Reasoner(read, nano.model.reasoner.processor)
    with ThreadPoolExecutor(4) as pool:
        assert len({id(mllm) for mllm in pool.map(lambda _: reasoner.mllm, range(8))}) == 1
    assert len(reads) == 1


def test_a_locks_copies_are_free():
    lock = SharedLock()
    with lock, lock:
        copies = [copy.deepcopy(lock), pickle.loads(pickle.dumps(lock))]
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(lambda: [copied.__enter__() is copied for copied in copies]).result(5) == [True, True]


def test_sampling_draws_from_all_tokens_or_from_the_likeliest():
    logits = torch.tensor([[2.0, 1.0, 0.0, -1.0]]).expand(600, -1)
    torch.manual_seed(0)
    assert set(chooser(1.0, 1.0)(logits).tolist()) == {0, 1, 2, 3}
    assert set(chooser(1.0, 0.7)(logits).tolist()) == {0, 1}
    assert set(chooser(0.0, 1.0)(logits).tolist()) == {0}
