"""One answered question as one row: the scores, and everything that the tables and the decomposition ask of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import UInt8

from conceptseg.data.loading import LoadedSample
from conceptseg.data.samples import ConceptSample
from conceptseg.errors import SampleError
from conceptseg.evaluation.settings import EvaluationConfig
from conceptseg.geometry import box_from_mask, box_iou
from conceptseg.images import IGNORE_VALUE, MaskReading
from conceptseg.inference import SegmentationResult
from conceptseg.metrics import failed_row, image_row

__all__ = ["answered_row", "error_row"]

_KEPT = (
    "route",
    "presence",
    "threshold",
    "check_iou",
    "box",
    "rule",
    "answer",
    "response",
    "problems",
    "notes",
    "confidence",
    "calibrated",
    "found",
    "expected_iou",
)


def answered_row(
    sample: ConceptSample,
    loaded: LoadedSample,
    result: SegmentationResult,
    config: EvaluationConfig,
    position: Mapping[str, Any],
) -> dict[str, Any]:
    """The row of a question that has its mask.

    Args:
        sample: the question.
        loaded: its truth.
        result: its answer, with a mask of the truth's size.
        config: protocol, weighted F, and what becomes of ignored pixels.
        position: `data` and `index`, where the question stands.

    Returns:
        `position`, the sample's labels, the scores of `image_row`, the result's route, response and timings,
        `box_iou` (of the method's box with the true mask's; 0 where one of them is missing, None where none was asked
        for) and `valid` (whether the response is written to the letter of the grammar; None without a response).
    """
    if result.mask is None:
        raise SampleError(f"Sample {sample.id!r} has no mask: {result.error or 'nothing was computed'}.")
    scores = _scores(result.mask, _levels(sample, loaded), config)
    answer = result.to_dict()
    return {
        **_labels(sample, position),
        **scores,
        **{key: answer[key] for key in _KEPT},
        "valid": result.response.is_strict if result.response else None,
        "box_iou": _box_iou(result, loaded) if result.response or result.box else None,
        "timings": answer["timings"],
        "error": None,
    }


def error_row(
    sample: ConceptSample,
    loaded: LoadedSample | None,
    error: str,
    config: EvaluationConfig,
    position: Mapping[str, Any],
) -> dict[str, Any]:
    """The row of a question without an answer: the worst score everywhere, so that it stays in every mean.

    Its union is the true mask's size, or 1 pixel where that is empty or cannot be read, and its intersection 0: an
    empty union would count as a perfect overlap in gIoU.
    """
    union = 0
    if loaded is not None and loaded.mask is not None:
        empty = np.zeros(loaded.mask.shape, dtype=bool)
        union = int(_scores(empty, _levels(sample, loaded), config)["union"])
    return {**_labels(sample, position), **failed_row(), "union": max(1, union), "error": error}


def _labels(sample: ConceptSample, position: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **position,
        "id": sample.id,
        "task": sample.task,
        "group": sample.group,
        "concept": sample.concept,
        "true_rule": sample.rule,
        "true_answer": sample.answer,
    }


def _levels(sample: ConceptSample, loaded: LoadedSample) -> UInt8[np.ndarray, "h w"]:
    """The truth as one array: 255 target, 128 not judged, 0 background."""
    if loaded.mask is None:
        raise SampleError(f"Sample {sample.id!r} has no true mask to compare with.")
    nothing = np.zeros_like(loaded.mask)
    return MaskReading(loaded.mask, nothing if loaded.ignore is None else loaded.ignore).levels()


def _scores(mask: np.ndarray, levels: UInt8[np.ndarray, "h w"], config: EvaluationConfig) -> dict[str, Any]:
    return image_row(
        mask, levels, config.protocol, IGNORE_VALUE, integer_wfm=config.integer_wfm, ignore_as=config.ignore_as
    )


def _box_iou(result: SegmentationResult, loaded: LoadedSample) -> float:
    truth = None if loaded.mask is None else box_from_mask(loaded.mask)
    return box_iou(result.box, truth) if result.box and truth else 0.0
