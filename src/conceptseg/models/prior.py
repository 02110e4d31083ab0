"""The reference prior: what references' masks say of each place of the target, added to SAM 3's image features.

Not in the paper, and off for released checkpoints: a small SAM 3 does not know most things by name, but its frozen eyes
can tell what resembles what is marked. The evidence (`matching`) has no parameters; a few convolutions say what to make
of it, in SAM 3's features and, for what they lose on their way, as a vote on the mask itself. Both start at zero, so
that an untrained prior changes nothing.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from conceptseg.models.matching import EVIDENCE

__all__ = ["PriorConfig", "ReferencePrior"]


class PriorConfig(BaseModel):
    """Sizes of a reference prior."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    width: int = Field(gt=0)
    """Channels of the backbone's tokens, to which it is added."""
    hidden: int = Field(default=48, gt=0)
    """Channels between its two convolutions."""
    evidence: tuple[str, ...] = EVIDENCE
    """The maps it was trained on, in order."""


class ReferencePrior(nn.Module):
    """Evidence → what is added to the vision backbone's tokens before SAM 3's neck, and to the mask's logits."""

    def __init__(self, config: PriorConfig) -> None:
        super().__init__()
        self.config = config
        maps = len(config.evidence)
        self.read = nn.Conv2d(maps, config.hidden, 3, padding=1)
        self.weigh = nn.Conv2d(config.hidden, config.hidden, 3, padding=1)
        self.say = nn.Conv2d(config.hidden, config.width, 1)
        self.vote = nn.Conv2d(maps + config.hidden, 1, 1)
        for last in (self.say, self.vote):
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)  # type: ignore[arg-type]

    def forward(
        self, evidence: Float[Tensor, "batch maps rows columns"]
    ) -> tuple[Float[Tensor, "batch cells width"], Float[Tensor, "batch rows columns"]]:
        """What to add to each token, row by row of the grid, and to the mask's logits at each cell."""
        read = F.gelu(self.read(evidence))
        known = F.gelu(self.weigh(read)) + read
        return self.say(known).flatten(2).transpose(1, 2), self.vote(torch.cat([evidence, known], dim=1))[:, 0]
