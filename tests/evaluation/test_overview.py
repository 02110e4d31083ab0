"""The overview's own arithmetic."""

from __future__ import annotations

import pytest

from conceptseg.evaluation.report.overview import summarise
from conceptseg.metrics import METRICS


def test_the_mean_comes_with_its_standard_error() -> None:
    rest = dict.fromkeys((*METRICS, "intersection", "union"), 0) | {"task": "living", "error": None}
    rows = [rest | {"miou": score, "iou": score} for score in (0.2, 0.4, 0.9)]
    found = summarise(rows)
    assert found["mIoU"] == pytest.approx(50)
    assert found["±"] == pytest.approx((13 / 3) ** 0.5 * 10)  # variance (9 + 1 + 16)·100 / 2 = 1300, over 3 rows
    assert summarise(rows[:1])["±"] is None
