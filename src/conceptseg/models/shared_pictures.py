"""Pictures that stand in a batch more than once are encoded once: a group's responses share their prompt's pictures.

At nano size the vision tower is a third of an update of stage II, nearly all of it repetition.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import MethodType
from typing import Any, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import PreTrainedModel

__all__ = ["first_places", "share_pictures"]


def share_pictures(mllm: PreTrainedModel) -> None:
    """From now on, let the vision tower encode each different picture of a pass once; gradients add up as before.

    Of the tower's output only what the language model takes is complete (`pooler_output`, and Qwen3-VL's
    `deepstack_features`); `last_hidden_state` holds the different pictures alone. A copy of the model shares in its own
    tower.
    """
    visual = mllm.model.visual
    visual.forward = MethodType(_encode_once, visual)


def _encode_once(
    visual: nn.Module, hidden_states: Float[Tensor, "patches values"], grid_thw: Int[Tensor, "pictures 3"], **more: Any
) -> Any:
    encode: Any = type(visual).forward
    if any(isinstance(value, Tensor) for value in more.values()):
        return encode(visual, hidden_states, grid_thw, **more)  # positions worked out beforehand, for every picture
    patches = grid_thw.prod(dim=1).tolist()
    pictures = hidden_states.split(patches)
    first = first_places(pictures, grid_thw)
    kept = sorted({*first})
    if len(kept) == len(first):
        return encode(visual, hidden_states, grid_thw, **more)
    output = encode(visual, torch.cat([pictures[place] for place in kept]), grid_thw[kept], **more)
    per_token = cast(int, visual.spatial_merge_size) ** 2
    sizes = [patches[place] // per_token for place in kept]

    def for_everyone(tokens: Float[Tensor, "tokens width"]) -> Float[Tensor, "all_tokens width"]:
        token_of = dict(zip(kept, tokens.split(sizes), strict=True))
        return torch.cat([token_of[place] for place in first])

    output.pooler_output = for_everyone(output.pooler_output)
    if getattr(output, "deepstack_features", None) is not None:  # Qwen3-VL's
        output.deepstack_features = [for_everyone(tokens) for tokens in output.deepstack_features]
    return output


def first_places(pictures: Sequence[Float[Tensor, "_ values"]], grids: Int[Tensor, "pictures 3"]) -> list[int]:
    """For each picture, the place of the first one that equals it in rows and grid."""
    sums = torch.stack([picture.float().sum() for picture in pictures]).tolist()
    alike: dict[tuple[float, ...], list[int]] = {}
    places: list[int] = []
    for place, (picture, total, grid) in enumerate(zip(pictures, sums, grids.tolist(), strict=True)):
        others = alike.setdefault((total, *grid), [])
        same = next((other for other in others if torch.equal(pictures[other], picture)), place)
        if same == place:
            others.append(place)
        places.append(same)
    return places
