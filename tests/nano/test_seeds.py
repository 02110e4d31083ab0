"""Seeds pooled into one comparison."""

from __future__ import annotations

import math

import pytest

from conceptseg.errors import InputError
from conceptseg.evaluation.comparison import Comparison, Verdict
from nano.claims.seeds import pool_seeds


def test_seeds_are_pooled_with_their_spread() -> None:
    each = [Comparison(0.6, 0.5, 0.1, 0.03, 50, 9), Comparison(0.8, 0.5, 0.3, 0.05, 50, 12)]
    found = pool_seeds(each)
    assert (found.first, found.second, found.difference) == pytest.approx((0.7, 0.5, 0.2))
    # the questions' mean error 0.04; the seeds' variance 0.02 over two of them
    assert found.standard_error == pytest.approx(math.sqrt(0.04**2 + 0.02 / 2))
    assert (found.questions, found.differing) == (50, 12)
    alone = pool_seeds(each[:1])
    assert (alone.difference, alone.standard_error, alone.decisive) == pytest.approx((0.1, 0.03, 2.0))


def test_few_seeds_need_more_than_two_errors() -> None:
    def decisive(differences: list[float], error: float) -> float:
        return pool_seeds([Comparison(0.5, 0.5, one, error, 50, 9) for one in differences]).decisive

    # nothing but three seeds: two degrees of freedom, whose quantile is (2p - 1) √(2 / (4 p (1 - p))) at p = Φ(2)
    p = 0.5 * (1 + math.erf(math.sqrt(2)))
    assert decisive([0.1, 0.2, 0.3], 0.0) == pytest.approx((2 * p - 1) * math.sqrt(2 / (4 * p * (1 - p))))
    assert decisive([0.1, 0.2, 0.3], 10.0) == pytest.approx(2.0, abs=1e-3)  # the seeds hardly count
    assert 2.0 < decisive([0.1, 0.2, 0.3], 0.06) < decisive([0.1, 0.2, 0.3], 0.01)
    assert Comparison(0.5, 0.5, 0.03, 0.01, 50, 9, decisive=4.5).verdict() is Verdict.OPEN


def test_only_seeds_over_the_same_questions_are_pooled() -> None:
    with pytest.raises(InputError, match="numbers of questions: none"):
        pool_seeds([])
    with pytest.raises(InputError, match="numbers of questions: 50, 40"):
        pool_seeds([Comparison(0.5, 0.5, 0.0, 0.1, count, 9) for count in (50, 40)])
