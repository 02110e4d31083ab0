"""The single objects that SAM 3 finds under the prompt that drew a mask."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Float16

from conceptseg.errors import InputError
from conceptseg.geometry import BoxXYXY, box_from_mask
from conceptseg.models.segmenter import Instances, upsample_logits

__all__ = ["DEFAULT_AGREEMENT", "DEFAULT_SCORE", "FoundObjects", "Instance", "check_score"]

DEFAULT_SCORE = 0.5
"""From this score on an object counts."""
DEFAULT_AGREEMENT = 0.5
"""IoU of the objects' union with the mask from which they are taken for what the mask is made of."""
_KEPT = 0.05
"""Objects below are not even remembered."""


def check_score(score: float) -> float:
    """A score threshold.

    Raises:
        InputError: it does not lie in 0…1.
    """
    if not 0 <= score <= 1:
        raise InputError(f"A score threshold must lie in 0…1, got {score}.")
    return score


@dataclass(frozen=True, eq=False)
class Instance:
    """One object of the concept."""

    mask: Bool[np.ndarray, "h w"]
    """At the image's own size."""
    box: BoxXYXY
    """Around the mask, in pixels."""
    score: float
    """That it is one of the concept and the concept is there, 0…1."""


@dataclass(frozen=True, eq=False)
class FoundObjects:
    """Objects as SAM 3 gives them: small logits, brought to the image's size when asked for."""

    logits: Float16[np.ndarray, "objects height width"]
    scores: Float[np.ndarray, " objects"]

    @classmethod
    def of(cls, found: Instances, place: int) -> FoundObjects:
        """Those of one image of a batch, the best first."""
        scores = found.scores[place].float()
        order = scores.argsort(descending=True)
        order = order[scores[order] >= _KEPT]
        logits = found.masks[place][order].float().clamp(-6e4, 6e4)
        return cls(logits.cpu().numpy().astype(np.float16), scores[order].cpu().numpy())

    def above(self, threshold: float, size_hw: tuple[int, int]) -> tuple[Instance, ...]:
        """Objects from a score on, the best first; those without a pixel at that size are left out."""
        chosen: list[Instance] = []
        for logits, score in zip(self.logits, self.scores, strict=True):
            if score < threshold:
                break
            mask = (upsample_logits(torch.from_numpy(logits.astype(np.float32)), size_hw) > 0).numpy()
            box = box_from_mask(mask)
            if box is not None:
                chosen.append(Instance(mask, box, float(score)))
        return tuple(chosen)

    def union(self, threshold: float, size_hw: tuple[int, int]) -> Bool[np.ndarray, "h w"]:
        """The objects from a score on as one mask."""
        mask = np.zeros(size_hw, dtype=bool)
        for one in self.above(threshold, size_hw):
            mask |= one.mask
        return mask
