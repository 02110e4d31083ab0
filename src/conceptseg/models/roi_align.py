"""RoIAlign in plain torch: what SAM 3's box encoder needs of torchvision, exactly, on every device."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["roi_align"]


def roi_align(
    features: Float[Tensor, "batch channels height width"],
    boxes_xyxy: Float[Tensor, "batch boxes 4"],
    output_size: int,
) -> Float[Tensor, "batch*boxes channels output_size output_size"]:
    """Average of bilinear samples in each bin of each box (Mask R-CNN, arXiv 1703.06870, §3).

    Equals `torchvision.ops.roi_align(features, list(boxes), output_size)` with its defaults: cell i's value sits at
    coordinate i (`aligned=False`), a box counts as at least one cell wide and high, every bin takes
    ⌈box side / output_size⌉ samples a direction, and samples more than one cell outside the map are 0.

    A bilinear sample is a product of a weight over rows and one over columns, and so is the average over a bin's grid
    of samples; one pair of small matrices a box therefore does all of it.

    Args:
        features: any float dtype; the work is done in float32.
        boxes_xyxy: corners in feature cells.
        output_size: bins along each side.
    """
    height, width = features.shape[-2:]
    pooled = [
        torch.einsum("ih,chw,jw->cij", _bin_weights(y1, y2, height, output_size), image, columns)
        for image, boxes in zip(features.float(), boxes_xyxy.float(), strict=True)
        for x1, y1, x2, y2 in boxes
        for columns in [_bin_weights(x1, x2, width, output_size)]
    ]
    empty = features.new_zeros(0, features.shape[1], output_size, output_size)
    return torch.stack(pooled).to(features.dtype) if pooled else empty


def _bin_weights(start: Tensor, end: Tensor, length: int, bins: int) -> Float[Tensor, "bins length"]:
    """What each cell along one direction counts in each bin."""
    extent = (end - start).clamp(min=1.0)
    samples = max(1, int(torch.ceil(extent / bins)))
    steps = (torch.arange(bins * samples, device=start.device) + 0.5) / samples
    at = start + steps * (extent / bins)
    inside = (at >= -1.0) & (at <= length)
    at = at.clamp(0, length - 1)
    low = at.floor().long()
    high = (low + 1).clamp(max=length - 1)
    share = at - low
    weights = torch.zeros(bins * samples, length, device=start.device)
    weights.scatter_add_(1, low[:, None], ((1 - share) * inside)[:, None])
    weights.scatter_add_(1, high[:, None], (share * inside)[:, None])
    return weights.view(bins, samples, length).mean(dim=1)
