"""The vendored sprites: what there is, in which split, and their pixels.

218 small pictures with alpha of Microsoft's Fluent Emoji (MIT, see NOTICE); `recipes/world/vendor_sprites.py` made
the folder. A sprite of split `train` is also what `seen_test` shows; one of split `unseen` is shown in `unseen_test`
only.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from io import BytesIO

from PIL import Image

from conceptseg.errors import InputError

__all__ = ["SPLITS", "Sprite", "all_sprites", "check_split", "load_sprite", "sprites_of"]

SPLITS = ("train", "seen_test", "unseen_test")
"""`seen_test` shows new scenes of what `train` shows; `unseen_test` only what is kept out of it."""


@dataclass(frozen=True)
class Sprite:
    """One row of the index."""

    name: str
    """What a person would type: one or two English words, unique."""
    file: str
    kind: str
    """`living` (animals, plants, fruits) or `artifact`."""
    role: str
    """`common`, `fine` (told from its family by a close look only) or `rare`."""
    family: str | None
    """The family of close relatives it belongs to, for the fine_grained task."""
    category: str
    """animal, plant, fruit, food, household, toy, instrument, device, tool, clothing, vehicle or building."""
    split: str
    """`train` or `unseen`."""
    colour: str | None
    """The one colour that a person would name it by, if there is one."""
    source: str
    """File of the original in @lobehub/fluent-emoji-3d: its Unicode code points."""
    coverage: float
    """How much of a square as wide as its longer side it covers."""


def check_split(split: str) -> str:
    """The split itself.

    Raises:
        InputError: it is none of `SPLITS`.
    """
    if split not in SPLITS:
        raise InputError(f"Unknown ConceptWorld split {split!r}. Splits: {', '.join(SPLITS)}.")
    return split


@lru_cache(maxsize=1)
def all_sprites() -> tuple[Sprite, ...]:
    """Every vendored sprite, sorted by name."""
    text = (resources.files(__package__) / "sprites" / "index.json").read_text(encoding="utf-8")
    return tuple(sorted((Sprite(**row) for row in json.loads(text)), key=lambda sprite: sprite.name))


@lru_cache(maxsize=len(SPLITS))
def sprites_of(split: str) -> tuple[Sprite, ...]:
    """The sprites shown in a split, sorted by name."""
    side = "unseen" if check_split(split) == "unseen_test" else "train"
    return tuple(sprite for sprite in all_sprites() if sprite.split == side)


def load_sprite(sprite: Sprite) -> Image.Image:
    """Its picture, RGBA, cropped to the visible part, longer side 128 px."""
    data = (resources.files(__package__) / "sprites" / sprite.file).read_bytes()
    with Image.open(BytesIO(data)) as picture:
        return picture.convert("RGBA")
