"""Drafts: what is known of a response before it is written."""

from __future__ import annotations

import pytest

from conceptseg.models.drafting import Drafts, Echo, TagDraft, TokenTexts
from conceptseg.protocol import expected_parts, format_response

PARTS = expected_parts()
END = 7
INDUCED = "<think>a</think>\n<rule>b</rule>\n<check>[1, 2, 3, 4]</check>"


class Letters:
    """A tokenizer whose tokens are letters, so that a tag takes as many as it has."""

    def decode(self, ids: list[int]) -> str:
        return "".join(map(chr, ids))

    def __call__(self, text: str, **_: object) -> Letters:
        self.input_ids = list(map(ord, text))
        return self


def draft_after(said: str, parts: tuple[str, ...] = PARTS) -> str:
    draft = TagDraft(parts, TokenTexts(Letters()), END)
    draft.see(list(map(ord, said)))
    return "".join("$" if token == END else chr(token) for token in draft.next())


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("", "<think>"),
        ("<thi", "nk>"),
        ("<think>a cat", ""),
        ("<think>a cat<", "/think>\n<rule>"),
        ("<think>a cat</think>", "\n<rule>"),
        ("<think>a</think>\n<rule>b</", "rule>\n<check>["),
        ("<think>a</think>\n<rule>b</rule>\n<check>[12", ", "),
        ("<think>a</think>\n<rule>b</rule>\n<check>[12,", " "),
        ("<think>a</think>\n<rule>b</rule>\n<check>[1, 2, 3, 4", "]</check>\n<bbox>["),
        (f"{INDUCED}\n<bbox>[5, 6, 7, 8", "]</bbox>\n<answer>"),
        (f"{INDUCED}\n<bbox>[5, 6, 7, 8]</bbox>\n<answer>a<", "/answer>$"),
        ("<think>a cat of 3", ""),  # a number, but in no box
        ("Nothing of the kind", ""),
    ],
)  # fmt: skip
def test_a_tag_that_is_begun_or_due_is_drafted_to_its_end(said, expected):
    assert draft_after(said) == expected


def test_parts_that_are_not_asked_for_are_not_drafted():
    parts = expected_parts(check=False, rule=False)
    assert parts == ("think", "bbox", "answer")
    assert draft_after("<think>a</think>", parts) == "\n<bbox>["
    assert draft_after("<think>a</think>", ()) == ""


def test_a_response_in_strict_form_is_drafted_wherever_it_is_not_free():
    text = format_response("a cat", "its fur", (1, 2, 30, 40), (5, 6, 70, 80), "cat")
    draft, given, place = TagDraft(PARTS, TokenTexts(Letters()), END), 0, 0
    while place < len(text):
        drafted = "".join(map(chr, draft.next()))
        right = next((n for n, (a, b) in enumerate(zip(drafted, text[place:], strict=False)) if a != b), len(drafted))
        right = min(right, len(text) - place)
        step = text[place : place + right + 1]
        given, place = given + right, place + right + 1
        draft.see(list(map(ord, step)))
    free = "a cat" + "its fur" + "123040" + "567080" + "cat"
    assert given >= len(text) - len(free) - len(PARTS) - 1  # each closing tag is seen by its first letter


def test_what_followed_the_same_words_is_expected_again():
    echo = Echo([[1, 2, 3, 4, 5], [9, 2, 3, 8]])
    echo.see([7, 1])
    assert echo.next() == []
    echo.see([2])
    assert echo.next() == [3, 4, 5]
    echo.see([3])
    assert echo.next() == [8]  # the later response counts


def test_the_first_drafter_that_knows_something_is_believed():
    draft = Drafts(Echo([]), TagDraft(PARTS, TokenTexts(Letters()), END))
    assert draft.next() == list(map(ord, "<think>"))
    draft = Drafts(Echo([list(map(ord, "<this"))]), TagDraft(PARTS, TokenTexts(Letters()), END))
    draft.see(list(map(ord, "<t")))
    assert draft.next() == list(map(ord, "his"))
