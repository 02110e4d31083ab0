"""The industrial_anomaly task: a regular surface that is broken somewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TypeAlias

import numpy as np
from PIL import Image, ImageChops, ImageFilter

from conceptseg.data.world.blobs import blob_mask, crack_mask, stroke_mask
from conceptseg.data.world.dice import between, chance, pick
from conceptseg.data.world.palettes import random_palette
from conceptseg.data.world.pixels import dimmed, embossed, shaded, softened
from conceptseg.data.world.stage import TextureView, random_finish
from conceptseg.data.world.studio import Studio
from conceptseg.data.world.tasks import Picture, Task, Theme
from conceptseg.data.world.textures import SURFACES

__all__ = ["DEFECTS", "INDUSTRIAL_ANOMALY"]

_Damage: TypeAlias = Callable[[np.random.Generator, Image.Image, TextureView, Studio], Image.Image]
"""Damages a surface picture in place and returns where, mode L."""


_RULE = "Segment the part where the regular {family} is broken."


def _theme(rng: np.random.Generator, studio: Studio) -> Theme:
    view = studio.random_view(rng, surface=True)
    view = replace(view, palette=random_palette(rng, 0.9, saturation=0.3))
    return Theme("surface defect", _RULE.format(family=view.family), "surface defect", view.family, {"view": view})


def _draw(theme: Theme, rng: np.random.Generator, studio: Studio, side: int, reference: int | None) -> Picture:
    """The surface somewhere else, with a defect of a random kind."""
    view: TextureView = theme.parts["view"]
    view = replace(view, x=between(rng, 0, 1 - view.width), y=between(rng, 0, 1 - view.width))
    picture = studio.texture(view, side)
    word = pick(rng, [name for name, (_, splits) in DEFECTS.items() if studio.split in splits])
    mask = DEFECTS[word][0](rng, picture, view, studio)
    return Picture(studio.finish(picture, random_finish(rng)), np.asarray(mask) > 127, word)


def _centre(rng: np.random.Generator, radius: float) -> tuple[float, float]:
    margin = radius + 0.03
    return between(rng, margin, 1 - margin), between(rng, margin, 1 - margin)


def _blob(rng: np.random.Generator, side: int, low: float, high: float, rough: float = 0.25) -> Image.Image:
    radius = between(rng, low, high)
    return blob_mask(rng, side, *_centre(rng, radius), radius, rough, between(rng, 0.6, 1.0))


def _scratch(rng: np.random.Generator, picture: Image.Image, view: TextureView, studio: Studio) -> Image.Image:
    mask = stroke_mask(rng, picture.width, between(rng, 0.5, 0.9), between(rng, 0.035, 0.06))
    bright = chance(rng, 0.5)
    step = max(1, picture.width // 80)
    picture.paste((228, 228, 226) if bright else (34, 33, 32), (0, 0), dimmed(mask, 0.8))
    lip = ImageChops.subtract(ImageChops.offset(mask, step, step), mask)
    picture.paste((30, 30, 30) if bright else (220, 220, 216), (0, 0), dimmed(lip, 0.5))
    return mask


def _crack(rng: np.random.Generator, picture: Image.Image, view: TextureView, studio: Studio) -> Image.Image:
    mask = crack_mask(rng, picture.width, between(rng, 0.6, 0.9), between(rng, 0.025, 0.04))
    picture.paste((22, 20, 20), (0, 0), mask)
    return mask


def _stain(rng: np.random.Generator, picture: Image.Image, view: TextureView, studio: Studio) -> Image.Image:
    mask = _blob(rng, picture.width, 0.09, 0.19, 0.4)
    tint = pick(rng, ((120, 84, 48), (70, 60, 58), (150, 110, 40), (84, 100, 70)))
    wet = ImageChops.multiply(picture, Image.new("RGB", picture.size, tuple(min(255, c + 60) for c in tint)))
    wet = Image.blend(wet, Image.new("RGB", picture.size, tint), between(rng, 0.25, 0.5))
    picture.paste(wet, (0, 0), softened(mask, 0.008))
    return mask


def _dent(rng: np.random.Generator, picture: Image.Image, view: TextureView, studio: Studio) -> Image.Image:
    mask = _blob(rng, picture.width, 0.1, 0.2, 0.12)
    slopes = embossed(softened(mask, 0.03), max(2, picture.width // 28))
    picture.paste(dimmed(shaded(picture, slopes, -0.75), 0.86), (0, 0), softened(mask, 0.01))
    return mask


def _hole(rng: np.random.Generator, picture: Image.Image, view: TextureView, studio: Studio) -> Image.Image:
    mask = _blob(rng, picture.width, 0.08, 0.16, 0.18)
    rim = mask.filter(ImageFilter.MaxFilter(5))
    picture.paste((206, 204, 200), (0, 0), dimmed(rim, 0.45))
    depth = dimmed(Image.linear_gradient("L").resize(picture.size), 0.24)
    picture.paste(Image.merge("RGB", (depth,) * 3), (0, 0), mask)
    return mask


def _missing(rng: np.random.Generator, picture: Image.Image, view: TextureView, studio: Studio) -> Image.Image:
    """The relief is gone: what is left is its mean colour with a little dirt."""
    mask = _blob(rng, picture.width, 0.1, 0.19, 0.2)
    plain = picture.filter(ImageFilter.BoxBlur(picture.width // 8))
    picture.paste(dimmed(plain, 0.92), (0, 0), mask)
    return mask


def _discoloured(rng: np.random.Generator, picture: Image.Image, view: TextureView, studio: Studio) -> Image.Image:
    mask = _blob(rng, picture.width, 0.1, 0.19, 0.22)
    other = studio.texture(replace(view, palette=random_palette(rng, 1.0, saturation=0.9)), picture.width)
    picture.paste(other, (0, 0), mask)
    return mask


def _shifted(rng: np.random.Generator, picture: Image.Image, view: TextureView, studio: Studio) -> Image.Image:
    """A patch whose pattern runs another way or lies beside its place."""
    mask = _blob(rng, picture.width, 0.13, 0.2, 0.15)
    turned = picture.rotate(pick(rng, (30, 45, 60)), Image.Resampling.BILINEAR)
    picture.paste(dimmed(turned, 0.9), (0, 0), mask)
    return mask


_ALL = ("train", "seen_test", "unseen_test")
_SEEN = ("train", "seen_test")

DEFECTS: dict[str, tuple[_Damage, tuple[str, ...]]] = {
    "scratch": (_scratch, _ALL),
    "stain": (_stain, _ALL),
    "hole": (_hole, _SEEN),
    "missing part": (_missing, _SEEN),
    "discoloured patch": (_discoloured, _SEEN),
    "dent": (_dent, _SEEN),
    "crack": (_crack, ("unseen_test",)),
    "misaligned patch": (_shifted, ("unseen_test",)),
}
"""Kind of defect → (what it does to a surface, the splits that show it)."""


def _texts() -> Iterator[str]:
    yield from ("surface defect", *DEFECTS, *(_RULE.format(family=family) for family in SURFACES))


INDUSTRIAL_ANOMALY = Task(_theme, _draw, _texts)
"""The leaf task industrial_anomaly."""
