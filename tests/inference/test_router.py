"""The shortcut router (Eq. 9) against values worked out by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conceptseg.errors import InputError
from conceptseg.inference import RouteChoice, route_threshold, takes_shortcut


@pytest.mark.parametrize(
    ("concept", "threshold"),
    [
        ("cat", 0.1),
        ("black cat", 0.2),
        ("the black cat", 0.4),
        ("the small black cat", 0.8),
        ("the very small black cat", 1.0),  # 1.6, clamped
        ("what one would take along on a rainy day", 1.0),
        ("polyp (colon)", 0.1),
        ("red panda (Ailurus fulgens) (adult)", 0.2),
        ("  spaced \t out\nwords ", 0.4),
        ("(Felis catus)", 0.1),  # nothing is left, but ℓ is at least 1
        ("", 0.1),
        ("猫", 0.1),
        ("well-known", 0.1),
    ],
)
def test_the_threshold_doubles_with_every_word_up_to_one(concept, threshold):
    assert route_threshold(concept) == pytest.approx(threshold, abs=1e-12)


@pytest.mark.parametrize(
    ("presence", "concept", "direct"),
    [
        (0.1, "cat", True),
        (0.0999, "cat", False),
        (0.2, "black cat", True),
        (0.1999, "black cat", False),
        (0.79, "the small black cat", False),
        (0.8, "the small black cat", True),
        (0.9999, "the very small black cat", False),
        (1.0, "the very small black cat", False),  # from five words on SAM 3 is not trusted, however sure it is
        (0.0, "cat", False),
    ],
)
def test_the_shortcut_is_taken_from_the_threshold_on(presence, concept, direct):
    assert takes_shortcut(presence, concept) is direct


@given(st.text(max_size=200), st.floats(0, 1))
def test_any_text_has_a_threshold_in_range_and_more_presence_never_undoes_the_shortcut(concept, presence):
    assert 0.1 <= route_threshold(concept) <= 1
    if takes_shortcut(presence, concept):
        assert takes_shortcut(1.0, concept)


def test_a_very_long_concept_does_not_overflow():
    assert route_threshold("word " * 5000) == 1.0


@pytest.mark.parametrize(("name", "choice"), [("auto", RouteChoice.AUTO), (RouteChoice.REASON, RouteChoice.REASON)])
def test_a_choice_is_found_by_its_name(name, choice):
    assert RouteChoice.of(name) is choice


def test_an_unknown_choice_names_the_known_ones():
    with pytest.raises(InputError, match=r"Unknown route 'fast'. Choose one of: auto, calibrated, direct, reason"):
        RouteChoice.of("fast")
