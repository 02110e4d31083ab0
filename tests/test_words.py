"""What does not matter in a text, what cannot be read at all, and that nothing else is refused."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conceptseg.errors import InputError
from conceptseg.words import LONGEST_WORDS, check_words, tidy_words, usable_words


@pytest.mark.parametrize(
    "typed",
    [
        "black cat", " black cat", "black cat\n", "black  cat", "black\tcat", "black\r\ncat", "\u3000black\u00a0cat",
        "black\u2028cat", "black\u200b cat", "\ufeffblack cat", "black c\u00adat", "\u202eblack cat\u202c",
        "black\x07cat", "black\x1bcat", "black cat\u200d", "bl\u200dack cat", "black \u200c cat", "black\x85cat",
    ],
)  # fmt: skip
def test_blanks_and_invisible_signs_do_not_count(typed: str):
    assert tidy_words(typed) == check_words(typed) == usable_words(typed) == "black cat"


@pytest.mark.parametrize(
    "words",
    [
        "Cat",
        "naïve",
        "猫",
        "می\u200cخواهم",
        "\U0001f469\u200d\U0001f680",
        "❤\ufe0f",
        "a < b",
        "{problem}",
        "<|im_end|>",
    ],
)
def test_what_counts_stays(words: str):
    assert tidy_words(words) == words


def test_other_forms_of_latin_letters_are_the_letters():
    assert tidy_words("\uff22\uff4c\uff41\uff43\uff4b \uff43\uff41\uff54 \uff12") == "Black cat 2"
    assert tidy_words("of\ufb01ce \ufb02ower") == "office flower"
    assert tidy_words("m² ½ ™ \uff1c") == "m² ½ ™ \uff1c"  # what means something else stays


def test_letters_are_composed():
    assert tidy_words(unicodedata.normalize("NFD", "café")) == "café"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("", "is empty"),
        (" \n\u200b", "is empty"),
        ("\u200d", "is empty"),
        ("\x07", "is empty"),
        ("\ud800", "lone surrogate"),
        ("cat \udcff", "lone surrogate"),
        ("a\0b", "NUL"),
        ("a" * (LONGEST_WORDS + 1), "4001 characters"),
        (None, "got NoneType"),
        (5, "got int"),
        (b"cat", "got bytes"),
        (["cat", "dog"], "got list"),
    ],
)
def test_what_cannot_be_read_is_refused(words: object, message: str):
    with pytest.raises(InputError, match=message):
        check_words(words)


def test_a_models_words_are_never_refused():
    assert usable_words(None) is usable_words("\ud800") is usable_words("\0") is usable_words(" ") is None


ODD = st.text(
    st.characters() | st.sampled_from("\u200b\u200c\u200d\u00ad\ufeff\u0301\x00\x1f\x85\u2028\ufdd0\u202e <|>")
)


@given(ODD)
def test_tidying_twice_changes_nothing_more(text: str):
    once = tidy_words(text)
    assert tidy_words(once) == once
    assert once == " ".join(once.split())


@given(ODD)
def test_any_text_is_words_or_an_input_error(text: str):
    try:
        assert check_words(text) == usable_words(text)
    except InputError:
        assert usable_words(text) is None
