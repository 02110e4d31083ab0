"""Where the language model should look: from what it is to judge, to what looks like it among the references."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

__all__ = ["matching_loss"]

_LEAST = 1e-4


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
    guess = _LEAST + (1 - 2 * _LEAST) * guess  # a clamp would leave what is most wrong without a gradient
    loss = truth * guess.log() + (1 - truth) * (1 - guess).log()  # torch's own refuses to run under CUDA's autocast
    return -((1 + 4 * truth) * loss).mean()
