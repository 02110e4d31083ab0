"""What a calibration is fitted to: IoU as it is evaluated."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from conceptseg.data import ConceptSample
from conceptseg.errors import InputError
from conceptseg.evaluation import calibrating
from conceptseg.evaluation.sources import DataSource
from conceptseg.inference import SegmentationResult
from conceptseg.models.calibration import Signals


def test_what_is_not_judged_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    levels = np.zeros((4, 4), np.uint8)
    levels[0], levels[1] = 255, 128
    sample = ConceptSample("a", "living", "cat", np.zeros((4, 4, 3), np.uint8), mask=levels)
    spilling = SegmentationResult("cat", mask=levels > 0, signals=Signals(0.9, 0.9, None, None))
    segmenter = SimpleNamespace(
        prepare=lambda references: None,
        segment_batch=lambda queries, always: [spilling] * len(queries),
        model=SimpleNamespace(digest=lambda: "0123"),
    )
    fitted: list[tuple[Signals, float]] = []
    monkeypatch.setattr(calibrating, "fit_calibration", lambda there, absent, **_: fitted.extend(there))
    calibrating.calibrate(segmenter, [DataSource("set", [sample], ("a",), ("a",))])
    assert [iou for _, iou in fitted] == [1.0]


@pytest.mark.parametrize("size", [0, -1])
def test_a_batch_has_a_question_at_least(size: int) -> None:
    with pytest.raises(InputError, match="batch_size must be at least 1"):
        calibrating.calibrate(SimpleNamespace(), [], batch_size=size)
