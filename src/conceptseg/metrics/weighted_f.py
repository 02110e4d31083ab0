"""The weighted F-measure of Margolin, Zelnik-Manor and Tal, "How to Evaluate Foreground Maps?" (CVPR 2014).

An error inside the foreground counts less when its 7 × 7 neighbourhood is right (a Gaussian average of the errors,
σ = 5 px); an error outside counts more the farther it is from the foreground: 2 - 2^(-d/5), d in pixels. β² = 1.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.ndimage import correlate1d

from conceptseg.metrics.inputs import Pair
from conceptseg.metrics.nearest import bounding_window, dilate_box, nearest_foreground
from conceptseg.metrics.protocols import Protocol

__all__ = ["weighted_f"]

_RADIUS_PX = 3
_SIGMA_PX = 5.0
_HALVING_PX = 5.0


def weighted_f(pair: Pair, protocol: Protocol, *, integer: bool = False) -> float:
    """The weighted F-measure in [0, 1]; 0 for an empty truth.

    Args:
        pair: what is compared; pixels that do not count are taken as correct background.
        protocol: gives the epsilon in the two denominators.
        integer: let the smoothed error be truncated to a whole number, as happens in the paper's evaluation code,
            which feeds int32 arrays: a missed pixel then counts only when its whole neighbourhood is wrong. The
            prediction is binarised above 0.5 for that.
    """
    if integer and not pair.is_binary:
        pair = Pair(pair.prediction > 0.5, pair.truth, pair.valid)
    foreground = int(np.count_nonzero(pair.truth))
    if foreground == 0:
        return 0.0
    missed, spurious = _weighted_errors(pair, integer)
    hit = foreground - missed
    recall = 1 - missed / foreground
    precision = hit / (hit + spurious + protocol.weighted_f_eps)
    return float(2 * recall * precision / (recall + precision + protocol.weighted_f_eps))


def _weighted_errors(pair: Pair, integer: bool) -> tuple[float, float]:
    """The sums of the weighted errors inside and outside the foreground."""
    error = pair.error()
    wrong = error if pair.is_binary else error > 0
    missed = wrong & pair.truth
    spurious = wrong & ~pair.truth
    # smoothing around a missed pixel looks at background, where the error of the nearest foreground pixel stands in
    asked = spurious | (dilate_box(missed, _RADIUS_PX) & ~pair.truth)
    rows, columns = np.nonzero(asked)
    values = error.astype(np.float64)
    outside = 0.0
    if len(rows):
        nearest = nearest_foreground(pair.truth, rows, columns)
        outside = float(np.sum(values[rows, columns] * (2 - np.exp2(-nearest.distance_px / _HALVING_PX))))
        values[rows, columns] = values[nearest.rows, nearest.columns]
    return _smoothed_sum(values, missed, integer), outside


def _smoothed_sum(values: Float[np.ndarray, "h w"], missed: Bool[np.ndarray, "h w"], integer: bool) -> float:
    """The sum over missed pixels of the smaller of their own and their neighbourhood's average error."""
    rows, columns = np.nonzero(missed)
    if not len(rows):
        return 0.0
    window = bounding_window(rows, columns, values.shape, margin_px=_RADIUS_PX)
    smooth = _smoothed_at(values[window], rows - window[0].start, columns - window[1].start)
    if integer:
        smooth = np.floor(smooth + 1e-9)  # a whole neighbourhood of ones may sum to a hair below 1
    return float(np.sum(np.minimum(smooth, values[rows, columns])))


def _smoothed_at(
    values: Float[np.ndarray, "h w"], rows: Int[np.ndarray, " points"], columns: Int[np.ndarray, " points"]
) -> Float[np.ndarray, " points"]:
    """The 7 × 7 Gaussian average, zeros beyond the border; the kernel is separable."""
    offsets = np.arange(-_RADIUS_PX, _RADIUS_PX + 1)
    kernel = np.exp(-(offsets**2) / (2 * _SIGMA_PX**2))
    kernel /= kernel.sum()
    for axis in (0, 1):
        values = correlate1d(values, kernel, axis=axis, mode="constant")
    return values[rows, columns]
