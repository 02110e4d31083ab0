from __future__ import annotations

import math

import pytest

from conceptseg.errors import InputError
from conceptseg.metrics.paired import paired_change


def test_gains_are_compared_picture_by_picture():
    change = paired_change([0.1, 0.5, 0.3], [0.3, 0.6, 0.6])
    assert (change.count, change.before, change.after) == (3, pytest.approx(0.3), pytest.approx(0.5))
    assert change.gain == pytest.approx(0.2)
    assert change.gain_error == pytest.approx(0.1 / math.sqrt(3))  # gains 0.2, 0.1, 0.3: deviation 0.1
    assert change.before_error == pytest.approx(0.2 / math.sqrt(3))
    assert change.p_value == pytest.approx(0.0742, abs=1e-4)  # t = 3.4641 with two degrees of freedom
    assert not change.is_real
    assert str(change) == "30.0 ± 11.5 before, 50.0 ± 10.0 after: +20.0 ± 5.8 (n = 3, p = 0.074)"


def test_the_same_gain_on_more_pictures_is_real():
    change = paired_change([0.1, 0.5, 0.3] * 4, [0.3, 0.6, 0.6] * 4)
    assert change.is_real and "p < 0.001" in str(change)


def test_equal_gains_are_certain_and_no_gain_is_none():
    assert paired_change([0.25, 0.5], [0.5, 0.75]).p_value == 0
    assert paired_change([0.25, 0.5], [0.25, 0.5]).p_value == 1


def test_one_picture_tells_nothing():
    change = paired_change([0.2], [0.9])
    assert math.isnan(change.gain_error) and not change.is_real
    assert str(change) == "20.0 before, 90.0 after: +70.0 (n = 1)"


@pytest.mark.parametrize(("before", "after"), [([], []), ([0.1], [0.1, 0.2])])
def test_scores_that_do_not_pair_off_are_refused(before, after):
    with pytest.raises(InputError, match=f"two scores for every picture, got {len(before)} and {len(after)}"):
        paired_change(before, after)
