"""One object from a box and points: SAM 3 finds the objects like the one in the box, and the one meant is kept.

SAM 3's concept model has no point prompts, and a box stands for everything that looks alike. The rivals' own SAM 2
draws exactly one object a prompt; so of SAM 3's objects the one is taken that holds the most points and, among those,
fits the box best.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from conceptseg.geometry import BoxXYXY, box_from_mask, box_iou, scale_box
from conceptseg.models.segmenter import ImageFeatures, PromptSegmenter, upsample_logits

__all__ = ["DrawnObject", "Pointer", "draw_object", "union_of"]

_NO_WORDS = "visual"
"""What SAM 3 is given in place of words when a box alone is to speak."""


@dataclass(frozen=True)
class Pointer:
    """Where an object is, in fractions of the picture."""

    box_xyxy: BoxXYXY
    points_xy: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True, eq=False)
class DrawnObject:
    """An object's mask and how much speaks for it."""

    mask: Bool[np.ndarray, "h w"]
    """At the picture's own size."""
    confidence: float
    """SAM 3's score of the object, 0 to 1."""
    box_iou: float
    """IoU of the mask's own box with the box asked for."""


@torch.no_grad()
def draw_object(
    segmenter: PromptSegmenter, features: ImageFeatures, pointer: Pointer, size_hw: tuple[int, int]
) -> DrawnObject | None:
    """The object that a pointer means; None where SAM 3 draws nothing that touches the box.

    Args:
        segmenter: SAM 3.
        features: of one picture.
        pointer: where the object is.
        size_hw: the picture's own size in pixels.
    """
    prompt = segmenter.embed_text([_NO_WORDS]).append(segmenter.embed_boxes(features, [pointer.box_xyxy]))
    found = segmenter.find_instances(features, prompt)
    fits = [_fit(logits, pointer) for logits in found.masks[0]]
    best = max(range(len(fits)), key=fits.__getitem__)
    if fits[best][1] == 0:
        return None
    mask = (upsample_logits(found.masks[0, best], size_hw) > 0).cpu().numpy()
    return DrawnObject(mask, float(found.scores[0, best]), fits[best][1])


def union_of(masks: Sequence[Bool[np.ndarray, "h w"]], size_hw: tuple[int, int]) -> Bool[np.ndarray, "h w"]:
    """All masks' pixels together; an empty mask without any."""
    whole = np.zeros(size_hw, dtype=bool)
    for mask in masks:
        whole |= mask
    return whole


def _fit(logits: Float[Tensor, "h w"], pointer: Pointer) -> tuple[int, float]:
    """How many of the points an object holds, and the IoU of its box with the box asked for."""
    mask = (logits > 0).cpu().numpy()
    height, width = mask.shape
    rows = (min(int(y * height), height - 1) for _, y in pointer.points_xy)
    columns = (min(int(x * width), width - 1) for x, _ in pointer.points_xy)
    box = box_from_mask(mask)
    overlap = box_iou(scale_box(box, (height, width), (1, 1)), pointer.box_xyxy) if box else 0.0
    return sum(int(mask[place]) for place in zip(rows, columns, strict=True)) if overlap else 0, overlap
