"""The weighted F-measure of Margolin, Zelnik-Manor and Tal, "How to Evaluate Foreground Maps?" (CVPR 2014).

An error inside the foreground counts less when its 7 × 7 neighbourhood is right (a Gaussian average of the errors,
σ = 5 px); an error outside counts more the farther it is from the foreground: 2 - 2^(-d/5), d in pixels. β² = 1.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.ndimage import correlate1d

from conceptseg.metrics.inputs import Pair
from conceptseg.metrics.nearest import REACH_PX, bounding_window, dilate_box, nearest_foreground
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
    if not wrong.any():
        return 0.0, 0.0
    window = bounding_window(wrong, margin_px=_RADIUS_PX + REACH_PX)
    truth, error = pair.truth[window], np.array(error[window], dtype=np.float64, order="C")  # flat views below
    missed, spurious = wrong[window] & truth, wrong[window] & ~truth
    # smoothing around a missed pixel looks at background, where the error of the nearest foreground pixel stands in
    asked = spurious | (dilate_box(missed, _RADIUS_PX) & ~truth)
    nearest = nearest_foreground(pair.truth, window, asked)
    weights = 2 - np.exp2(-np.sqrt(nearest.squared_px) / _HALVING_PX)
    outside = float(error.ravel()[nearest.queries] @ weights)
    near = nearest.squared_px <= REACH_PX**2
    error.ravel()[nearest.queries[near]] = error.ravel()[nearest.pixels[near]]
    return _smoothed_sum(error, missed, integer), outside


def _smoothed_sum(
    error: Float[np.ndarray, "rows columns"], missed: Bool[np.ndarray, "rows columns"], integer: bool
) -> float:
    """The sum over missed pixels of the smaller of their own error and their neighbourhood's average."""
    pixels = np.flatnonzero(missed)
    if not len(pixels):
        return 0.0
    smooth = _smoothed_at(error, pixels)
    if integer:
        smooth = np.floor(smooth + 1e-9)  # a whole neighbourhood of ones may sum to a hair below 1
    return float(np.sum(np.minimum(smooth, error.ravel()[pixels])))


def _smoothed_at(
    error: Float[np.ndarray, "rows columns"], pixels: Int[np.ndarray, " pixels"]
) -> Float[np.ndarray, " pixels"]:
    """The 7 × 7 Gaussian average at some pixels, numbered row by row; zeros beyond the border."""
    offsets = np.arange(-_RADIUS_PX, _RADIUS_PX + 1)
    kernel = np.exp(-(offsets**2) / (2 * _SIGMA_PX**2))
    kernel /= kernel.sum()
    # the kernel is separable: down the columns everywhere, along the rows only where asked
    vertical = correlate1d(error, kernel, axis=0, mode="constant")
    padded = np.pad(vertical, ((0, 0), (_RADIUS_PX, _RADIUS_PX))).ravel()
    first = pixels + pixels // error.shape[1] * (2 * _RADIUS_PX)
    return sum(weight * padded.take(first + step) for step, weight in enumerate(kernel))
