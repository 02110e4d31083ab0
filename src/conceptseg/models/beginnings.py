"""What is kept of how a prompt begins: its keys and values, for further prompts that begin alike, and what was said.

All questions with the same references begin with the same instruction and mosaic; only the target, which comes last
among the pictures, is another one. What stands before it is read once.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass, field
from typing import Any

from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel

__all__ = ["Beginning", "Beginnings", "Key", "weights_version"]

Key = tuple[object, ...]
"""Tokens and pictures of a beginning by content, and the weights that read it."""

_KEPT = 4
_RESPONSES = 2

KeysAndValues = list[tuple[Float[Tensor, "1 heads tokens width"], Float[Tensor, "1 heads tokens width"]]]
"""A pair a layer."""


@dataclass(eq=False)
class Beginning:
    """The beginning of prompts, as it was read."""

    layers: KeysAndValues
    responses: deque[list[int]] = field(default_factory=lambda: deque(maxlen=_RESPONSES))
    """What was said last to prompts that begin so, in tokens."""

    def put_into(self, cache: Any, rows: int) -> None:
        """Hand it to an empty cache, for each of so many rows."""
        for number, (keys, values) in enumerate(self.layers):
            cache.update(keys.expand(rows, -1, -1, -1), values.expand(rows, -1, -1, -1), number)


class Beginnings:
    """The last few beginnings, by content; whoever changes it holds the reasoner's lock."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Key, Beginning] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def find(self, key: Key) -> Beginning | None:
        """The one of that content, if it is still there."""
        if key in self._kept:
            self._kept.move_to_end(key)
        return self._kept.get(key)

    def keep(self, key: Key, beginning: Beginning) -> Beginning:
        """Keep one; the one that was wanted longest ago goes."""
        self._kept[key] = beginning
        while len(self._kept) > _KEPT:
            self._kept.popitem(last=False)
        return beginning

    def clear(self) -> None:
        """Let all go."""
        self._kept.clear()


def weights_version(model: PreTrainedModel) -> tuple[int, int]:
    """Changes when weights are replaced or changed in place: what was read with the old ones is then worth nothing."""
    parameters = list(model.parameters())
    return sum(one.data_ptr() for one in parameters), sum(one._version for one in parameters)
