"""What a calibration is fitted to: IoU as it is evaluated."""

from __future__ import annotations

from collections.abc import Sequence
from unittest.mock import Mock

import numpy as np
import pytest

from conceptseg.data import ConceptSample
from conceptseg.errors import InputError
from conceptseg.evaluation import calibrating
from conceptseg.evaluation.sources import DataSource
from conceptseg.inference import Query, SegmentationResult
from conceptseg.models.calibrated_router import RouterSigns
from conceptseg.models.calibration import Signals
from tests.evaluation.fakes import FakeSegmenter

LEVELS = np.zeros((4, 4), np.uint8)
LEVELS[0], LEVELS[1] = 255, 128


class Spilling(FakeSegmenter):
    """Marks the target and what is not judged."""

    def __init__(self) -> None:
        super().__init__()
        self.model.digest = lambda: "0123"

    def answer_both_ways(
        self, queries: Sequence[Query]
    ) -> list[tuple[RouterSigns, SegmentationResult, SegmentationResult]]:
        result = SegmentationResult("cat", mask=LEVELS > 0, signals=Signals(0.9, 0.9, None, None))
        return [(RouterSigns(1, 0.9, 0.9, 0.9, 1.0), result, result) for _ in queries]


def test_what_is_not_judged_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    sample = ConceptSample("a", "living", "cat", np.zeros((4, 4, 3), np.uint8), mask=LEVELS)
    fit = Mock(side_effect=InputError("enough"))
    monkeypatch.setattr(calibrating, "fit_calibration", fit)
    with pytest.raises(InputError, match="enough"):
        calibrating.calibrate(Spilling(), [DataSource("set", [sample], ("a",), ("a",))])
    assert [iou for _, iou in fit.call_args.args[0]] == [1.0, 1.0]


@pytest.mark.parametrize("size", [0, -1])
def test_a_batch_has_a_question_at_least(size: int) -> None:
    with pytest.raises(InputError, match="batch_size must be at least 1"):
        calibrating.calibrate(FakeSegmenter(), [], batch_size=size)
