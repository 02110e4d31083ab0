"""Context-dependent tasks (Appendix A, Eq. 11): saliency and camouflage.

What is asked for has no looks of its own: it differs from its surroundings, or it does not.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from PIL import Image, ImageChops

from conceptseg.data.world.dice import between, chance, pick
from conceptseg.data.world.palettes import palette_between, palette_mean, rgb_of
from conceptseg.data.world.pixels import embossed, shaded, softened
from conceptseg.data.world.scenes import others, scatter, shape_look, sprite_look
from conceptseg.data.world.shapes import COLOURS, SHAPES, colours_of
from conceptseg.data.world.sprites import all_sprites
from conceptseg.data.world.stage import Backdrop, Look, RGBColour, Stage, TextureView, Thing, random_finish, tone
from conceptseg.data.world.studio import Studio
from conceptseg.data.world.tasks import Picture, Task, Theme, picture_of
from conceptseg.data.world.textures import NATURAL

__all__ = ["CONTRAST_TASKS"]


_SALIENCY_RULE = "Segment the one thing that stands out from its dull surroundings."
_CAMOUFLAGE_RULE = "Segment the hidden thing whose surface looks like the {family} around it."


def _saliency_theme(rng: np.random.Generator, studio: Studio) -> Theme:
    hue = rng.random()
    return Theme(
        "salient object",
        _SALIENCY_RULE,
        "salient object",
        f"hue {int(hue * 12)}",
        {"hue": hue},
    )


def _draw_saliency(theme: Theme, rng: np.random.Generator, studio: Studio, side: int, reference: int | None) -> Picture:
    """One vivid thing among things that fade into a dull backdrop."""
    hue, value = theme.parts["hue"] + between(rng, -0.1, 0.1), between(rng, 0.35, 0.75)
    view = studio.random_view(rng)
    dull = _ramp(hue, between(rng, 0.05, 0.25), value, between(rng, 0.1, 0.22))
    view = _recoloured(view, dull)
    star = _vivid_look(rng, studio, palette_mean(dull))
    count = int(rng.integers(2, 6))
    fade = tone(saturation=0.35, toward=palette_mean(dull), amount=between(rng, 0.6, 0.8))
    crowd = [Look(s.name, tone=fade) for s in others(rng, studio, count, [])]
    sizes = [between(rng, 0.12, 0.3) for _ in crowd] + [between(rng, 0.26 if reference is None else 0.36, 0.62)]
    things = scatter(rng, [*crowd, star], sizes, gap=0.8)
    stage = Stage(Backdrop((view,)), tuple(things), random_finish(rng))
    return picture_of(studio.render(stage, side), len(crowd), answer=star.name)


def _vivid_look(rng: np.random.Generator, studio: Studio, against: RGBColour) -> Look:
    """A shape of the most different colours, or a sprite with stronger ones."""
    if chance(rng, 0.3):
        words = sorted(colours_of(studio.split), key=lambda word: -_distance(COLOURS[word][0], against))
        return shape_look(rng, studio.split, colour=pick(rng, words[: len(words) // 2]))
    bright = sum(against) < 380
    name = pick(rng, [s.name for s in studio.common])
    return Look(name, tone=tone(between(rng, -10, 10), between(rng, 1.15, 1.4), 1.15 if bright else 0.85))


def _distance(one: RGBColour, two: RGBColour) -> int:
    return sum(abs(a - b) for a, b in zip(one, two, strict=True))


def _camouflage_theme(rng: np.random.Generator, studio: Studio) -> Theme:
    view = studio.random_view(rng, contrast=1.3)
    name = pick(rng, [s.name for s in studio.sprites.values() if s.category == "animal"])
    return Theme(
        "camouflaged object",
        _CAMOUFLAGE_RULE.format(family=view.family),
        f"hidden {name}",
        view.family,
        {"view": view, "name": name},
    )


def _draw_camouflage(
    theme: Theme, rng: np.random.Generator, studio: Studio, side: int, reference: int | None
) -> Picture:
    """A silhouette filled with another piece of the texture that surrounds it, faintly shaded at its edge."""
    view: TextureView = theme.parts["view"]
    here = _elsewhere(rng, view)
    picture = studio.texture(here, side)
    name = theme.parts["name"] if reference is None or chance(rng, 0.4) else pick(rng, [s.name for s in studio.common])
    size = between(rng, 0.34 if reference is None else 0.42, 0.7)
    margin = size * 0.45
    x, y = between(rng, margin, 1 - margin), between(rng, margin, 1 - margin)
    look = sprite_look(rng, name, 0.0)
    thing = Thing(look, x, y, size, between(rng, -35, 35), chance(rng, 0.5), grounded=False)
    skin = _elsewhere(rng, here, between(rng, 0.8, 1.15))
    mask = hide(picture, studio, thing, studio.texture(skin, side), between(rng, 0.4, 0.85))
    image = studio.finish(picture, random_finish(rng, 0.7))
    return Picture(image, np.asarray(mask) > 127, f"hidden {name}")


def hide(picture: Image.Image, studio: Studio, thing: Thing, skin: Image.Image, strength: float) -> Image.Image:
    """Paint a thing with a skin instead of its own, in place.

    Args:
        skin: what fills the silhouette, as large as the picture.
        strength: how clearly its form is shaded, 0 (not at all) to 1.

    Returns:
        The silhouette, mode L, as large as the picture.
    """
    layer = studio.layer(thing, picture.width)
    left = round(thing.x * picture.width - layer.width / 2)
    top = round(thing.y * picture.width - layer.height / 2)
    alpha = layer.getchannel("A")
    inner = embossed(softened(layer.convert("L"), 0.01), 1)
    edge = embossed(softened(alpha, 0.026), max(1, layer.width // 24))
    patch = skin.crop((left, top, left + layer.width, top + layer.height))
    patch = shaded(patch, ImageChops.add(inner, edge, 2.0), strength)
    picture.paste(patch, (left, top), alpha)
    silhouette = Image.new("L", picture.size, 0)
    silhouette.paste(alpha, (left, top))
    return silhouette


def _elsewhere(rng: np.random.Generator, view: TextureView, zoom: float = 1.0) -> TextureView:
    """Another piece of the same tile in the same colours, not turned (turning would give it away)."""
    width = min(0.95, view.width * zoom)
    return TextureView(
        view.family,
        view.variant,
        between(rng, 0, 1 - width),
        between(rng, 0, 1 - width),
        width,
        view.turn,
        view.palette,
    )


def _recoloured(view: TextureView, palette: bytes) -> TextureView:
    return TextureView(view.family, view.variant, view.x, view.y, view.width, view.turn, palette)


def _ramp(hue: float, saturation: float, value: float, span: float) -> bytes:
    return palette_between(rgb_of(hue, saturation, value - span / 2), rgb_of(hue, saturation * 0.8, value + span / 2))


def _saliency_texts() -> Iterator[str]:
    yield from ("salient object", _SALIENCY_RULE, *SHAPES, *(sprite.name for sprite in all_sprites()))


def _camouflage_texts() -> Iterator[str]:
    yield from ("camouflaged object", *(_CAMOUFLAGE_RULE.format(family=family) for family in NATURAL))
    yield from (f"hidden {sprite.name}" for sprite in all_sprites())


CONTRAST_TASKS: dict[str, Task] = {
    "saliency": Task(_saliency_theme, _draw_saliency, _saliency_texts),
    "camouflage": Task(_camouflage_theme, _draw_camouflage, _camouflage_texts),
}
"""Leaf task → how it is made."""
