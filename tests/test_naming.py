"""Names of files: the own stem where it is free, never one that file systems could not tell from another."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conceptseg.errors import InputError
from conceptseg.naming import LONGEST_STEM_BYTES, check_stem, distinct_stem, name_key, stem_of


def test_the_own_stem_is_taken_where_it_is_free():
    assert distinct_stem("a", b"x/a.jpg", lambda stem: True) == "a"


def test_else_a_digest_of_the_identity_sets_it_apart():
    taken = {"a"}
    one = distinct_stem("a", b"x/a.jpg", lambda stem: stem not in taken)
    other = distinct_stem("a", b"y/a.jpg", lambda stem: stem not in taken)
    assert one != other and one == distinct_stem("a", b"x/a.jpg", lambda stem: stem not in taken)
    assert one.startswith("a-") and len(one) == len("a-") + 8
    taken.add(one)
    assert len(distinct_stem("a", b"x/a.jpg", lambda stem: stem not in taken)) == len("a-") + 16


def test_when_everything_is_taken_it_says_so():
    with pytest.raises(InputError, match="names for the files of 'a' are taken"):
        distinct_stem("a", b"", lambda stem: False)


@given(st.text(min_size=1, max_size=400) | st.binary(max_size=400).map(os.fsdecode))
def test_every_stem_fits_into_a_file_system(text: str):
    text = text.encode("utf-8", "surrogateescape" if _escapes(text) else "replace").decode("utf-8", "surrogateescape")
    stem = distinct_stem(text, b"identity", lambda candidate: True)
    assert 0 < len(os.fsencode(stem)) <= LONGEST_STEM_BYTES


def _escapes(text: str) -> bool:
    return all(not "\ud800" <= c <= "\udfff" or "\udc80" <= c <= "\udcff" for c in text)


@pytest.mark.parametrize(
    ("name", "stem"), [("a/b.c.jpg", "b.c"), (".hidden.png", "_hidden"), (".png", "_png"), ("x", "x")]
)
def test_a_stem_is_a_visible_name(name: str, stem: str):
    assert stem_of(name) == stem


@pytest.mark.parametrize(("one", "other"), [("A", "a"), ("é", "e\u0301"), ("STRASSE", "straße")])
def test_names_that_some_file_system_takes_for_one(one: str, other: str):
    assert name_key(one) == name_key(other)


@pytest.mark.parametrize("stem", ["", ".", "..", "../up", "a/b", "a\\b", "a\0b"])
def test_a_chosen_stem_stays_in_its_folder(stem: str):
    with pytest.raises(InputError, match="no plain file name"):
        check_stem(stem)


def test_a_chosen_stem_is_not_cut():
    with pytest.raises(InputError, match="longer than 200 bytes"):
        check_stem("é" * 101)
    assert check_stem("é" * 100) == "é" * 100
