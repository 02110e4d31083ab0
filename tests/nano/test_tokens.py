"""Episodes as their image tokens have them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from nano.tokens import compares_one_scene, target_looks_like_references, tokens_of


def test_a_token_has_its_place_once_in_every_reference(differences):
    four, one = (tokens_of(episode).same_place for episode in differences)
    assert four.shape == one.shape == (36, 36)
    assert (four.sum(axis=1) == 4).all() and (one == np.eye(36, dtype=bool)).all()
    assert np.flatnonzero(four[0]).tolist() == [0, 3, 18, 21]  # the corners of four pictures of 3 × 3 tokens
    assert np.flatnonzero(four[35]).tolist() == [14, 17, 32, 35]


def test_what_the_proxy_shows_here(differences):
    """A target token's place lies in one token of the proxy, four of them in each."""
    tokens = tokens_of(differences[0])
    shown = tokens.marked.reshape(6, 6)[:3, :3]
    assert np.allclose(tokens.proxy_here.reshape(6, 6), shown.repeat(2, axis=0).repeat(2, axis=1))
    assert not tokens_of(differences[1]).proxy_here.any()


def test_without_references_there_is_nothing_to_compare(differences):
    assert tokens_of(replace(differences[0], places=None)) is None


@pytest.mark.parametrize(
    ("task", "still", "alike"),
    [("static_difference", True, False), ("view_difference", False, False), ("common_consistency", False, True)],
)
def test_what_there_is_to_look_for_depends_on_the_task(differences, task, still, alike):
    episode = replace(differences[0], sample=replace(differences[0].sample, task=task))
    assert compares_one_scene(episode) is still
    assert target_looks_like_references(episode) is alike
