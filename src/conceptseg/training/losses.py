"""The segmentation loss of Eq. 5: dice + focal, at the mask decoder's own resolution."""

from __future__ import annotations

from typing import Literal, TypeAlias

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from conceptseg.errors import InputError

__all__ = [
    "PixelLoss",
    "bce_loss",
    "dice_loss",
    "focal_loss",
    "segmentation_loss",
    "shrink_truth",
    "shrink_truth_and_ignore",
]

PixelLoss: TypeAlias = Literal["focal", "bce"]
"""The loss beside dice: "focal" is the paper's (Eq. 5), "bce" the released code's."""


def shrink_truth(truth: Float[Tensor, "batch full_h full_w"], size_hw: tuple[int, int]) -> Float[Tensor, "batch h w"]:
    """Masks (0…1) brought to the decoder's resolution by area averaging: the share of a cell that is target.

    Averaging rather than sampling keeps thin targets; with full-size SAM 3 the truth shrinks from the image's size to
    288×288. A truth smaller than `size_hw` in either direction is interpolated instead.
    """
    if truth.shape[-1] < size_hw[1] or truth.shape[-2] < size_hw[0]:
        return F.interpolate(truth[:, None], size=size_hw, mode="bilinear", align_corners=False)[:, 0]
    return F.adaptive_avg_pool2d(truth[:, None], size_hw)[:, 0]


def shrink_truth_and_ignore(
    truth: Bool[Tensor, "batch full_h full_w"],
    ignore: Bool[Tensor, "batch full_h full_w"],
    size_hw: tuple[int, int],
) -> tuple[Float[Tensor, "batch h w"], Bool[Tensor, "batch h w"]]:
    """Truth and valid cells at the decoder's resolution, where some pixels are not to be counted.

    Returns:
        The share of each cell's counted pixels that is target (0 where none is counted), and whether at least half of
        the cell's pixels are counted; other cells take no part in the loss.
    """
    counted = (~ignore).float()
    share = shrink_truth(counted, size_hw)
    target = shrink_truth(truth.float() * counted, size_hw)
    return target / share.clamp(min=1e-6), share >= 0.5


def dice_loss(
    logits: Float[Tensor, "batch h w"],
    truth: Float[Tensor, "batch h w"],
    valid: Bool[Tensor, "batch h w"] | None = None,
) -> Float[Tensor, " batch"]:
    """1 − (2·Σpt + 1) / (Σp + Σt + 1) an image, p = sigmoid(logits), sums over valid pixels; in [0, 1].

    The paper names the loss (Eq. 5) without a formula; the +1 keeps an empty truth differentiable (0 when nothing is
    predicted).
    """
    probability = torch.sigmoid(logits)
    if valid is not None:
        probability, truth = probability * valid, truth * valid
    overlap = (probability * truth).sum(dim=(1, 2))
    total = probability.sum(dim=(1, 2)) + truth.sum(dim=(1, 2))
    return 1 - (2 * overlap + 1) / (total + 1)


def focal_loss(
    logits: Float[Tensor, "batch h w"],
    truth: Float[Tensor, "batch h w"],
    valid: Bool[Tensor, "batch h w"] | None = None,
    *,
    alpha: float = 0.25,
    gamma: float = 2.0,
) -> Float[Tensor, " batch"]:
    """Mean over valid pixels of α_t·(1 − p_t)^γ·BCE, with p_t = p·t + (1 − p)(1 − t) for soft truths too (Eq. 5).

    α and γ are the usual 0.25 and 2 (the paper gives none). With γ = 0 and α < 0 (no class weight) it is BCE.
    """
    cross_entropy = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    probability = torch.sigmoid(logits)
    agreement = probability * truth + (1 - probability) * (1 - truth)
    loss = cross_entropy * (1 - agreement) ** gamma
    if alpha >= 0:
        loss = loss * (alpha * truth + (1 - alpha) * (1 - truth))
    return _mean_over(loss, valid)


def bce_loss(
    logits: Float[Tensor, "batch h w"],
    truth: Float[Tensor, "batch h w"],
    valid: Bool[Tensor, "batch h w"] | None = None,
) -> Float[Tensor, " batch"]:
    """Mean binary cross-entropy over valid pixels: what the released code uses in place of the paper's focal loss."""
    return _mean_over(F.binary_cross_entropy_with_logits(logits, truth, reduction="none"), valid)


def segmentation_loss(
    logits: Float[Tensor, "batch h w"],
    truth: Float[Tensor, "batch h w"],
    valid: Bool[Tensor, "batch h w"] | None = None,
    *,
    pixel_loss: PixelLoss = "focal",
) -> Float[Tensor, " batch"]:
    """L_seg = L_dice + L_focal (Eq. 5), one number an image.

    Args:
        logits: of the mask, at the decoder's resolution.
        truth: the share of target in each cell, 0 to 1; hard or soft.
        valid: cells that count; None counts all. An image without any valid cell has loss 0.
        pixel_loss: "bce" is the released code's variant.

    Raises:
        InputError: `pixel_loss` is neither.
    """
    if pixel_loss not in ("focal", "bce"):
        raise InputError(f"pixel_loss must be 'focal' or 'bce', got {pixel_loss!r}.")
    pixel = bce_loss(logits, truth, valid) if pixel_loss == "bce" else focal_loss(logits, truth, valid)
    return dice_loss(logits, truth, valid) + pixel


def _mean_over(loss: Tensor, valid: Tensor | None) -> Tensor:
    if valid is None:
        return loss.mean(dim=(1, 2))
    return (loss * valid).sum(dim=(1, 2)) / valid.sum(dim=(1, 2)).clamp(min=1)
