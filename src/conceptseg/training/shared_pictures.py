"""Pictures that stand in a batch more than once are encoded once: a group's responses share their prompt's pictures.

At nano size the vision tower is a third of an update of stage II, nearly all of it repetition.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPooling

__all__ = ["first_places", "share_pictures"]


def share_pictures(mllm: PreTrainedModel) -> None:
    """From now on, let the vision tower encode each different picture of a pass once; gradients add up as before.

    Of the tower's output only what the language model takes (`pooler_output`) is complete; `last_hidden_state` holds
    the different pictures alone.
    """
    visual = mllm.model.visual
    encode = visual.forward
    cells = visual.spatial_merge_size**2

    @functools.wraps(encode)
    def forward(hidden_states: Tensor, grid_thw: Int[Tensor, "pictures 3"], **kwargs: Any) -> Any:
        patches = grid_thw.prod(dim=1).tolist()
        pictures = hidden_states.split(patches)
        first = first_places(pictures)
        kept = sorted({*first})
        if len(kept) == len(first) or any(isinstance(value, Tensor) for value in kwargs.values()):
            return encode(hidden_states, grid_thw, **kwargs)  # nothing to share, or worked out for every picture
        output = encode(torch.cat([pictures[place] for place in kept]), grid_thw[kept], **kwargs)
        tokens = dict(zip(kept, output.pooler_output.split([patches[place] // cells for place in kept]), strict=True))
        everyone = torch.cat([tokens[place] for place in first])
        return BaseModelOutputWithPooling(last_hidden_state=output.last_hidden_state, pooler_output=everyone)

    visual.forward = forward


def first_places(pictures: Sequence[Float[Tensor, "_ values"]]) -> list[int]:
    """For each picture, the place of the first one that equals it."""
    sums = [float(total) for total in torch.stack([picture.float().sum() for picture in pictures]).tolist()]
    alike: dict[tuple[int, float], list[int]] = {}
    places: list[int] = []
    for place, (picture, total) in enumerate(zip(pictures, sums, strict=True)):
        others = alike.setdefault((len(picture), total), [])
        same = next((other for other in others if torch.equal(pictures[other], picture)), place)
        if same == place:
            others.append(place)
        places.append(same)
    return places
