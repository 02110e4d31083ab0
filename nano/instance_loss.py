"""How far SAM 3's single objects are from the true ones: a matching (DETR, arXiv 2005.12872), then its losses."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from conceptseg.geometry import box_from_mask, scale_box
from conceptseg.models.segmenter import Instances
from conceptseg.training.losses import segmentation_loss, shrink_truth

__all__ = ["instance_loss"]

_BOX_WEIGHT = 5.0
_MASK_WEIGHT = 2.0
_NOTHING_WEIGHT = 0.2


def instance_loss(found: Instances, things: Sequence[Sequence[Bool[np.ndarray, "h w"]]]) -> Tensor:
    """Mean over prompts of the losses of which objects are any, where they are, and what they cover.

    Args:
        found: SAM 3's objects, one row a prompt.
        things: the true objects of each prompt; none where the thing is not there.
    """
    losses = [_of_one(found, row, [mask for mask in masks if mask.any()]) for row, masks in enumerate(things)]
    return torch.stack(losses).mean()


def _of_one(found: Instances, row: int, masks: Sequence[Bool[np.ndarray, "h w"]]) -> Tensor:
    logits, boxes, drawn = found.logits[row].float(), found.boxes_xyxy[row].float(), found.masks[row].float()
    is_object = torch.zeros_like(logits)
    if not masks:
        return _NOTHING_WEIGHT * F.binary_cross_entropy_with_logits(logits, is_object)
    truth = torch.from_numpy(np.stack(masks)).float().to(drawn.device)
    truth = shrink_truth(truth, (drawn.shape[-2], drawn.shape[-1]))
    places = torch.tensor([_box_of(mask) for mask in masks], device=drawn.device)
    mine, theirs = linear_sum_assignment(_cost(logits, boxes, drawn, places, truth).cpu().numpy())
    is_object[mine] = 1.0
    weight = torch.where(is_object > 0, 1.0, _NOTHING_WEIGHT)
    named = F.binary_cross_entropy_with_logits(logits, is_object, weight=weight)
    placed = F.smooth_l1_loss(boxes[mine], places[theirs], beta=0.05)
    covered = segmentation_loss(drawn[mine], truth[theirs], pixel_loss="bce").mean()
    return named + _BOX_WEIGHT * placed + _MASK_WEIGHT * covered


@torch.no_grad()
def _cost(
    logits: Float[Tensor, " objects"],
    boxes: Float[Tensor, "objects 4"],
    drawn: Float[Tensor, "objects h w"],
    places: Float[Tensor, "things 4"],
    truth: Float[Tensor, "things h w"],
) -> Float[Tensor, "objects things"]:
    probability, target = drawn.sigmoid().flatten(1), truth.flatten(1)
    overlap = 2 * probability @ target.T + 1
    dice = 1 - overlap / (probability.sum(1)[:, None] + target.sum(1)[None] + 1)
    return _MASK_WEIGHT * dice + _BOX_WEIGHT * torch.cdist(boxes, places, p=1) / 4 - logits.sigmoid()[:, None]


def _box_of(mask: Bool[np.ndarray, "h w"]) -> tuple[float, float, float, float]:
    box = box_from_mask(mask)
    assert box is not None  # empty masks are no things
    return scale_box(box, (mask.shape[0], mask.shape[1]), (1, 1))
