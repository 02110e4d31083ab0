"""From concept tokens to masks and their loss: the part of the objective that both stages share (Eq. 4, 5)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from conceptseg.errors import TrainingError
from conceptseg.geometry import BoxXYXY, scale_box
from conceptseg.models.segmenter import ImageFeatures, PromptSegmenter, upsample_logits
from conceptseg.protocol import Response
from conceptseg.training.losses import PixelLoss, segmentation_loss, shrink_truth_and_ignore
from conceptseg.training.rewards import mask_reward

__all__ = [
    "MaskTruth",
    "box_fractions",
    "decode_tokens",
    "mask_losses",
    "mask_progress",
    "mask_scores",
    "require_finite",
]


@dataclass(frozen=True, eq=False)
class MaskTruth:
    """A true mask with the pixels that do not count, at the picture's own size."""

    mask: Bool[np.ndarray, "h w"]
    ignore: Bool[np.ndarray, "h w"]


def box_fractions(responses: Sequence[Response], frame_px: int) -> list[BoxXYXY | None]:
    """The boxes of responses in fractions of the target picture, as SAM 3 takes them; None where there is none."""
    boxes = [response.box for response in responses]
    return [None if b is None else scale_box(b, (frame_px, frame_px), (1.0, 1.0)) for b in boxes]


def decode_tokens(
    segmenter: PromptSegmenter,
    features: ImageFeatures,
    tokens: Float[Tensor, "batch queries prompt"],
    answers: Sequence[str],
) -> Float[Tensor, "batch h w"]:
    """Mask logits from concept tokens and answers: P = [Z ; E_text] (Eq. 4), then SAM 3.

    SAM 3's weights learn nothing, but gradients pass through to the tokens.
    """
    with torch.no_grad():
        texts = segmenter.embed_text(answers)
    return segmenter.decode(features, texts.prepend(tokens)).semantic.float()


def mask_losses(
    semantic: Float[Tensor, "batch h w"], truths: Sequence[MaskTruth], *, pixel_loss: PixelLoss
) -> Float[Tensor, " batch"]:
    """L_seg (Eq. 5) of each image at the decoder's resolution; ignored pixels do not count."""
    size_hw = (semantic.shape[-2], semantic.shape[-1])
    shrunk = [
        shrink_truth_and_ignore(torch.from_numpy(t.mask)[None], torch.from_numpy(t.ignore)[None], size_hw)
        for t in truths
    ]
    truth, valid = (torch.cat([pair[k] for pair in shrunk]).to(semantic.device) for k in (0, 1))
    return segmentation_loss(semantic, truth, valid, pixel_loss=pixel_loss)


@torch.no_grad()
def mask_scores(semantic: Float[Tensor, "batch h w"], truths: Sequence[MaskTruth]) -> list[float]:
    """R_mask (Eq. 7) of each image: IoU at the picture's own size, logits above 0."""
    return [mask_reward(mask, t.mask, t.ignore) for mask, t in zip(_masks(semantic, truths), truths, strict=True)]


def mask_progress(semantic: Float[Tensor, "batch h w"], truths: Sequence[MaskTruth]) -> dict[str, float]:
    """Batch means of the target's IoU (`iou`), and of the mean of target's and background's (`miou`, as in
    `conceptseg.metrics`)."""
    inner, outer = [], []
    for mask, truth in zip(_masks(semantic, truths), truths, strict=True):
        inner.append(mask_reward(mask, truth.mask, truth.ignore))
        outer.append(mask_reward(~mask, ~truth.mask, truth.ignore))
    iou = sum(inner) / len(inner)
    return {"iou": iou, "miou": (iou + sum(outer) / len(outer)) / 2}


def _masks(semantic: Float[Tensor, "batch h w"], truths: Sequence[MaskTruth]) -> Iterator[Bool[np.ndarray, "h w"]]:
    for logits, truth in zip(semantic, truths, strict=True):
        yield (upsample_logits(logits, truth.mask.shape) > 0).cpu().numpy()


def require_finite(loss: Tensor, step: int, sample_ids: Sequence[str]) -> None:
    """Stop a run whose loss is no number, and say where.

    Raises:
        TrainingError: the loss is NaN or infinite.
    """
    value = float(loss.detach())
    if not math.isfinite(value):
        raise TrainingError(
            f"The loss is {value} at update {step + 1}; samples of the batch: {', '.join(sample_ids)}. Nothing was "
            "learned from it. Lower learning_rate, check these samples, and resume from the last checkpoint."
        )
