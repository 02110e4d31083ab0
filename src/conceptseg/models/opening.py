"""What a batch of prompts is before anything is written: embeddings, positions, and the beginning that they share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import DynamicCache

from conceptseg.models.beginnings import Beginning
from conceptseg.models.families import Mllm
from conceptseg.models.generating import Opening
from conceptseg.models.shared_pictures import first_places

__all__ = ["SharedStart", "Start", "common_start", "opening_of", "read_start"]

_WORTH_KEEPING = 32
"""Tokens: what is shorter is read again in less time than it takes to read it apart."""


@dataclass(frozen=True)
class Start:
    """The tokens that stand before the last picture of prompts."""

    tokens: tuple[int, ...]
    pictures: int
    """How many pictures are among them."""
    pictures_by_row: tuple[int, ...]
    """How many each prompt has in all."""


@dataclass(frozen=True, eq=False)
class SharedStart:
    """The beginning of all prompts of a batch, as it was read."""

    start: Start
    kept: Beginning


def common_start(inputs: Mapping[str, Tensor], pictures: Sequence[int], image_token: int) -> Start | None:
    """What left-padded prompts have in common before their last pictures, by tokens alone; None where it is little.

    Args:
        inputs: of the MLLM.
        pictures: of each prompt.
        image_token: stands for a cell of a picture.
    """
    starts = set()
    for ids, kept, count in zip(inputs["input_ids"], inputs["attention_mask"].bool(), pictures, strict=True):
        tokens = ids[kept].tolist()
        starts.add((tuple(tokens[: _last_run(tokens, image_token)]), count - 1))
    tokens, before = next(iter(starts))
    if len(starts) > 1 or before < 0 or len(tokens) < _WORTH_KEEPING:
        return None
    return Start(tokens, before, tuple(pictures))


def read_start(mllm: Mllm, inputs: Mapping[str, Any], start: Start) -> Beginning:
    """Read the common beginning of a batch, once."""
    length = len(start.tokens)
    device = inputs["input_ids"].device
    ids, mask = torch.tensor([start.tokens], device=device), torch.ones(1, length, dtype=torch.long, device=device)
    positions = _positions(mllm, inputs)[:, :1]
    positions = positions[:, :, inputs["attention_mask"][0].bool()][:, :, :length]
    places = range(start.pictures)
    embeds, pictures = _embed(mllm, ids, mask, inputs, places)
    cache, model = _empty_cache(mllm), _parts_of(mllm)
    model.language_model(
        inputs_embeds=embeds,
        attention_mask=mask,
        position_ids=positions,
        past_key_values=cache,
        use_cache=True,
        **pictures,
    )
    return Beginning([(layer.keys, layer.values) for layer in cache.layers])


def opening_of(mllm: Mllm, inputs: Mapping[str, Any], shared: SharedStart | None) -> Opening:
    """A batch of prompts, ready for the first pass, which reads all that is not shared."""
    ids, mask = inputs["input_ids"], inputs["attention_mask"]
    cache, length = _empty_cache(mllm), 0
    places: Sequence[int] = range(len(inputs.get("image_grid_thw", ())))
    if shared is not None:
        shared.kept.put_into(cache, len(ids))
        length, places = len(shared.start.tokens), _last_pictures(shared.start)
    new = ((mask.cumsum(dim=1) > length) & mask.bool()).long()[:, length:]
    ids, positions = ids[:, length:], _positions(mllm, inputs)[:, :, length:]
    embeds, pictures = _embed(mllm, ids, new, inputs, places)
    return Opening(cache, mask.new_ones(len(ids), length), embeds, new, positions, pictures)


def _empty_cache(mllm: Mllm) -> Any:
    config: Any = mllm.config.text_config
    return DynamicCache(config=config)


def _parts_of(mllm: Mllm) -> Any:
    """The MLLM without its head: vision tower and language model."""
    return mllm.model


def _last_pictures(start: Start) -> list[int]:
    """Places, among the pictures of all prompts, of those that stand behind the beginning: each prompt's last."""
    ends = torch.tensor(start.pictures_by_row).cumsum(dim=0)
    return [int(end) - 1 for end in ends]


def _last_run(tokens: Sequence[int], image_token: int) -> int:
    """Where the last picture's cells begin."""
    place = len(tokens)
    while place and tokens[place - 1] != image_token:
        place -= 1
    while place and tokens[place - 1] == image_token:
        place -= 1
    return place


def _positions(mllm: Mllm, inputs: Mapping[str, Any]) -> Int[Tensor, "3 rows tokens"]:
    positions, _ = _parts_of(mllm).get_rope_index(
        inputs["input_ids"],
        mm_token_type_ids=inputs["mm_token_type_ids"],
        image_grid_thw=inputs.get("image_grid_thw"),
        attention_mask=inputs["attention_mask"],
    )
    return positions


def _embed(
    mllm: Mllm,
    ids: Int[Tensor, "rows tokens"],
    mask: Int[Tensor, "rows tokens"],
    inputs: Mapping[str, Any],
    places: Sequence[int],
) -> tuple[Float[Tensor, "rows tokens width"], dict[str, Any]]:
    """Embeddings of tokens, with pictures where their cells stand; a picture that occurs twice is encoded once.

    Beside them, what the language model takes of the pictures in its first layers: Qwen3-VL does, Qwen2.5-VL does not.

    Args:
        mllm: that embeds them.
        ids: of each row.
        mask: 1 on tokens that count.
        inputs: all pictures of the batch.
        places: which of them stand in the rows, in order.
    """
    embeds = mllm.get_input_embeddings()(ids)
    if not len(places):
        return embeds, {}
    grids = inputs["image_grid_thw"]
    patches = inputs["pixel_values"].split(grids.prod(dim=1).tolist())
    pictures, grids = [patches[place] for place in places], grids[list(places)]
    first = first_places(pictures, grids)
    kept = sorted({*first})
    seen = _parts_of(mllm).get_image_features(torch.cat([pictures[place] for place in kept]), grids[kept])

    def for_everyone(cells: Sequence[Float[Tensor, "_ width"]]) -> Float[Tensor, "cells width"]:
        cells_of = dict(zip(kept, cells, strict=True))
        return torch.cat([cells_of[place] for place in first])

    is_cell = (ids == mllm.config.image_token_id) & mask.bool()
    embeds = embeds.masked_scatter(is_cell[..., None], for_everyone(seen.pooler_output).to(embeds))
    deep = getattr(seen, "deepstack_features", None)
    if deep is None:
        return embeds, {}
    return embeds, {"visual_pos_masks": is_cell, "deepstack_visual_embeds": [for_everyone(level) for level in deep]}
