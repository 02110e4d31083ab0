"""The nearest foreground pixel of given background pixels, exactly, without transforming the whole image.

The weighted F-measure asks for it at wrongly predicted pixels only, and these mostly lie close to the foreground.
A full Euclidean distance transform costs more than all other metrics together, so it is kept for the far ones.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from scipy.ndimage import distance_transform_edt

__all__ = ["Nearest", "bounding_window", "dilate_box", "nearest_foreground"]

_REACH_PX = 15  # how far is searched by hand; a power of two minus one, so that doubling shifts cover it
_NONE = 100  # "no foreground within reach" among the column gaps; _NONE + _REACH_PX must fit uint8


class Nearest(NamedTuple):
    """Where the nearest foreground pixel of each query is, and how far away."""

    rows: Int[np.ndarray, " queries"]
    columns: Int[np.ndarray, " queries"]
    distance_px: Float[np.ndarray, " queries"]


def nearest_foreground(
    truth: Bool[np.ndarray, "h w"], rows: Int[np.ndarray, " queries"], columns: Int[np.ndarray, " queries"]
) -> Nearest:
    """The nearest true pixel of every query, by Euclidean distance.

    Among equally near pixels the one of the smallest column wins, then of the smallest row: SciPy's choice, which
    the reference implementations of the weighted F-measure inherit.

    Args:
        truth: the foreground; at least one pixel is true.
        rows: the row of each query; at least one query.
        columns: the column of each query.
    """
    window = bounding_window(rows, columns, truth.shape, margin_px=_REACH_PX)
    top, left = window[0].start, window[1].start
    found = _within_reach(truth[window], rows - top, columns - left)
    if found is None:
        window = _window_with_foreground(truth, rows, columns)
        top, left = window[0].start, window[1].start
        found = _anywhere(truth[window], rows - top, columns - left)
    return Nearest(found.rows + top, found.columns + left, found.distance_px)


def bounding_window(
    rows: Int[np.ndarray, " points"], columns: Int[np.ndarray, " points"], size_hw: tuple[int, ...], margin_px: int
) -> tuple[slice, slice]:
    """The slices of the smallest window around some points and a margin, inside an image of `size_hw`."""
    (height, width) = size_hw
    return (
        slice(max(int(rows.min()) - margin_px, 0), min(int(rows.max()) + margin_px + 1, height)),
        slice(max(int(columns.min()) - margin_px, 0), min(int(columns.max()) + margin_px + 1, width)),
    )


def dilate_box(mask: Bool[np.ndarray, "h w"], radius_px: int) -> Bool[np.ndarray, "h w"]:
    """Every pixel within `radius_px` rows and columns of a true one; the radius is a power of two minus one."""
    grown = mask.copy()
    for step in _doubling_steps(radius_px):
        before = grown.copy()
        grown[step:] |= before[:-step]
        grown[:-step] |= before[step:]
        before = grown.copy()
        grown[:, step:] |= before[:, :-step]
        grown[:, :-step] |= before[:, step:]
    return grown


def _doubling_steps(radius_px: int) -> list[int]:
    return [1 << power for power in range((radius_px + 1).bit_length() - 1)]


def _window_with_foreground(
    truth: Bool[np.ndarray, "h w"], rows: Int[np.ndarray, " queries"], columns: Int[np.ndarray, " queries"]
) -> tuple[slice, slice]:
    all_rows = np.concatenate([rows, np.flatnonzero(truth.any(axis=1))])
    all_columns = np.concatenate([columns, np.flatnonzero(truth.any(axis=0))])
    return bounding_window(all_rows, all_columns, truth.shape, margin_px=0)


def _anywhere(
    truth: Bool[np.ndarray, "h w"], rows: Int[np.ndarray, " queries"], columns: Int[np.ndarray, " queries"]
) -> Nearest:
    row_of, column_of = distance_transform_edt(~truth, return_distances=False, return_indices=True)
    at = row_of[rows, columns], column_of[rows, columns]
    return Nearest(*at, np.hypot(at[0] - rows, at[1] - columns))


def _within_reach(
    truth: Bool[np.ndarray, "h w"], rows: Int[np.ndarray, " queries"], columns: Int[np.ndarray, " queries"]
) -> Nearest | None:
    """The same by walking outwards column by column; None if some query has no foreground within reach."""
    if not dilate_box(truth, _REACH_PX)[rows, columns].all():
        return None
    gap = _column_gaps(truth)
    squared, shift = _best_column_shift(gap, rows, columns)
    if squared.max() > _REACH_PX**2:
        return None
    column = columns + shift
    up = rows - gap[rows, column]
    is_up = (up >= 0) & truth[up, column]
    return Nearest(np.where(is_up, up, 2 * rows - up), column, np.sqrt(squared))


def _column_gaps(truth: Bool[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w"]:
    """Vertical distance to the nearest true pixel of the same column; exact within reach, more than it beyond."""
    gap = np.where(truth, np.uint8(0), np.uint8(_NONE))
    for step in _doubling_steps(_REACH_PX):
        farther = gap + np.uint8(step)
        np.minimum(gap[step:], farther[:-step], out=gap[step:])
        np.minimum(gap[:-step], farther[step:], out=gap[:-step])
    return gap


def _best_column_shift(
    gap: UInt8[np.ndarray, "h w"], rows: Int[np.ndarray, " queries"], columns: Int[np.ndarray, " queries"]
) -> tuple[Int[np.ndarray, " queries"], Int[np.ndarray, " queries"]]:
    """Squared distance and column offset of the best pixel over all columns within reach, leftmost among equals."""
    width = gap.shape[1]
    squared_gap = gap.astype(np.int32).ravel() ** 2
    squared = squared_gap[rows * width + columns]
    shift = np.zeros(len(rows), dtype=np.int64)
    open_ = np.arange(len(rows))
    for step in range(1, _REACH_PX + 1):
        open_ = open_[squared[open_] >= step * step]
        for offset in (-step, step):
            queries = open_[_inside(columns[open_] + offset, width)]
            candidate = squared_gap[rows[queries] * width + columns[queries] + offset] + step * step
            # `<=` on the left, `<` on the right: the leftmost of equally near columns is kept
            better = candidate < squared[queries] + (offset < 0)
            squared[queries[better]] = candidate[better]
            shift[queries[better]] = offset
    return squared, shift


def _inside(columns: Int[np.ndarray, " queries"], width: int) -> Bool[np.ndarray, " queries"]:
    return (columns >= 0) & (columns < width)
