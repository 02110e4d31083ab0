"""The metrics that follow from how many pixels agree: MAE, BER, IoU of foreground and background, Dice."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from conceptseg.metrics.inputs import Pair
from conceptseg.metrics.protocols import Protocol

__all__ = ["Confusion", "confusion", "overlap_scores"]


class Confusion(NamedTuple):
    """Counted pixels of a binarised prediction, by kind."""

    true_positive: int
    false_positive: int
    false_negative: int
    true_negative: int

    @property
    def union(self) -> int:
        """Pixels of the foreground of either."""
        return self.true_positive + self.false_positive + self.false_negative


def confusion(pair: Pair, *, half_is_foreground: bool = False) -> Confusion:
    """The confusion counts of the prediction binarised above 0.5, or from 0.5 on."""
    if pair.is_binary:
        hard = pair.prediction
    else:
        hard = pair.prediction >= 0.5 if half_is_foreground else pair.prediction > 0.5
    positive, true = (int(np.count_nonzero(mask)) for mask in (hard, pair.truth))
    both = int(np.count_nonzero(hard & pair.truth))
    return Confusion(both, positive - both, true - both, pair.count - positive - true + both)


def overlap_scores(pair: Pair, protocol: Protocol) -> dict[str, float]:
    """`mae`, `ber`, `miou`, `iou` and `mdice` of one pair, each in [0, 1].

    `miou` is the mean of foreground and background IoU, per image, as in the paper's tables. Under `paper` a
    prediction of exactly 0.5 is foreground for BER, background for `iou` and neither for the background's IoU.
    """
    counts = confusion(pair)
    lenient = confusion(pair, half_is_foreground=protocol.half_is_foreground)
    iou = _ratio(counts.true_positive, counts.union, protocol.ratio_smooth)
    background_union = lenient.true_negative + lenient.false_positive + lenient.false_negative
    background_iou = _ratio(lenient.true_negative, background_union, protocol.ratio_smooth)
    return {
        "mae": _mean_error(pair, counts),
        "ber": _balanced_error(lenient, protocol.rate_eps),
        "miou": (iou + background_iou) / 2,
        "iou": iou,
        "mdice": _dice(pair, counts, protocol),
    }


def _ratio(part: float, whole: float, smooth: float) -> float:
    return (part + smooth) / (whole + smooth) if whole + smooth > 0 else 0.0


def _mean_error(pair: Pair, counts: Confusion) -> float:
    if pair.is_binary:
        return (counts.false_positive + counts.false_negative) / max(pair.count, 1)
    return float(np.sum(pair.error())) / max(pair.count, 1)


def _balanced_error(counts: Confusion, eps: float) -> float:
    """1 - (true positive rate + true negative rate) / 2; a rate over no pixels is 0."""
    hit, passed = counts.true_positive, counts.true_negative
    sensitivity = hit / (hit + counts.false_negative + eps) if hit else 0.0
    specificity = passed / (passed + counts.false_positive + eps) if passed else 0.0
    return 1 - (sensitivity + specificity) / 2


def _dice(pair: Pair, counts: Confusion, protocol: Protocol) -> float:
    hit, total = float(counts.true_positive), float(counts.union + counts.true_positive)
    if protocol.soft_dice and not pair.is_binary:
        hit = float(np.sum(pair.prediction[pair.truth]))
        total = float(np.sum(pair.prediction)) + float(np.count_nonzero(pair.truth))
    return _ratio(2 * hit, total, protocol.ratio_smooth)
