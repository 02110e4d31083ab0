"""The measures of presence and single objects, on numbers worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from nano.tools import measure


def test_auroc_counts_pairs() -> None:
    assert measure.auroc([0.9, 0.8], [0.1, 0.2]) == 1.0
    assert measure.auroc([0.1], [0.9]) == 0.0
    assert measure.auroc([0.5, 0.9], [0.5, 0.7]) == pytest.approx((0.5 + 0 + 1 + 1) / 4)


def test_average_precision_is_the_area_under_precision_and_recall() -> None:
    # Hit, miss, hit of three things: precision 1 at recall 1/3, then 2/3 at recall 2/3; the third is never found.
    found = [(0.9, True), (0.8, False), (0.7, True)]
    assert measure.average_precision(found, 3) == pytest.approx((1 + 2 / 3) / 3)
    assert measure.average_precision([], 3) == 0.0


def test_an_object_is_found_once() -> None:
    mask = np.zeros((8, 8), dtype=bool)
    mask[:4] = True
    pairs = list(measure.matched([mask, mask, ~mask], [0.2, 0.9, 0.5], [mask]))
    assert pairs == [(0.9, True), (0.5, False), (0.2, False)]
