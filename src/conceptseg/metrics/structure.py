"""The S-measure of Fan et al., "Structure-measure: A New Way to Evaluate Foreground Maps" (ICCV 2017), α = 0.5.

Half of it compares means and spreads of the prediction inside and outside the true object, the other half the
structural similarity of the four parts into which the object's centroid divides the image. For a binary prediction
everything follows from pixel counts.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool

from conceptseg.metrics.inputs import Pair
from conceptseg.metrics.protocols import Protocol

__all__ = ["s_measure"]


def s_measure(pair: Pair, protocol: Protocol) -> float:
    """The S-measure, mostly in [0, 1], and a number for every input: an empty part of the image weighs nothing.

    Pixels that do not count are left out of every mean, variance and area. A truth without foreground gives the
    share of the prediction that is background, one without background the share that is foreground. The `paper`
    protocol has a larger epsilon, which costs small objects (a perfect disc of radius 5 px scores 0.5), takes its
    variances over N but its covariance over N - 1, so that a perfect part may exceed 1 by 1 / N, and lets a reversed
    structure score below 0; `native` clamps at 0.
    """
    count, foreground = pair.count, int(np.count_nonzero(pair.truth))
    if foreground in (0, count):
        mean = float(np.sum(pair.prediction)) / max(count, 1)
        return mean if foreground else 1 - mean
    score = 0.5 * _object_score(pair, protocol) + 0.5 * _region_score(pair, protocol)
    return max(0.0, score) if protocol.structure_clamp else score


def _object_score(pair: Pair, protocol: Protocol) -> float:
    """The agreement inside the object and outside of it, weighted by their areas."""
    outside = ~pair.truth if pair.valid is None else ~pair.truth & pair.valid
    inner, outer = _moments(pair, pair.truth), _moments(pair, outside)
    inner_score = _object_part(inner.mean, inner, protocol)
    outer_score = _object_part(1 - outer.mean, outer, protocol)
    return (inner_score * inner.pixels + outer_score * outer.pixels) / pair.count


class _Moments(NamedTuple):
    """Of the prediction over some pixels: how many, the mean, and the sum of squared deviations from it."""

    pixels: int
    mean: float
    squares: float


def _moments(pair: Pair, where: Bool[np.ndarray, "h w"]) -> _Moments:
    count = int(np.count_nonzero(where))
    if pair.is_binary:
        ones = int(np.count_nonzero(pair.prediction & where))
        return _Moments(count, ones / count, ones * (count - ones) / count)
    values = pair.prediction[where]
    mean = values.mean()
    return _Moments(count, float(mean), float(np.sum((values - mean) ** 2)))


def _object_part(mean: float, moments: _Moments, protocol: Protocol) -> float:
    spread = math.sqrt(moments.squares / max(moments.pixels - protocol.structure_ddof, 1))
    return 2 * mean / (mean**2 + 1 + spread + protocol.structure_eps)


def _region_score(pair: Pair, protocol: Protocol) -> float:
    """The similarity of the four parts around the centroid, weighted by their areas."""
    row, column = _centroid(pair.truth)
    total = 0.0
    for rows in (slice(0, row + 1), slice(row + 1, None)):
        for columns in (slice(0, column + 1), slice(column + 1, None)):
            part = _co_moments(pair, (rows, columns))
            total += part.pixels * _similarity(part, protocol) if part.pixels else 0.0
    return total / pair.count


def _centroid(truth: Bool[np.ndarray, "h w"]) -> tuple[int, int]:
    """Row and column of the centre of mass, halves rounded to even; exact, being a ratio of whole numbers."""
    per_row, per_column = truth.sum(axis=1), truth.sum(axis=0)
    row, column = (int(line @ np.arange(len(line))) / int(line.sum()) for line in (per_row, per_column))
    return round(row), round(column)


class _CoMoments(NamedTuple):
    """Of prediction and truth over one part: pixels, the two means, sums of squared and crossed deviations."""

    pixels: int
    mean_p: float
    mean_t: float
    squares_p: float
    squares_t: float
    products: float


def _co_moments(pair: Pair, part: tuple[slice, slice]) -> _CoMoments:
    prediction, truth = pair.prediction[part], pair.truth[part]
    count = truth.size if pair.valid is None else int(np.count_nonzero(pair.valid[part]))
    if count == 0:
        return _CoMoments(0, 0.0, 0.0, 0.0, 0.0, 0.0)
    if pair.is_binary:
        return _counted_co_moments(prediction, truth, count)
    if pair.valid is not None:
        prediction, truth = prediction[pair.valid[part]], truth[pair.valid[part]]
    mean_p, mean_t = np.mean(prediction), np.mean(truth)
    off_p, off_t = prediction - mean_p, truth - mean_t
    sums = (float(np.sum(product)) for product in (off_p**2, off_t**2, off_p * off_t))
    return _CoMoments(count, float(mean_p), float(mean_t), *sums)


def _counted_co_moments(
    prediction: Bool[np.ndarray, "rows columns"], truth: Bool[np.ndarray, "rows columns"], count: int
) -> _CoMoments:
    """The moments of two masks; whole numbers up to the last division, so that zero means zero."""
    p, t, both = (int(np.count_nonzero(mask)) for mask in (prediction, truth, prediction & truth))
    return _CoMoments(
        count, p / count, t / count, p * (count - p) / count, t * (count - t) / count, (both * count - p * t) / count
    )


def _similarity(part: _CoMoments, protocol: Protocol) -> float:
    """SSIM as the S-measure defines it: 1 where both are flat and equal in kind, 0 where only one varies."""
    variances = (part.squares_p + part.squares_t) / max(part.pixels - protocol.structure_ddof, 1)
    covariance = part.products / max(part.pixels - 1, 1)
    numerator = 4 * part.mean_p * part.mean_t * covariance
    denominator = (part.mean_p**2 + part.mean_t**2) * variances
    if numerator == 0:
        return 1.0 if denominator == 0 else 0.0
    return numerator / (denominator + protocol.structure_eps)
