"""Optical tasks: a transparent thing, known by how it bends what is behind it, and a shadow."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float
from PIL import Image, ImageChops, ImageDraw

from conceptseg.data.world.blobs import blob_mask
from conceptseg.data.world.dice import between, chance, pick
from conceptseg.data.world.palettes import rgb_of
from conceptseg.data.world.pixels import softened
from conceptseg.data.world.scenes import others, scatter, sprite_look
from conceptseg.data.world.stage import Stage, Thing, random_finish
from conceptseg.data.world.studio import Studio
from conceptseg.data.world.tasks import Picture, Task, Theme

__all__ = ["OPTICS_TASKS", "VESSELS"]

_SEEN = ("train", "seen_test")
_UNSEEN = ("unseen_test",)

VESSELS: dict[str, tuple[tuple[float, ...], float, tuple[str, ...]]] = {
    "bottle": ((0.2, 0.2, 0.18, 0.2, 0.42, 0.55, 0.56, 0.56, 0.56, 0.54), 0.55, _SEEN),
    "tumbler": ((0.72, 0.71, 0.7, 0.69, 0.68, 0.67, 0.66, 0.65, 0.64, 0.62), 0.7, _SEEN),
    "goblet": ((0.62, 0.68, 0.7, 0.66, 0.5, 0.16, 0.1, 0.1, 0.2, 0.55), 0.7, _SEEN),
    "jar": ((0.5, 0.5, 0.66, 0.78, 0.8, 0.8, 0.8, 0.8, 0.8, 0.74), 0.8, _SEEN),
    "ball": ((0.16, 0.62, 0.85, 0.95, 1.0, 1.0, 0.95, 0.85, 0.62, 0.16), 1.0, _SEEN),
    "vase": ((0.5, 0.36, 0.34, 0.44, 0.62, 0.76, 0.8, 0.72, 0.56, 0.44), 0.65, _UNSEEN),
    "flask": ((0.22, 0.2, 0.2, 0.22, 0.34, 0.5, 0.66, 0.82, 0.96, 0.98), 0.8, _UNSEEN),
    "bowl": ((1.0, 1.0, 0.98, 0.95, 0.9, 0.83, 0.74, 0.62, 0.46, 0.4), 1.7, _UNSEEN),
}
"""Name → (half width at ten heights from top to bottom, in half heights; width / height; splits)."""

_GLASS_RULE = "Segment the clear {name} that bends what is behind it."
_SHADOW_RULE = "Segment the area that is darker because light is blocked there."


def _glass_theme(rng: np.random.Generator, studio: Studio) -> Theme:
    name = pick(rng, [vessel for vessel, (_, _, splits) in VESSELS.items() if studio.split in splits])
    return Theme("transparent object", _GLASS_RULE.format(name=name), f"glass {name}", name, {"vessel": name})


def _draw_glass(theme: Theme, rng: np.random.Generator, studio: Studio, side: int, reference: int | None) -> Picture:
    """A vessel of clear glass before a backdrop with things on it."""
    looks = [sprite_look(rng, sprite.name) for sprite in others(rng, studio, int(rng.integers(0, 3)), [])]
    things = scatter(rng, looks, [between(rng, 0.2, 0.4) for _ in looks])
    picture, _ = studio.compose(Stage(studio.random_backdrop(rng, contrast=1.2), tuple(things)), side)
    mask = _put_glass(rng, picture, theme.parts["vessel"])
    return Picture(studio.finish(picture, random_finish(rng)), mask)


def _put_glass(rng: np.random.Generator, picture: Image.Image, vessel: str) -> np.ndarray:
    """Draw the vessel into the picture in place and return its mask."""
    side = picture.width
    across, down, half = _vessel_frame(rng, vessel, side)
    inside = (np.abs(across) <= 1) & (np.abs(down) <= 1)
    # A thick wall looks like a lens: the view is mirrored and squeezed towards the rim.
    bend = np.clip(across, -1, 1) * half * (0.25 + 0.75 * np.abs(across) ** 3) * between(rng, 0.7, 1.2)
    ys, xs = np.nonzero(inside)
    from_x = np.clip(xs - bend[inside] * 1.4, 0, side - 1).astype(int)
    from_y = np.clip(ys - down[inside] * 0.06 * side, 0, side - 1).astype(int)
    pixels = np.array(picture)
    seen = pixels[from_y, from_x].astype(np.float32)
    tint = np.array(rgb_of(pick(rng, (0.33, 0.5, 0.58, 0.1)), between(rng, 0.04, 0.22), 1.0)) / 255
    rim = np.abs(across[inside])
    light = between(rng, 0.82, 0.98) * tint * (1 - 0.42 * rim[:, None] ** 5)
    shine = _shine(rng, across[inside], down[inside])
    pixels[ys, xs] = np.clip(seen * light + shine[:, None] * 235, 0, 255).astype(np.uint8)
    picture.paste(Image.fromarray(pixels))
    return inside


def _vessel_frame(
    rng: np.random.Generator, vessel: str, side: int
) -> tuple[Float[np.ndarray, "side side"], Float[np.ndarray, "side side"], Float[np.ndarray, "side side"]]:
    """For every pixel: place across the vessel (-1..1 inside), place down it (-1..1), its half width there in px."""
    widths, aspect, _ = VESSELS[vessel]
    height = between(rng, 0.5, 0.8) * min(1.0, 1.25 / aspect)
    reach = height / 2 * max(1.0, aspect)
    cx, cy = between(rng, reach, 1 - reach) if reach < 0.5 else 0.5, between(rng, height / 2, 1 - height / 2)
    lean = np.radians(between(rng, -14, 14))
    y, x = np.mgrid[0:side, 0:side].astype(np.float32) / side
    u, v = x - cx, y - cy
    along, away = v * np.cos(lean) - u * np.sin(lean), u * np.cos(lean) + v * np.sin(lean)
    down = along / (height / 2)
    half = np.interp(down, np.linspace(-1, 1, len(widths)), widths).astype(np.float32) * height / 2 * aspect
    return away / half, down, half * side


def _shine(rng: np.random.Generator, across: Float[np.ndarray, " n"], down: Float[np.ndarray, " n"]) -> np.ndarray:
    """Highlights, 0..1: two upright streaks, a bright rim and a bright lip and foot."""
    left = between(rng, -0.7, -0.45)
    streak = 0.75 * np.exp(-(((across - left) / 0.07) ** 2)) * (np.abs(down + 0.1) < between(rng, 0.5, 0.75))
    second = 0.3 * np.exp(-(((across + left) / 0.05) ** 2)) * (np.abs(down) < 0.6)
    rim = 0.35 * (np.abs(across) > 0.93)
    ends = 0.3 * (np.abs(down) > 0.955)
    return np.maximum.reduce([streak, second, rim, ends])


def _shadow_theme(rng: np.random.Generator, studio: Studio) -> Theme:
    return Theme("shadow", _SHADOW_RULE, "shadow", "cast" if chance(rng, 0.7) else "fallen", {})


def _draw_shadow(theme: Theme, rng: np.random.Generator, studio: Studio, side: int, reference: int | None) -> Picture:
    """The shadow of a thing in the picture, or one that falls in from outside; never the thing itself."""
    picture = studio.backdrop(studio.random_backdrop(rng), side)
    _dark_patch(rng, picture)
    labels = Image.new("L", picture.size, 0)
    if theme.group == "cast":
        size = between(rng, 0.34, 0.5)
        look = sprite_look(rng, pick(rng, studio.common).name)
        thing = Thing(
            look, between(rng, 0.3, 0.7), between(rng, 0.3, 0.55), size, flip=chance(rng, 0.5), grounded=False
        )
        shade = _cast_shadow(rng, studio, thing, side)
        _darken(rng, picture, shade)
        studio.paste(picture, labels, thing, 1)
    else:
        shade = _fallen_shadow(rng, side)
        _darken(rng, picture, shade)
    mask = (np.asarray(shade) > 127) & (np.asarray(labels) == 0)
    return Picture(studio.finish(picture, random_finish(rng, 0.7)), mask)


def _dark_patch(rng: np.random.Generator, picture: Image.Image) -> None:
    """Something dark that is no shadow: a patch of another colour."""
    if chance(rng, 0.5):
        radius = between(rng, 0.06, 0.13)
        patch = blob_mask(rng, picture.width, rng.random(), rng.random(), radius, 0.3)
        picture.paste(rgb_of(rng.random(), between(rng, 0.2, 0.6), between(rng, 0.15, 0.35)), (0, 0), patch)


def _cast_shadow(rng: np.random.Generator, studio: Studio, thing: Thing, side: int) -> Image.Image:
    """The thing's outline laid on the ground towards the camera or away from it, mode L of the picture's size."""
    layer = studio.layer(thing, side)
    left, base = thing.x * side - layer.width / 2, thing.y * side + layer.height / 2 - 2
    lean = between(rng, 0.5, 1.3) * pick(rng, (-1, 1))
    length = between(rng, 0.5, 0.9) * (1 if chance(rng, 0.75) else -1)
    # The ground at Y shows what is (Y - base) / length above the foot, moved sideways by the lean.
    k = lean / abs(length)
    move = (1.0, -k, -left + k * base, 0.0, -1.0 / length, layer.height + base / length)
    shade = layer.getchannel("A").transform((side, side), Image.Transform.AFFINE, move, Image.Resampling.BILINEAR)
    return softened(shade, between(rng, 0.004, 0.012))


def _fallen_shadow(rng: np.random.Generator, side: int) -> Image.Image:
    """The shadow of something outside: foliage, or a slanting edge of a wall."""
    shade = Image.new("L", (side, side), 0)
    if chance(rng, 0.5):
        cx, cy = between(rng, 0.25, 0.75), between(rng, 0.25, 0.75)
        for _ in range(6):
            spot = (cx + rng.normal(0, 0.12), cy + rng.normal(0, 0.12))
            shade = ImageChops.lighter(shade, blob_mask(rng, side, *spot, between(rng, 0.08, 0.15), 0.35))
    else:
        near, far = between(rng, 0.25, 0.55) * side, between(rng, 0.25, 0.55) * side
        points = pick(
            rng,
            (
                ((0, 0), (near, 0), (far, side), (0, side)),
                ((0, side - near), (side, side - far), (side, side), (0, side)),
            ),
        )
        ImageDraw.Draw(shade).polygon(points, fill=255)
    return softened(shade, between(rng, 0.008, 0.02))


def _darken(rng: np.random.Generator, picture: Image.Image, shade: Image.Image) -> None:
    """Multiply the shaded part with a dark, slightly blue tone, in place."""
    depth = between(rng, 0.35, 0.6)
    tone = tuple(round(255 * min(1.0, depth * gain)) for gain in (0.94, 0.98, 1.1))
    picture.paste(ImageChops.multiply(picture, Image.new("RGB", picture.size, tone)), (0, 0), shade)


def _glass_texts() -> Iterator[str]:
    yield "transparent object"
    for vessel in VESSELS:
        yield from (f"glass {vessel}", _GLASS_RULE.format(name=vessel))


def _shadow_texts() -> Iterator[str]:
    yield from ("shadow", _SHADOW_RULE)


OPTICS_TASKS: dict[str, Task] = {
    "transparency": Task(_glass_theme, _draw_glass, _glass_texts),
    "shadow": Task(_shadow_theme, _draw_shadow, _shadow_texts),
}
"""Leaf task → how it is made."""
