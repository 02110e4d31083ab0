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

from nano.dense import box_off_loss, target_weight
from nano.episodes import Episode
from nano.tokens import (
    EpisodeTokens,
    compares_one_scene,
    target_looks_like_references,
    tokens_of,
)

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
        lessons = [self._lessons(of_episode, episode) for of_episode, episode in zip(states, episodes, strict=True)]
        off, change = (torch.cat(parts) for parts in zip(*lessons, strict=True))
        # A mean over nothing is no number; the sum of nothing is 0, and has a gradient.
        change_loss = change.mean() if len(change) else change.sum()
        numbers = {"check_off": float(off.detach().abs().mean())} if len(off) else {}
        return 2.0 * box_off_loss(off) + change_loss, numbers

    def _lessons(
        self, states: Float[Tensor, "tokens width"], episode: Episode
    ) -> tuple[Float[Tensor, "boxes 4"], Float[Tensor, " changes"]]:
        """How far off an episode's boxes are, and the loss of each token that tells a change; empty where untaught."""
        tokens = tokens_of(episode)
        still = compares_one_scene(episode)
        taught = (
            tokens and (still or target_looks_like_references(episode)) and not np.isnan(episode.boxes[_CHECK]).any()
        )
        if not tokens or not taught:
            return self.box_head(states[:0]).float(), self.change_head(states[:0])[:, 0].float()
        queries = states[len(tokens.marked) :]
        knows = torch.from_numpy((tokens.proxy_here if still else tokens.target) > _LEAST_SHARE)
        off = self.box_head(queries[knows]).float() - torch.from_numpy(episode.boxes[_CHECK]).to(queries.device)
        scores = self.change_head(queries if still else queries[:0])[:, 0].float()
        return off, _change_loss(scores, tokens) if still else scores


def _change_loss(scores: Float[Tensor, " queries"], tokens: EpisodeTokens) -> Float[Tensor, " queries"]:
    truth = torch.from_numpy(tokens.proxy_here).to(scores.device)
    return F.binary_cross_entropy_with_logits(scores, truth, weight=target_weight(truth), reduction="none")
