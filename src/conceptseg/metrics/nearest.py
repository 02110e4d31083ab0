"""The nearest foreground pixel of given background pixels, exactly, without transforming the whole image.

The weighted F-measure asks for it around wrongly predicted pixels only, and these mostly lie close to the foreground.
A full Euclidean distance transform costs more than all other metrics together, so it is kept for many far ones.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Bool, Int, UInt8, UInt16
from scipy.ndimage import distance_transform_edt
from scipy.spatial import cKDTree

__all__ = ["REACH_PX", "Nearest", "Window", "bounding_window", "dilate_box", "nearest_foreground"]

Window: TypeAlias = tuple[slice, slice]
"""Rows and columns of a part of an image."""

REACH_PX = 7
"""How far the foreground is looked for by hand; a power of two minus one, so that doubling shifts cover it."""

_RADIX = 2 * REACH_PX + 2  # more than there are column offsets within reach
_NONE = 38  # "no foreground within reach" among the column gaps: beyond it, and small enough for uint16 keys
_MANY = 12_000  # far queries from which on the full transform is faster than a search tree


class Nearest(NamedTuple):
    """The nearest foreground pixel of every query; pixels are numbered row by row within the window."""

    queries: Int[np.ndarray, " queries"]
    pixels: Int[np.ndarray, " queries"]
    """Meaningful where the distance is at most `REACH_PX`; farther ones may lie outside the window."""
    squared_px: Int[np.ndarray, " queries"]
    """Squared distance."""


def nearest_foreground(
    truth: Bool[np.ndarray, "h w"], window: Window, asked: Bool[np.ndarray, "rows columns"]
) -> Nearest:
    """The nearest true pixel, by Euclidean distance, of every pixel asked for.

    Among equally near pixels the one of the smallest column wins, then of the smallest row: SciPy's choice, which
    the reference implementations of the weighted F-measure inherit.

    Args:
        truth: the foreground of the whole image; at least one pixel is true.
        window: a part of the image that holds all queries and a margin of `REACH_PX` around them, as far as the
            image goes.
        asked: the queries, background pixels, as a mask over the window.
    """
    queries = np.flatnonzero(asked)
    pixels, squared_px = _within_reach(truth[window], queries)
    far = np.flatnonzero(squared_px > REACH_PX**2)
    if len(far):
        rows, columns = np.divmod(queries[far], asked.shape[1])
        squared_px[far] = _squared_distance_anywhere(truth, rows + window[0].start, columns + window[1].start)
    return Nearest(queries, pixels, squared_px)


def bounding_window(mask: Bool[np.ndarray, "h w"], margin_px: int) -> Window:
    """The smallest window around a mask's true pixels (at least one) and a margin, inside the image."""
    spans = []
    for axis, length in ((1, mask.shape[0]), (0, mask.shape[1])):
        touched = np.flatnonzero(mask.any(axis=axis))
        spans.append(slice(max(int(touched[0]) - margin_px, 0), min(int(touched[-1]) + margin_px + 1, length)))
    return spans[0], spans[1]


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


def _within_reach(
    truth: Bool[np.ndarray, "rows columns"], queries: Int[np.ndarray, " queries"]
) -> tuple[Int[np.ndarray, " queries"], Int[np.ndarray, " queries"]]:
    """Number and squared distance of the best pixel within reach; a larger distance means that there is none."""
    gaps = _column_gaps(truth)
    keys = _best_keys(gaps >> 1).ravel().take(queries)
    in_row = queries + (keys % _RADIX) - REACH_PX
    down = np.repeat(np.arange(_NONE + 1) * truth.shape[1], 2)
    down[::2] *= -1
    return in_row + down.take(gaps.ravel().take(in_row)), (keys // _RADIX).astype(np.intp)


def _column_gaps(truth: Bool[np.ndarray, "rows columns"]) -> UInt8[np.ndarray, "rows columns"]:
    """Twice the distance to the nearest true pixel of the same column, plus one if that lies below.

    Exact within reach, and beyond reach outside of it. So the pixel above is the smaller of two equally near.
    """
    gaps = np.uint8(2 * _NONE) * ~truth
    for step in _doubling_steps(REACH_PX):
        above, below = gaps + np.uint8(2 * step), (gaps | np.uint8(1)) + np.uint8(2 * step)
        np.minimum(gaps[step:], above[:-step], out=gaps[step:])
        np.minimum(gaps[:-step], below[step:], out=gaps[:-step])
    return gaps


def _best_keys(gaps_px: UInt8[np.ndarray, "rows columns"]) -> UInt16[np.ndarray, "rows columns"]:
    """For every pixel the least `squared distance · _RADIX + column offset + REACH_PX` over the columns in reach.

    The least key belongs to the nearest pixel and, among equals, to the leftmost.
    """
    columns = gaps_px.astype(np.uint16) ** 2 * np.uint16(_RADIX)
    best = columns + np.uint16(REACH_PX)
    for step in range(1, min(REACH_PX, columns.shape[1] - 1) + 1):
        left, right = (np.uint16(step * step * _RADIX + REACH_PX + side * step) for side in (-1, 1))
        np.minimum(best[:, step:], columns[:, :-step] + left, out=best[:, step:])
        np.minimum(best[:, :-step], columns[:, step:] + right, out=best[:, :-step])
    return best


def _squared_distance_anywhere(
    truth: Bool[np.ndarray, "h w"], rows: Int[np.ndarray, " far"], columns: Int[np.ndarray, " far"]
) -> Int[np.ndarray, " far"]:
    if len(rows) < _MANY:
        border = np.stack(np.nonzero(_border(truth)), axis=1)
        _, index = cKDTree(border).query(np.stack([rows, columns], axis=1))
        nearest_rows, nearest_columns = border[index].T
    else:
        row_of, column_of = distance_transform_edt(~truth, return_distances=False, return_indices=True)
        nearest_rows, nearest_columns = row_of[rows, columns], column_of[rows, columns]
    return (nearest_rows - rows) ** 2 + (nearest_columns - columns) ** 2


def _border(truth: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """The true pixels with a false one above, below, left or right: no other can be nearest to a false one."""
    border = np.zeros_like(truth)
    changes = truth[1:] ^ truth[:-1]
    border[1:] |= changes
    border[:-1] |= changes
    changes = truth[:, 1:] ^ truth[:, :-1]
    border[:, 1:] |= changes
    border[:, :-1] |= changes
    return border & truth
