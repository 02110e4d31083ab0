from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conceptseg.errors import InputError
from conceptseg.protocol import format_response, parse_response
from conceptseg.training.rewards import (
    REWARD_PARTS,
    Truth,
    box_reward,
    check_reward,
    format_reward,
    mask_reward,
    meta_reward,
    unified_reward,
)

BOX, CHECK = (10.0, 10.0, 20.0, 20.0), (0.0, 0.0, 8.0, 4.0)
TRUTH = Truth(BOX, CHECK)
ALONE = Truth(BOX)
HALF_BOX = (10.0, 10.0, 20.0, 15.0)  # IoU 1/2 with BOX
QUARTER_CHECK = (0.0, 0.0, 2.0, 4.0)  # IoU 1/4 with CHECK
ELSEWHERE = (100.0, 100.0, 110.0, 110.0)


def said(box=BOX, check=CHECK, *, expect_check=True):
    return parse_response(format_response("because", "a rule", check, box, "thing"), expect_check=expect_check)


@pytest.mark.parametrize(
    ("box", "check", "expected"),
    [
        (BOX, CHECK, 1.0),
        (HALF_BOX, CHECK, 0.5),
        (BOX, QUARTER_CHECK, 0.25),
        (HALF_BOX, QUARTER_CHECK, 0.125),
        (ELSEWHERE, CHECK, 0.0),
        (BOX, ELSEWHERE, 0.0),
        (None, CHECK, 0.0),
        (BOX, None, 0.0),
        (None, None, 0.0),
    ],
)
def test_meta_reward_by_hand(box, check, expected):
    assert meta_reward(said(box, check), TRUTH) == pytest.approx(expected)


@pytest.mark.parametrize(("rule", "expected"), [("box", 0.5), ("box_squared", 0.25), ("zero", 0.0)])
def test_meta_reward_without_a_proxy(rule, expected):
    assert meta_reward(said(HALF_BOX, None), ALONE, without_proxy=rule) == pytest.approx(expected)
    assert meta_reward(said(HALF_BOX, CHECK), TRUTH, without_proxy=rule) == pytest.approx(0.5)


def test_an_unknown_rule_without_a_proxy_is_refused():
    with pytest.raises(InputError, match="one of box, box_squared, zero, got 'cubed'"):
        meta_reward.__wrapped__(said(check=None), ALONE, without_proxy="cubed")


numbers = st.integers(0, 60)


@settings(deadline=None)
@given(st.tuples(numbers, numbers, numbers, numbers), st.tuples(numbers, numbers, numbers, numbers))
def test_meta_reward_is_the_product_and_never_more_than_either(box, check):
    text = f"<think>t</think><rule>r</rule><check>{list(check)}</check><bbox>{list(box)}</bbox><answer>a</answer>"
    response = parse_response(text)
    first, second = box_reward(response, TRUTH), check_reward(response, TRUTH)
    assert meta_reward(response, TRUTH) == pytest.approx(first * second)
    assert meta_reward(response, TRUTH) <= min(first, second) <= 1


def test_inclusive_pixels_as_the_released_code_counts_them():
    truth = Truth((0.0, 0.0, 9.0, 9.0))
    response = said((0.0, 0.0, 9.0, 4.0), None)
    assert box_reward(response, truth) == pytest.approx(4 / 9)
    assert box_reward(response, truth, inclusive=True) == pytest.approx(5 / 10)


GOOD = (
    "<think>t</think>\n<rule>r</rule>\n<check>[0, 0, 8, 4]</check>\n<bbox>[10, 10, 20, 20]</bbox>\n<answer>a</answer>"
)
MALFORMED = {
    "nothing": "",
    "prose": "The box is at 10, 10, 20, 20.",
    "tag not closed": GOOD.replace("</answer>", ""),
    "part missing": GOOD.replace("<rule>r</rule>\n", ""),
    "out of order": GOOD.replace("<rule>r</rule>\n", "") + "<rule>r</rule>",
    "said twice": GOOD + GOOD,
    "text after": GOOD + " done",
    "corners swapped": GOOD.replace("[10, 10, 20, 20]", "[20, 20, 10, 10]"),
    "three numbers": GOOD.replace("[10, 10, 20, 20]", "[10, 10, 20]"),
    "no number": GOOD.replace("[10, 10, 20, 20]", "[nan, 10, 20, 20]"),
    "cut short": GOOD[:60],
}


@pytest.mark.parametrize("kind", MALFORMED)
def test_malformed_responses_lose_the_format_reward(kind):
    assert format_reward(parse_response(GOOD)) == 1
    assert format_reward(parse_response(MALFORMED[kind])) == 0


def test_what_was_not_asked_for_is_no_format():
    assert format_reward(parse_response(GOOD, expect_check=False)) == 0
    assert format_reward(said(check=None, expect_check=False)) == 1


@pytest.mark.parametrize("kind", ["nothing", "prose", "three numbers", "no number"])
def test_an_unreadable_box_earns_nothing(kind):
    assert meta_reward(parse_response(MALFORMED[kind]), TRUTH) == 0


def test_a_box_is_rewarded_although_the_form_is_wrong():
    """The lenient reading counts: form has a reward of its own."""
    assert meta_reward(parse_response(MALFORMED["text after"]), TRUTH) == 1


EMPTY, FULL = np.zeros((2, 3), dtype=bool), np.ones((2, 3), dtype=bool)
LEFT = np.array([[True, False, False], [True, False, False]])


@pytest.mark.parametrize(
    ("predicted", "truth", "ignore", "expected"),
    [
        (FULL, FULL, None, 1.0),
        (LEFT, FULL, None, 1 / 3),
        (EMPTY, FULL, None, 0.0),
        (FULL, EMPTY, None, 0.0),
        (EMPTY, EMPTY, None, 1.0),
        (FULL, LEFT, ~LEFT, 1.0),
        (FULL, LEFT, LEFT, 0.0),
        (FULL, LEFT, FULL, 1.0),  # nothing counts: two empty masks
    ],
)
def test_mask_reward_by_hand(predicted, truth, ignore, expected):
    assert mask_reward(predicted, truth, ignore) == pytest.approx(expected)


def test_ignored_pixels_of_another_shape_are_refused():
    with pytest.raises(InputError, match=r"must have the masks' shape \(2, 3\), got \(3, 2\)"):
        mask_reward.__wrapped__(FULL, FULL, FULL.T)


def test_the_unified_reward_is_a_weighted_sum():
    parts = dict(zip(REWARD_PARTS, (1.0, 0.5, 0.25, 0.125, 0.0), strict=True))
    assert unified_reward(parts, {"format": 1.0, "mask": 1.0, "meta": 1.0}) == pytest.approx(1.75)
    assert unified_reward(parts, {"format": 1.0, "box": 2.0}) == pytest.approx(1.25)
    with pytest.raises(InputError, match="No such reward part: depth"):
        unified_reward(parts, {"depth": 1.0})
