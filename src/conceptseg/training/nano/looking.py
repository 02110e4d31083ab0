"""Where the language model should look among the references: at what looks like it, or at what stands in its place.

Attention that compares a picture with its references is not found by gradients alone in any time we have. So some heads
of the language model's second layer are told where to look; what to make of it is left to the layers above.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from conceptseg.training.nano.dense import centres, merge_cells
from conceptseg.training.nano.episodes import Episode

__all__ = ["LOOKING_LAYER", "looking_losses", "matching_loss", "sameness_loss"]

LOOKING_LAYER = 1
_MATCHING_HEADS = slice(0, 4)
_SAMENESS_HEADS = slice(4, 6)
_UNALIKE = ("static_difference", "view_difference")
"""Tasks whose targets look like nothing that the references mark."""
_STILL = ("static_difference",)
"""Tasks whose pictures show one scene from one place."""
_LEAST = 1e-4


def looking_losses(
    attention: Float[Tensor, "batch heads tokens tokens"],
    is_image: Bool[Tensor, "batch tokens"],
    episodes: Sequence[Episode],
) -> dict[str, Tensor]:
    """The matching loss over the episodes whose targets look like what their references mark, the sameness loss over
    those that compare pictures of one scene; what a batch has no episode for is left out.

    Args:
        attention: of `LOOKING_LAYER`.
        is_image: the image tokens of each episode: mosaic first, then target, row by row.
        episodes: one a row.
    """
    losses: dict[str, list[Tensor]] = {"match": [], "same": []}
    for row, episode in enumerate(episodes):
        if episode.places is None:
            continue
        places = torch.nonzero(is_image[row])[:, 0]
        mosaic, target = (torch.from_numpy(merge_cells(share)).mean(1).to(places.device) for share in episode.coverage)
        looks = attention[row][:, places[len(mosaic) :]][..., places[: len(mosaic)]]
        if episode.sample.task not in _UNALIKE:
            shown = torch.from_numpy(merge_cells(episode.withheld.astype(np.float32)).mean(axis=1) < 0.5)
            losses["match"].append(matching_loss(looks[_MATCHING_HEADS][..., shown], mosaic[shown], target))
        if episode.sample.task in _STILL:
            same = torch.from_numpy(_same_place(episode.places)).to(places.device)
            losses["same"].append(sameness_loss(looks[_SAMENESS_HEADS], same, target))
    return {name: torch.stack(values).mean() for name, values in losses.items() if values}


def matching_loss(
    attention: Float[Tensor, "heads queries keys"],
    marked: Float[Tensor, " keys"],
    truth: Float[Tensor, " queries"],
) -> Tensor:
    """Cross-entropy of what attention alone would say of each image token: as much target as what it looks at.

    An image token that attends to the tokens of the references that look like it can read off whether those are
    marked: that is how references come to matter. Left to itself, attention finds this after tens of thousands of
    episodes; told where to look, after thousands.

    Args:
        attention: how much the target picture's tokens (queries) look at those of the references whose boxes are shown
            (keys), 0…1; heads that look elsewhere have little say.
        marked: how much of each key is to be segmented, 0…1.
        truth: how much of each query is.
    """
    looks = attention.float().sum(dim=0)
    # Not `looks @ marked`: under autocast that is rounded to bfloat16, and a guess above 1 has no logarithm.
    guess = (looks * marked).sum(dim=1) / looks.sum(dim=1).clamp(min=_LEAST)
    return _cost(guess, truth)


def sameness_loss(
    attention: Float[Tensor, "heads queries keys"],
    same_place: Bool[Tensor, "queries keys"],
    truth: Float[Tensor, " queries"],
) -> Tensor:
    """Cross-entropy of what attention alone would say of each image token: unchanged, as far as it looks at the same
    place in the references.

    Where pictures of one scene are to be compared, a token should find its own place in the other pictures if that
    shows the same there, and look away if not: how much it looks is then what a change is told by.

    Args:
        attention: how much the target picture's tokens (queries) look at those of the references (keys), 0…1.
        same_place: which keys show a query's place.
        truth: how much of each query has changed, 0…1.
    """
    looks = (attention.float() * same_place).sum(dim=2).mean(dim=0)
    # Attention that was rounded to bfloat16 can sum to more than 1, and a guess below 0 has no logarithm.
    return _cost(1 - looks / looks.detach().clamp(min=1), truth)


def _cost(guess: Float[Tensor, " queries"], truth: Float[Tensor, " queries"]) -> Tensor:
    """Cross-entropy; what is target counts five times."""
    guess = _LEAST + (1 - 2 * _LEAST) * guess  # a clamp would leave what is most wrong without a gradient
    loss = truth * guess.log() + (1 - truth) * (1 - guess).log()  # torch's own refuses to run under CUDA's autocast
    return -((1 + 4 * truth) * loss).mean()


def _same_place(places: Float[np.ndarray, "patches patches 2"]) -> Bool[np.ndarray, "queries keys"]:
    """Which tokens of the mosaic show the middle of each of the target's, in any reference.

    Args:
        places: where in its own reference each patch of the mosaic lies; NaN where there is none.
    """
    keys = merge_cells(places)
    reach = np.nanmax(np.abs(keys - keys.mean(axis=1, keepdims=True)), initial=0.0) * 2
    side = int(len(keys) ** 0.5)
    apart = np.abs(centres(side, side).reshape(-1, 1, 2) - keys.mean(axis=1)[None])
    return (apart <= reach + 1e-6).all(axis=2)
