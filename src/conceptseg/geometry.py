"""Boxes and masks as plain numbers: the only definitions of IoU, box-of-a-mask and box transforms in the tree.

Boxes are `(x1, y1, x2, y2)` in pixels, continuous and half-open: a mask whose only pixel is column 3, row 5 has the
box (3, 5, 4, 6), of area 1. The released code counts inclusive pixels instead (x2 = 3); see `box_iou`'s
`inclusive`.
"""

from __future__ import annotations

import math
from typing import TypeAlias

import numpy as np
from jaxtyping import Bool

from conceptseg.errors import InputError

__all__ = [
    "BoxXYXY",
    "box_area",
    "box_from_mask",
    "box_iou",
    "clip_box",
    "fill_box",
    "mask_iou",
    "order_box",
    "pixel_corners",
    "round_box",
    "scale_box",
]

BoxXYXY: TypeAlias = tuple[float, float, float, float]
"""x1, y1, x2, y2 in pixels of some named frame."""


def box_area(box_xyxy: BoxXYXY) -> float:
    """Area in square pixels; 0 for an empty or inverted box."""
    x1, y1, x2, y2 = box_xyxy
    return max(0.0, x2 - x1) * max(0.0, y2 - y1)


def box_iou(a_xyxy: BoxXYXY, b_xyxy: BoxXYXY, *, inclusive: bool = False) -> float:
    """Intersection over union of two boxes, in [0, 1]; 0 when the union is empty.

    Source: IoU of Eq. 2. With `inclusive=True` both corners count as covered pixels (one more in width and height),
    which is how the released code measures it; the paper does not say.
    """
    if inclusive:
        a_xyxy = (a_xyxy[0], a_xyxy[1], a_xyxy[2] + 1, a_xyxy[3] + 1)
        b_xyxy = (b_xyxy[0], b_xyxy[1], b_xyxy[2] + 1, b_xyxy[3] + 1)
    overlap = (
        max(a_xyxy[0], b_xyxy[0]),
        max(a_xyxy[1], b_xyxy[1]),
        min(a_xyxy[2], b_xyxy[2]),
        min(a_xyxy[3], b_xyxy[3]),
    )
    intersection = box_area(overlap)
    union = box_area(a_xyxy) + box_area(b_xyxy) - intersection
    return intersection / union if union > 0 else 0.0


def mask_iou(a: Bool[np.ndarray, "h w"], b: Bool[np.ndarray, "h w"]) -> float:
    """Foreground intersection over union of two boolean masks of one size, in [0, 1].

    Two empty masks agree: 1. (The released code counts them 0; metrics name their protocol.)

    Raises:
        InputError: the masks differ in shape.
    """
    if a.shape != b.shape:
        raise InputError(f"Masks must have one shape to be compared, got {a.shape} and {b.shape}.")
    union = int(np.count_nonzero(a | b))
    return int(np.count_nonzero(a & b)) / union if union else 1.0


def box_from_mask(mask: Bool[np.ndarray, "h w"]) -> BoxXYXY | None:
    """The tightest box around a mask's true pixels, or None for an empty mask."""
    rows = np.flatnonzero(mask.any(axis=1))
    if rows.size == 0:
        return None
    columns = np.flatnonzero(mask.any(axis=0))
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)


def fill_box(box_xyxy: BoxXYXY, size_hw: tuple[int, int]) -> Bool[np.ndarray, "h w"]:
    """The mask of all pixels that a box covers, in whole pixels (`round_box`), cut to an image of `size_hw`."""
    left, top, right, bottom = round_box(box_xyxy)
    mask = np.zeros(size_hw, dtype=bool)
    mask[max(0, top) : max(0, bottom), max(0, left) : max(0, right)] = True
    return mask


def clip_box(box_xyxy: BoxXYXY, size_hw: tuple[int, int]) -> BoxXYXY:
    """The part of a box inside an image of `size_hw`; may be empty."""
    height, width = size_hw
    x1, y1, x2, y2 = box_xyxy
    return min(max(x1, 0.0), width), min(max(y1, 0.0), height), min(max(x2, 0.0), width), min(max(y2, 0.0), height)


def order_box(box_xyxy: BoxXYXY) -> BoxXYXY:
    """The same box with its corners in order (x1 ≤ x2, y1 ≤ y2)."""
    x1, y1, x2, y2 = box_xyxy
    return min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)


def round_box(box_xyxy: BoxXYXY) -> tuple[int, int, int, int]:
    """An ordered box of positive area in whole pixels, each corner to the nearest, at least one pixel wide and high."""

    def whole(low: float, high: float) -> tuple[int, int]:
        first, last = round(low), round(high)
        return (first, last) if first < last else (math.floor(low), math.floor(low) + 1)

    x1, y1, x2, y2 = box_xyxy
    (left, right), (top, bottom) = whole(x1, x2), whole(y1, y2)
    return left, top, right, bottom


def pixel_corners(box_xyxy: BoxXYXY) -> tuple[int, int, int, int]:
    """The first and the last pixel of a box, for drawing functions whose last row and column belong to a rectangle."""
    left, top, right, bottom = round_box(box_xyxy)
    return left, top, right - 1, bottom - 1


def scale_box(
    box_xyxy: BoxXYXY, from_hw: tuple[float, float], to_hw: tuple[float, float], offset_xy: tuple[float, float] = (0, 0)
) -> BoxXYXY:
    """A box carried from a frame of one size into a frame of another, then moved by `offset_xy` (target pixels)."""
    scale_y, scale_x = to_hw[0] / from_hw[0], to_hw[1] / from_hw[1]
    x1, y1, x2, y2 = box_xyxy
    dx, dy = offset_xy
    return x1 * scale_x + dx, y1 * scale_y + dy, x2 * scale_x + dx, y2 * scale_y + dy
