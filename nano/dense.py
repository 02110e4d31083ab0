"""What a picture shows, cell by cell: training-only targets and heads that teach small vision towers to see.

Masks and words alone teach a small tower slowly; naming and boxing what lies under every patch teaches it fast. The
heads are thrown away afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int, Shaped
from PIL import Image
from torch import Tensor

from conceptseg.geometry import box_from_mask

__all__ = [
    "CELLS_PER_SIDE",
    "UNKNOWN",
    "CellTargets",
    "batch_iou",
    "box_off_loss",
    "cell_loss",
    "centres",
    "coverage",
    "label_cells",
    "merge_cells",
    "target_weight",
]

CELLS_PER_SIDE = 2
"""A merged token of the MLLM covers 2×2 patches; what it shows is taught for each."""

UNKNOWN = -1
"""Label of a cell that teaches nothing."""

_LEAST_COVERAGE = 0.35
_NOTHING_WEIGHT = 0.3
_BOX_WEIGHT = 4.0


@dataclass(frozen=True, eq=False)
class CellTargets:
    """The object under every cell of a picture."""

    labels: Int[np.ndarray, "side side"]
    """0 = nothing, 1 + class for an object, `UNKNOWN` where nothing is taught."""
    boxes: Float[np.ndarray, "side side 4"]
    """The object's box x1, y1, x2, y2 as shares of the picture's side."""


def batch_iou(predicted: Bool[Tensor, "batch h w"], actual: Bool[Tensor, "batch h w"]) -> Float[Tensor, " batch"]:
    """IoU of each pair of masks, on their device, to be logged while training; 0 where both are empty."""
    union = (predicted | actual).flatten(1).sum(1)
    return (predicted & actual).flatten(1).sum(1) / union.clamp(min=1)


def centres(rows: int, columns: int) -> Float[np.ndarray, "rows columns 2"]:
    """The middle of each cell of a grid over a picture, x and y as shares of its sides."""
    y, x = np.meshgrid((np.arange(rows) + 0.5) / rows, (np.arange(columns) + 0.5) / columns, indexing="ij")
    return np.stack([x, y], axis=2).astype(np.float32)


def coverage(mask: Bool[np.ndarray, "h w"], side: int) -> Float[np.ndarray, "side side"]:
    """The share (0…1) of each cell of a side × side grid that a mask covers."""
    picture = Image.fromarray(np.asarray(mask, dtype=np.uint8) * 255)
    return np.asarray(picture.resize((side, side), Image.Resampling.BOX), dtype=np.float32) / 255


def label_cells(things: Sequence[tuple[int, Any]], side: int, *, elsewhere: int = 0) -> CellTargets:
    """Targets from (label, mask) pairs; a cell belongs to what covers it most, if that is a third of it.

    Args:
        things: labels (1 + class) with their masks.
        side: cells along a side.
        elsewhere: label of the other cells: 0, or `UNKNOWN` when the picture holds more than is listed.
    """
    labels = np.full((side, side), elsewhere, dtype=np.int64)
    boxes = np.zeros((side, side, 4), dtype=np.float32)
    best = np.full((side, side), _LEAST_COVERAGE, dtype=np.float32)
    for label, mask in things:
        box = box_from_mask(mask)
        if box is None:
            continue
        share = coverage(mask, side)
        here = share > best
        labels[here], best[here] = label, share[here]
        boxes[here] = np.array(box, dtype=np.float32) / mask.shape[0]
    return CellTargets(labels, boxes)


def cell_loss(
    scores: Float[Tensor, "cells classes"],
    places: Float[Tensor, "cells 4"],
    labels: Int[Tensor, " cells"],
    boxes: Float[Tensor, "cells 4"],
) -> tuple[Tensor, dict[str, float]]:
    """Cross-entropy of what cells show (class 0 = nothing) and the boxes of what they hold, with how right both are.

    Returns:
        The loss, 0 where every cell is `UNKNOWN`, and numbers to log; none of what no cell could show.
    """
    held, known = labels > 0, labels != UNKNOWN
    weight = torch.ones(scores.shape[1], device=scores.device)
    weight[0] = _NOTHING_WEIGHT
    # An average over nothing is no number; a sum of nothing is 0, and has a gradient.
    nothing = scores.float().sum() * 0 + places.float().sum() * 0
    class_loss = F.cross_entropy(scores.float()[known], labels[known], weight=weight) if known.any() else nothing
    numbers = {"cell_loss": float(class_loss.detach())} if known.any() else {}
    if not held.any():
        return class_loss + nothing, numbers
    off = places.float()[held] - boxes[held]
    box_loss = box_off_loss(off)
    numbers["cells_right"] = float((scores.argmax(dim=1) == labels)[held].float().mean())
    numbers["cell_box_off"] = float(off.detach().abs().mean())
    return class_loss + _BOX_WEIGHT * box_loss, numbers


def box_off_loss(off: Float[Tensor, "boxes 4"]) -> Tensor:
    """The loss of boxes that are `off` by these shares of a picture's side; 0, with a gradient, where there is none."""
    return F.smooth_l1_loss(off, torch.zeros_like(off), beta=0.05) if len(off) else off.sum()


def target_weight(truth: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
    """How much an answer counts: what is target (a share of 0…1) five times, for most of a picture is not."""
    return 1 + 4 * truth


def merge_cells(grid: Shaped[np.ndarray, "patches patches *rest"]) -> Shaped[np.ndarray, "tokens cells *rest"]:
    """The patches of a picture by merged token: each token's own, row by row."""
    side = grid.shape[0] // CELLS_PER_SIDE
    cells = grid.reshape(side, CELLS_PER_SIDE, side, CELLS_PER_SIDE, *grid.shape[2:]).swapaxes(1, 2)
    return cells.reshape(side * side, CELLS_PER_SIDE * CELLS_PER_SIDE, *grid.shape[2:])
