"""The reference prior: what references' masks say of each place of the target, added to SAM 3's image features.

Not in the paper, and off for released checkpoints: a small SAM 3 does not know most things by name, but its frozen eyes
can tell what resembles what is marked. The evidence (`matching`) has no parameters; two convolutions say what to make
of it. The last one starts at zero, so that an untrained prior changes nothing.
"""

from __future__ import annotations

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
    """Evidence → what is added to the vision backbone's tokens before SAM 3's neck."""

    def __init__(self, config: PriorConfig) -> None:
        super().__init__()
        self.config = config
        self.read = nn.Conv2d(len(config.evidence), config.hidden, 3, padding=1)
        self.weigh = nn.Conv2d(config.hidden, config.hidden, 3, padding=1)
        self.say = nn.Conv2d(config.hidden, config.width, 1)
        nn.init.zeros_(self.say.weight)
        nn.init.zeros_(self.say.bias)  # type: ignore[arg-type]

    def forward(self, evidence: Float[Tensor, "batch maps rows columns"]) -> Float[Tensor, "batch cells width"]:
        """What to add to each token, row by row of the grid."""
        read = F.gelu(self.read(evidence))
        return self.say(F.gelu(self.weigh(read)) + read).flatten(2).transpose(1, 2)
