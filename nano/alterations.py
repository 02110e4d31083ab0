"""Parts of pictures that look altered, and nothing has a name for: what only references can tell.

The context-dependent tasks that training shows are three, and whoever knows three looks for a bright thing, a hidden
thing or a broken surface wherever it is sent. Here the kind of alteration is drawn anew for every episode (blurred,
turned in hue, striped, ...), often with another kind beside it, so that what is asked for has to be taken from the
references. None is the drawing of a task kept out of training; some share means with one, as a tint or a texture laid
over a blob does with lesions, and darker tones do with shadows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageOps

from conceptseg.data.samples import ConceptSample, Reference
from conceptseg.data.world.blobs import blob_mask
from conceptseg.data.world.dice import between, chance, pick, some
from conceptseg.data.world.palettes import rgb_of
from conceptseg.data.world.pixels import brightened, softened
from conceptseg.data.world.scenes import others, scatter, sprite_look, stage_of
from conceptseg.data.world.shapes import shape_mask, shapes_of
from conceptseg.data.world.stage import Stage, TextureView, random_finish, spread, tone
from conceptseg.data.world.studio import Studio

__all__ = ["ALTERATIONS", "Alterations"]

_Change: TypeAlias = Callable[[Image.Image], Image.Image]
"""A whole picture, altered."""
_Kind: TypeAlias = Callable[[np.random.Generator, Studio], _Change]
"""Draws how strong and of which sort an alteration of a kind is in one episode."""

_TASK = "other_cr"
_RULE = "Segment the part whose surface looks like what is marked."
_ANSWER = "patch"
_CONCEPTS = ("marked part", "marked surface", "this part", "this sort of surface", "the marked patch", "this pattern")
_AREA = (0.01, 0.6)
_VISIBLE = 9.0
"""Least mean change inside the altered part, in grey levels of 255."""
_ATTEMPTS = 8


class Alterations:
    """Endless, seeded episodes of altered parts, in the manner of `Photographs`.

    Args:
        size_px: side of the target pictures; references are two thirds of it, as in ConceptWorld.
    """

    def __init__(self, size_px: int) -> None:
        self.size_px = size_px
        self._studio = Studio("train")

    def sample(self, rng: np.random.Generator, references: int = 4) -> ConceptSample:
        """A picture with an altered part, and references that show the same alteration elsewhere.

        Args:
            rng: decides everything.
            references: how many there are, 0 or more.
        """
        name, rival, further = some(rng, list(ALTERATIONS), 3)
        change, other, second = (ALTERATIONS[kind](rng, self._studio) for kind in (name, rival, further))
        if chance(rng, 0.3):
            name, change = f"{name} and {further}", _both(change, second)
        tint = _ground_tone(rng)
        view = self._studio.random_view(rng, surface=chance(rng, 0.5)) if chance(rng, 0.5) else None
        reference_px = -(-self.size_px * 2 // 3)
        shown = [Reference(*self._picture(rng, reference_px, (change, other, tint), view)) for _ in range(references)]
        image, mask = self._picture(rng, self.size_px, (change, other, tint), view)
        return ConceptSample(
            id=f"alteration/{name}/{int(rng.integers(2**31))}",
            task=_TASK,
            concept=pick(rng, _CONCEPTS),
            image=image,
            mask=mask,
            references=tuple(shown),
            rule=_RULE,
            answer=_ANSWER,
            group=name,
            split=self._studio.split,
        )

    def absent_from(self, sample: ConceptSample, names: Sequence[str]) -> list[str]:
        """What is not to be found there by its words: the concept itself, which has no name."""
        return [sample.concept]

    def _picture(
        self, rng: np.random.Generator, side: int, changes: tuple[_Change, _Change, _Change], view: TextureView | None
    ) -> tuple[UInt8[np.ndarray, "side side 3"], Bool[np.ndarray, "side side"]]:
        """One surface (`view`) somewhere, or a scene of things, with the alteration and maybe a rival beside it.

        `changes` are the alteration, the rival and the tone of the whole. Drawn anew while the alteration can hardly be
        seen (a blur on flat ground); where no ground shows it, the last one stays.
        """
        change, other, tint = changes
        for _ in range(_ATTEMPTS):
            picture = tint(self._ground(rng, side, view))
            altered = change(picture)
            sizes = [between(rng, 0.2, 0.6), between(rng, 0.15, 0.35)][: 1 + chance(rng, 0.5)]
            places = spread(rng, sizes, gap=1.0)
            mask = _region(rng, side, places[0], sizes[0], self._studio.split)
            if _shows(picture, altered, np.asarray(mask) > 127):
                break
        edge = between(rng, 0.0, 0.02)
        for place, size in zip(places[1:], sizes[1:], strict=True):
            picture.paste(other(picture), (0, 0), softened(_region(rng, side, place, size, self._studio.split), edge))
        picture.paste(altered, (0, 0), softened(mask, edge) if edge * side > 1 else mask)
        return self._studio.finish(picture, random_finish(rng, 0.7)), np.asarray(mask) > 127

    def _ground(self, rng: np.random.Generator, side: int, view: TextureView | None) -> Image.Image:
        if view is not None:
            left, top = (between(rng, 0, 1 - view.width) for _ in range(2))
            here = TextureView(view.family, view.variant, left, top, view.width, view.turn, view.palette)
            return self._studio.texture(here, side)
        looks = [sprite_look(rng, s.name) for s in others(rng, self._studio, int(rng.integers(0, 4)), [])]
        stage: Stage = stage_of(rng, self._studio, scatter(rng, looks, [between(rng, 0.2, 0.5) for _ in looks]))
        return self._studio.compose(stage, side)[0]


def _shows(picture: Image.Image, altered: Image.Image, mask: Bool[np.ndarray, "side side"]) -> bool:
    """Whether the part is of a fair size, and looks different from what was there."""
    if not _AREA[0] <= mask.mean() <= _AREA[1]:
        return False
    return float(np.asarray(ImageChops.difference(picture, altered))[mask].mean()) >= _VISIBLE


def _both(first: _Change, second: _Change) -> _Change:
    return lambda picture: second(first(picture))


def _ground_tone(rng: np.random.Generator) -> _Change:
    """What the pictures of one episode have in common: their own colours, none, or other ones."""
    if chance(rng, 0.6):
        return lambda picture: picture
    hue, saturation = (between(rng, 0, 360), 1.0) if chance(rng, 0.5) else (0.0, between(rng, 0.0, 0.3))
    matrix = tone(hue=hue, saturation=saturation, gain=between(rng, 0.7, 1.15))
    return lambda picture: picture.convert("RGB", matrix)


def _region(rng: np.random.Generator, side: int, place: tuple[float, float], size: float, split: str) -> Image.Image:
    """A blob or a shape of about that size there, mode L."""
    x, y = place
    if chance(rng, 0.7):
        return blob_mask(rng, side, x, y, size / 2, between(rng, 0.05, 0.4), between(rng, 0.4, 1.0))
    px = max(8, round(size * side))
    shape = shape_mask(pick(rng, shapes_of(split))).resize((px, max(8, round(px * between(rng, 0.5, 1.0)))))
    shape = shape.rotate(between(rng, -40, 40), Image.Resampling.BILINEAR, expand=True)
    region = Image.new("L", (side, side), 0)
    region.paste(shape, (round(x * side - shape.width / 2), round(y * side - shape.height / 2)))
    return region


def _blurred(rng: np.random.Generator, studio: Studio) -> _Change:
    radius = between(rng, 0.015, 0.04)
    return lambda picture: picture.filter(ImageFilter.BoxBlur(radius * picture.width))


def _pixelated(rng: np.random.Generator, studio: Studio) -> _Change:
    cells = int(rng.integers(12, 28))
    return lambda picture: picture.resize((cells, cells), Image.Resampling.BOX).resize(
        picture.size, Image.Resampling.NEAREST
    )


def _turned_hue(rng: np.random.Generator, studio: Studio) -> _Change:
    matrix = tone(hue=between(rng, 50, 310), saturation=between(rng, 1.0, 1.6))
    return lambda picture: picture.convert("RGB", matrix)


def _greyed(rng: np.random.Generator, studio: Studio) -> _Change:
    matrix = tone(saturation=between(rng, 0.0, 0.2), gain=between(rng, 1.0, 1.25))
    return lambda picture: picture.convert("RGB", matrix)


def _lightened(rng: np.random.Generator, studio: Studio) -> _Change:
    factor = between(rng, 1.3, 1.8)
    return lambda picture: brightened(picture, factor)


def _inverted(rng: np.random.Generator, studio: Studio) -> _Change:
    amount = between(rng, 0.75, 1.0)
    return lambda picture: Image.blend(picture, ImageOps.invert(picture), amount)


def _tinted(rng: np.random.Generator, studio: Studio) -> _Change:
    colour, amount = rgb_of(rng.random(), between(rng, 0.4, 1.0), between(rng, 0.6, 1.0)), between(rng, 0.3, 0.6)
    return lambda picture: Image.blend(picture, Image.new("RGB", picture.size, colour), amount)


def _faded(rng: np.random.Generator, studio: Studio) -> _Change:
    amount = between(rng, 0.55, 0.8)
    return lambda picture: Image.blend(
        picture, Image.new("RGB", picture.size, picture.resize((1, 1), Image.Resampling.BOX).getpixel((0, 0))), amount
    )


def _posterised(rng: np.random.Generator, studio: Studio) -> _Change:
    bits = int(rng.integers(1, 3))
    return lambda picture: ImageOps.posterize(picture, bits)


def _embossed(rng: np.random.Generator, studio: Studio) -> _Change:
    amount = between(rng, 0.7, 1.0)
    return lambda picture: Image.blend(picture, picture.filter(ImageFilter.EMBOSS), amount)


def _covered(rng: np.random.Generator, studio: Studio) -> _Change:
    """Another texture lies over it, more or less thickly."""
    view, amount = studio.random_view(rng, surface=chance(rng, 0.5)), between(rng, 0.5, 1.0)
    return lambda picture: Image.blend(picture, studio.texture(view, picture.width), amount)


def _striped(rng: np.random.Generator, studio: Studio) -> _Change:
    period, lean, level = between(rng, 0.03, 0.09), between(rng, -1.0, 1.0), int(between(rng, 40, 90))

    def change(picture: Image.Image) -> Image.Image:
        side = picture.width
        lines = Image.new("L", picture.size, 0)
        pen = ImageDraw.Draw(lines)
        for at in np.arange(-1.0, 2.0, period).tolist():
            pen.line([(at * side, 0), ((at + lean) * side, side)], fill=level, width=max(1, round(period * side / 2.5)))
        return ImageChops.add(picture, Image.merge("RGB", (lines,) * 3))

    return change


def _grainy(rng: np.random.Generator, studio: Studio) -> _Change:
    level, cells = between(rng, 30, 70), int(rng.integers(60, 168))
    field = np.clip(rng.normal(128, level, (cells, cells)), 0, 255).astype(np.uint8)
    grain = Image.fromarray(field)
    return lambda picture: ImageChops.add(
        picture, Image.merge("RGB", (grain.resize(picture.size, Image.Resampling.BILINEAR),) * 3), 1.0, -128
    )


ALTERATIONS: dict[str, _Kind] = {
    "blurred": _blurred,
    "pixelated": _pixelated,
    "turned hue": _turned_hue,
    "greyed": _greyed,
    "lightened": _lightened,
    "inverted": _inverted,
    "tinted": _tinted,
    "faded": _faded,
    "posterised": _posterised,
    "embossed": _embossed,
    "covered": _covered,
    "striped": _striped,
    "grainy": _grainy,
}
"""Kind of alteration → how one of its sort is drawn."""
