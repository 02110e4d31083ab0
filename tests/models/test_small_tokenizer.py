"""The tokenizer of small models."""

from __future__ import annotations

import pytest

from conceptseg.models.small_tokenizer import build_tokenizer

TEXTS = ["hidden crab", "Segment every grapes, wherever it is.", "find : boxes . check"]


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer(TEXTS)


def test_every_coordinate_tag_and_known_word_is_one_token(tokenizer):
    text = "<check>[0, 34, 168, 9]</check>"
    assert tokenizer.tokenize(text) == ["<check>", "[", "0", ", ", "34", ", ", "168", ", ", "9", "]", "</check>"]
    assert tokenizer.tokenize("hidden crab") == ["hidden", "Ġcrab"]


@pytest.mark.parametrize(
    "text", ["<rule>Segment every grapes, wherever it is.</rule>", "zebra ünïcode 你好 169 1234", "a\n b"]
)
def test_any_text_survives_the_round_trip(tokenizer, text):
    assert tokenizer.decode(tokenizer(text).input_ids, skip_special_tokens=True) == text


def test_the_segmenters_texts_are_wrapped():
    ids = build_tokenizer(TEXTS, wrap=True)("hidden crab").input_ids
    assert len(ids) == 4
    assert ids[0] != ids[-1]
