"""What MIG-Bench and MGrounding-630k share: questions over several pictures, answered by a box in one of them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from conceptseg.data.benchmarks._common import Item
from conceptseg.data.samples import Reference

__all__ = ["MANIFEST_FILE", "MASKS_FOLDER", "kept_items", "mask_for", "references_before", "target_index"]

MASKS_FOLDER = "masks"
"""Where `conceptseg data build` puts masks, inside the data set."""

MANIFEST_FILE = "manifest.json"
"""What it writes last, into that folder: from then on, items without a mask are those that were not good enough."""

_ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")
_MENTION = re.compile(
    rf"\b(?:({'|'.join(_ORDINALS)}|last)\s+(?:image|picture|frame|photo)|(?:image|picture|frame)[\s-]*(\d+))\b", re.I
)


def target_index(text: str, pictures: int) -> int:
    """Which of several pictures a text asks for or answers about: the one it mentions last, else the last one.

    "Which item in Image-2 shares the feature of Image-1? Locate it in the second image." → 1.

    Args:
        text: The question, or an answer such as "It's in the third image.".
        pictures: How many there are.
    """
    for ordinal, number in reversed(_MENTION.findall(text)):
        if ordinal.lower() == "last":
            return pictures - 1
        index = int(number) - 1 if number else _ORDINALS.index(ordinal.lower())
        if 0 <= index < pictures:
            return index
    return pictures - 1


def references_before(images: list[Path], target: int) -> tuple[Reference, ...]:
    """The other pictures of a question as references, in their order; none of them is marked."""
    return tuple(Reference(image) for index, image in enumerate(images) if index != target)


def mask_for(root: Path, item_id: str) -> Path | None:
    """The mask that `conceptseg data build` made of an item's box, masks/<id>.png, where it has been run."""
    path = root / MASKS_FOLDER / f"{item_id}.png"
    return path if path.is_file() else None


def kept_items(root: Path, items: Sequence[Item]) -> Sequence[Item]:
    """Those with a mask, once all masks have been built; everything before."""
    if not (root / MASKS_FOLDER / MANIFEST_FILE).is_file():
        return items
    return [item for item in items if item.mask is not None]
