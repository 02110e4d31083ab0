"""The rewards of Meta-GRPO as pure functions over parsed responses (Eq. 2, 6 and 7), and group-relative advantages.

No torch, no model: a predicted mask comes in as an array. Every reward lies in [0, 1].
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from jaxtyping import Bool

from conceptseg.errors import InputError
from conceptseg.geometry import BoxXYXY, box_iou, mask_iou
from conceptseg.protocol import Response

__all__ = [
    "REWARD_PARTS",
    "Truth",
    "WithoutProxy",
    "box_reward",
    "check_reward",
    "format_reward",
    "mask_reward",
    "meta_reward",
    "unified_reward",
]

REWARD_PARTS: tuple[str, ...] = ("format", "mask", "meta", "box", "check")
"""Names of the terms that can be in the reward; the paper's R_uni has the first three (Eq. 6)."""

WithoutProxy: TypeAlias = Literal["box", "box_squared", "zero"]
"""What R_meta is where no proxy was withheld: IoU(box), the released code's IoU(box)², or 0."""


@dataclass(frozen=True)
class Truth:
    """What a response is measured against; boxes are in the frame that the model was shown."""

    box: BoxXYXY
    """GT_box: the target's box."""
    check: BoxXYXY | None = None
    """GT_check: the withheld box of the proxy in the mosaic; None where nothing was withheld."""


def format_reward(response: Response) -> float:
    """R_format (Eq. 7): 1 if the response satisfies the template T_CoT to the letter, else 0."""
    return float(response.is_strict)


def box_reward(response: Response, truth: Truth, *, inclusive: bool = False) -> float:
    """IoU(P_box, GT_box): the first factor of Eq. 2, and the reward of the ablation without meta reward.

    Args:
        response: a response whose box could not be made out gets 0.
        truth: the true boxes.
        inclusive: count both corners as covered pixels, as the released code does.
    """
    return 0.0 if response.box is None else box_iou(response.box, truth.box, inclusive=inclusive)


def check_reward(response: Response, truth: Truth, *, inclusive: bool = False) -> float:
    """IoU(P_check, GT_check): the second factor of Eq. 2; 0 without a proxy, or without a readable `<check>`."""
    if response.check is None or truth.check is None:
        return 0.0
    return box_iou(response.check, truth.check, inclusive=inclusive)


def meta_reward(
    response: Response, truth: Truth, *, without_proxy: WithoutProxy = "box", inclusive: bool = False
) -> float:
    """R_meta = IoU(P_box, GT_box) × IoU(P_check, GT_check) (Eq. 2): 0 as soon as either is.

    The paper leaves open what it is where nothing was withheld (no or one reference). Then it is by default the first
    factor alone, as if the missing verification had succeeded; the released code squares it.

    Args:
        response: what the model said.
        truth: the true boxes.
        without_proxy: see `WithoutProxy`.
        inclusive: see `box_reward`.

    Raises:
        InputError: `without_proxy` is none of its values.
    """
    box = box_reward(response, truth, inclusive=inclusive)
    if truth.check is not None:
        return box * check_reward(response, truth, inclusive=inclusive)
    alone = {"box": box, "box_squared": box * box, "zero": 0.0}
    if without_proxy not in alone:
        raise InputError(f"without_proxy must be one of {', '.join(alone)}, got {without_proxy!r}.")
    return alone[without_proxy]


def mask_reward(
    predicted: Bool[np.ndarray, "h w"],
    truth: Bool[np.ndarray, "h w"],
    ignore: Bool[np.ndarray, "h w"] | None = None,
) -> float:
    """R_mask = IoU(P_seg, GT_seg) (Eq. 7) over the pixels that are not ignored; 1 when both masks are empty there.

    Raises:
        InputError: the masks differ in shape.
    """
    if ignore is None:
        return mask_iou(predicted, truth)
    if ignore.shape != truth.shape:
        raise InputError(f"The ignored pixels must have the masks' shape {truth.shape}, got {ignore.shape}.")
    return mask_iou(predicted & ~ignore, truth & ~ignore)


def unified_reward(parts: Mapping[str, float], weights: Mapping[str, float]) -> float:
    """R_uni = R_format + R_mask + R_meta (Eq. 6), with a weight for each term; a term without a weight is left out.

    Raises:
        InputError: a weight is given for a part that is missing or unknown.
    """
    unknown = sorted(set(weights) - set(parts))
    if unknown:
        raise InputError(f"No such reward part: {', '.join(unknown)}. There are: {', '.join(parts)}.")
    return sum(weight * parts[name] for name, weight in weights.items())
