"""What the target's image tokens learn of the proxy: training-only heads, thrown away afterwards.

The proxy's own image tokens come first and have seen no marked reference, so that the response could find the check
only by comparing everything itself. The target's tokens have seen it all: those that hold the target, or lie where the
proxy shows something changed, learn the proxy's box half-way up, where the response can read it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from conceptseg.training.nano.episodes import Episode
from conceptseg.training.nano.looking import is_still
from conceptseg.training.nano.tokens import EpisodeTokens, tokens_of

__all__ = ["ProxyHeads"]

_CHECK = 1
"""Which of an episode's boxes is the proxy's."""
_LEAST_SHARE = 0.1


class ProxyHeads(nn.Module):
    """Linear heads on the states of the target's tokens, of a given width."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.change_head = nn.Linear(width, 1)
        self.box_head = nn.Linear(width, 4)

    def loss(
        self, states: Sequence[Float[Tensor, "_ width"]], episodes: Sequence[Episode]
    ) -> tuple[Tensor, dict[str, float]]:
        """The box of what is to be found in the proxy, and, in a scene that stands still, how much of it lies here.

        Args:
            states: of the image tokens of each episode: mosaic first, then target, row by row.
            episodes: those without a proxy teach nothing.

        Returns:
            The loss, and how far off the boxes are, as shares of the frame.
        """
        offs, changes = [self.box_head(states[0])[:0].float()], [self.change_head(states[0])[:0, 0].float()]
        for of_episode, episode in zip(states, episodes, strict=True):
            tokens = tokens_of(episode)
            if tokens is None or np.isnan(episode.boxes[_CHECK]).any():
                continue
            queries = of_episode[len(tokens.marked) :]
            knows = torch.from_numpy(_knowing(tokens, episode) > _LEAST_SHARE)
            box = torch.from_numpy(episode.boxes[_CHECK]).to(queries.device)
            offs.append(self.box_head(queries[knows]).float() - box)
            if is_still(episode):
                changes.append(_change_loss(self.change_head(queries)[:, 0].float(), tokens))
        off, change = torch.cat(offs), torch.cat(changes)
        # A mean over nothing is no number; the sum of nothing is 0, and has a gradient.
        box_loss = F.smooth_l1_loss(off, torch.zeros_like(off), beta=0.05) if len(off) else off.sum()
        change_loss = change.mean() if len(change) else change.sum()
        numbers = {"check_off": float(off.detach().abs().mean())} if len(off) else {}
        return 2.0 * box_loss + change_loss, numbers


def _knowing(tokens: EpisodeTokens, episode: Episode) -> Float[np.ndarray, " queries"]:
    """How far each query can know what is to be found in the proxy."""
    return tokens.proxy_here if is_still(episode) else tokens.target


def _change_loss(scores: Float[Tensor, " queries"], tokens: EpisodeTokens) -> Float[Tensor, " queries"]:
    truth = torch.from_numpy(tokens.proxy_here).to(scores.device)
    return F.binary_cross_entropy_with_logits(scores, truth, weight=1 + 4 * truth, reduction="none")
