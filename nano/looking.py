"""Where the language model should look: at what looks like it, at what stands in its place, at what it is to check.

Attention that compares a picture with its references is not found by gradients alone in any time we have. So some heads
of the language model's second and third layers are told where to look; what to make of it is left to the layers above.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from nano.dense import target_weight
from nano.episodes import Episode
from nano.tokens import EpisodeTokens, compares_one_scene, target_looks_like_references, tokens_of

__all__ = ["looking_losses", "matching_loss", "pointing_loss", "sameness_loss"]

_COMPARING_LAYER = 1
_MATCHING_HEADS = slice(0, 4)
_SAMENESS_HEADS = slice(4, 6)
_PROXY_PLACE_HEADS = slice(6, 8)
_POINTING_LAYER = 2
"""Above the comparing one: what matches its references is what can be pointed at in the proxy."""
_POINTING_HEADS = slice(0, 2)
_LEAST = 1e-4


def looking_losses(
    attentions: Sequence[Float[Tensor, "batch heads tokens tokens"]],
    is_image: Bool[Tensor, "batch tokens"],
    episodes: Sequence[Episode],
) -> dict[str, Tensor]:
    """What the batch's episodes teach of looking, by name; what it has no episode for is left out.

    Where the target looks like what the references mark: `match` (the references) and `point` (the proxy). Where one
    scene is compared with itself: `same` (all references) and `same_proxy`.

    Args:
        attentions: of every layer.
        is_image: the image tokens of each episode: mosaic first, then target, row by row.
        episodes: one a row.
    """
    losses: dict[str, list[Tensor]] = {}
    for row, episode in enumerate(episodes):
        tokens = tokens_of(episode)
        if tokens is None:
            continue
        places = torch.nonzero(is_image[row])[:, 0]
        keys, queries = places[: len(tokens.marked)], places[len(tokens.marked) :]
        comparing, pointing = (
            attentions[layer][row][:, queries][..., keys] for layer in (_COMPARING_LAYER, _POINTING_LAYER)
        )
        taught = [
            *(_sameness(comparing, tokens) if compares_one_scene(episode) else ()),
            *(_likeness(comparing, pointing, tokens) if target_looks_like_references(episode) else ()),
        ]
        for name, loss in taught:
            losses.setdefault(name, []).append(loss)
    return {name: torch.stack(values).mean() for name, values in losses.items()}


def _likeness(
    comparing: Float[Tensor, "heads queries keys"],
    pointing: Float[Tensor, "heads queries keys"],
    tokens: EpisodeTokens,
) -> Iterator[tuple[str, Tensor]]:
    marked, target, is_proxy = (_beside(comparing, part) for part in (tokens.marked, tokens.target, tokens.is_proxy))
    yield "match", matching_loss(comparing[_MATCHING_HEADS][..., ~is_proxy], marked[~is_proxy], target)
    if marked[is_proxy].any():
        yield "point", pointing_loss(pointing[_POINTING_HEADS][..., is_proxy], marked[is_proxy], target)


def _sameness(comparing: Float[Tensor, "heads queries keys"], tokens: EpisodeTokens) -> Iterator[tuple[str, Tensor]]:
    target, proxy_here = _beside(comparing, tokens.target), _beside(comparing, tokens.proxy_here)
    yield "same", sameness_loss(comparing[_SAMENESS_HEADS], _beside(comparing, tokens.same_place), target)
    if tokens.is_proxy.any():
        there = _beside(comparing, tokens.same_place & tokens.is_proxy)
        yield "same_proxy", sameness_loss(comparing[_PROXY_PLACE_HEADS], there, torch.maximum(target, proxy_here))


def _beside(tensor: Tensor, values: np.ndarray) -> Tensor:
    """Values on the tensor's device."""
    return torch.from_numpy(values).to(tensor.device)


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
    return _cost(1 - _share_of_look(attention, same_place), truth)


def pointing_loss(
    attention: Float[Tensor, "heads queries keys"],
    found: Float[Tensor, " keys"],
    truth: Float[Tensor, " queries"],
) -> Tensor:
    """Cross-entropy of where the target's tokens look in the proxy: at what is to be found there.

    The proxy stands first in the mosaic, so that its own tokens are made before any reference was seen; what is to be
    found in it is known first to the tokens of the target, which look alike. Pointing there, they can pass on to the
    response where it lies.

    Args:
        attention: how much the target picture's tokens (queries) look at those of the proxy (keys), 0…1.
        found: how much of each key is to be segmented, 0…1; not all of them 0.
        truth: how much of each query is; the others may look where they like.
    """
    cost = -(_LEAST + (1 - _LEAST) * _share_of_look(attention, found / found.max())).log()
    return (truth * cost).sum() / truth.sum().clamp(min=_LEAST)


def _share_of_look(attention: Float[Tensor, "heads queries keys"], wanted: Tensor) -> Float[Tensor, " queries"]:
    """How much of each query's look, 0…1, goes to the keys that are wanted, the heads taken together."""
    looks = (attention.float() * wanted).sum(dim=2).mean(dim=0)
    return looks / looks.detach().clamp(min=1)  # attention that was rounded to bfloat16 can sum to more than 1


def _cost(guess: Float[Tensor, " queries"], truth: Float[Tensor, " queries"]) -> Tensor:
    """Cross-entropy; what is target counts five times."""
    guess = _LEAST + (1 - 2 * _LEAST) * guess  # a clamp would leave what is most wrong without a gradient
    loss = truth * guess.log() + (1 - truth) * (1 - guess).log()  # torch's own refuses to run under CUDA's autocast
    return -(target_weight(truth) * loss).mean()
