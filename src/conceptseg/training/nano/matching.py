"""A training-only head that finds targets by their looks alone."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

__all__ = ["MatchingHead"]


class MatchingHead(nn.Module):
    """Finds targets by their looks alone, as one attention head of the language model could: every token of the target
    picture asks the tokens of the references whether they look like it, and is as much target as those are marked.

    It teaches the vision tower to show what things may have in common: kind, shape, colour, known or not.
    """

    def __init__(self, width: int, size: int = 32) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.to_looks = nn.Linear(width, size)
        self.scale = nn.Parameter(torch.tensor(2.0))

    def loss(
        self,
        mosaic: Float[Tensor, "keys width"],
        target: Float[Tensor, "queries width"],
        marked: Float[Tensor, " keys"],
        truth: Float[Tensor, " queries"],
        withheld: Bool[Tensor, " keys"],
    ) -> Tensor:
        """Cross-entropy of how much of each token of target and proxy is to be segmented.

        Args:
            mosaic: the mosaic's tokens.
            target: the target picture's.
            marked: how much of each of the mosaic's tokens is to be segmented, 0…1.
            truth: how much of each of the target's.
            withheld: which tokens show the proxy: they ask, and tell nothing.
        """
        looks = F.normalize(self.to_looks(self.norm(torch.cat([mosaic, target]))).float(), dim=1)
        asking = torch.cat([withheld, torch.ones_like(truth, dtype=torch.bool)])
        alike = looks[asking] @ looks[: len(mosaic)][~withheld].T * self.scale.exp()
        guess = (alike.softmax(dim=1) @ marked[~withheld]).clamp(1e-4, 1 - 1e-4)
        answer = torch.cat([marked, truth])[asking]
        return F.binary_cross_entropy(guess, answer, weight=1 + 4 * answer)
