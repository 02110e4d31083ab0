"""Plain shapes in named colours and patterns, shaded a little so that they sit in a scene."""

from __future__ import annotations

import math
from functools import cache, lru_cache

import numpy as np
from PIL import Image, ImageChops, ImageDraw

from conceptseg.data.world.sprites import check_split

__all__ = ["COLOURS", "PATTERNS", "SHAPES", "colours_of", "shape_mask", "shape_picture", "shapes_of"]

_MASTER_PX = 128

COLOURS: dict[str, tuple[tuple[int, int, int], str]] = {
    "red": ((214, 48, 44), "train"),
    "orange": ((240, 138, 36), "train"),
    "yellow": ((246, 212, 48), "train"),
    "green": ((62, 158, 72), "train"),
    "blue": ((52, 104, 208), "train"),
    "purple": ((132, 68, 176), "train"),
    "white": ((238, 238, 234), "train"),
    "black": ((42, 42, 46), "train"),
    "pink": ((244, 142, 184), "unseen"),
    "brown": ((124, 78, 46), "unseen"),
    "cyan": ((62, 198, 210), "unseen"),
    "gray": ((134, 136, 140), "unseen"),
}
"""Colour word → (RGB, `train` or `unseen`)."""

SHAPES: dict[str, str] = {
    "circle": "train",
    "square": "train",
    "triangle": "train",
    "star": "train",
    "cross": "train",
    "ring": "train",
    "heart": "train",
    "crescent": "unseen",
    "hexagon": "unseen",
    "diamond": "unseen",
    "arrow": "unseen",
}
"""Shape word → `train` or `unseen`."""

PATTERNS = ("plain", "striped", "dotted", "checked")
"""How a shape is filled: with its colour, or with its colour and a lighter or darker one."""


def shapes_of(split: str) -> tuple[str, ...]:
    """Shapes of a split; `unseen_test` shows the ones kept out of training."""
    side = "unseen" if check_split(split) == "unseen_test" else "train"
    return tuple(name for name, where in SHAPES.items() if where == side)


def colours_of(split: str) -> tuple[str, ...]:
    """Colours of a split; `unseen_test` shows the ones kept out of training."""
    side = "unseen" if check_split(split) == "unseen_test" else "train"
    return tuple(name for name, (_, where) in COLOURS.items() if where == side)


@cache
def shape_mask(shape: str) -> Image.Image:
    """The shape's coverage, mode L, 128 px square, smooth at the edge."""
    side = _MASTER_PX * 4
    mask = Image.new("L", (side, side), 0)
    _draw(ImageDraw.Draw(mask), shape, side)
    return mask.resize((_MASTER_PX, _MASTER_PX), Image.Resampling.BOX)


@lru_cache(maxsize=512)
def shape_picture(shape: str, colour: str, pattern: str) -> Image.Image:
    """A shape in colour and pattern, lit from the upper left: RGBA, 128 px square."""
    rgb = COLOURS[colour][0]
    other = tuple(min(255, c + 70) if sum(rgb) < 420 else max(0, c - 90) for c in rgb)
    fill = Image.composite(Image.new("RGB", (_MASTER_PX,) * 2, other), _solid(rgb), _pattern(pattern))
    y, x = np.mgrid[0:_MASTER_PX, 0:_MASTER_PX] / _MASTER_PX
    light = Image.fromarray(np.clip(265 - 62 * (x + y), 0, 255).astype(np.uint8))
    fill = ImageChops.multiply(fill, Image.merge("RGB", (light,) * 3))
    fill.putalpha(shape_mask(shape))
    return fill


def _solid(rgb: tuple[int, int, int]) -> Image.Image:
    return Image.new("RGB", (_MASTER_PX, _MASTER_PX), rgb)


def _pattern(pattern: str) -> Image.Image:
    y, x = np.mgrid[0:_MASTER_PX, 0:_MASTER_PX]
    if pattern == "striped":
        on = (x + y) % 36 < 18
    elif pattern == "dotted":
        on = np.hypot(x % 32 - 16, y % 32 - 16) < 9
    elif pattern == "checked":
        on = (x // 21 + y // 21) % 2 == 0
    else:
        on = np.zeros_like(x, dtype=bool)
    return Image.fromarray(on.astype(np.uint8) * 255)


def _draw(pen: ImageDraw.ImageDraw, shape: str, side: int) -> None:
    whole = (0, 0, side - 1, side - 1)
    if shape == "circle":
        pen.ellipse(whole, fill=255)
    elif shape == "ring":
        pen.ellipse(whole, fill=255)
        pen.ellipse((side * 0.27, side * 0.27, side * 0.73, side * 0.73), fill=0)
    elif shape == "crescent":
        pen.ellipse(whole, fill=255)
        pen.ellipse((side * 0.32, -side * 0.06, side * 1.14, side * 0.76), fill=0)
    elif shape == "heart":
        pen.ellipse((0, 0, side * 0.54, side * 0.54), fill=255)
        pen.ellipse((side * 0.46, 0, side, side * 0.54), fill=255)
        pen.polygon([(side * u, side * v) for u, v in ((0.05, 0.4), (0.95, 0.4), (0.5, 1.0))], fill=255)
    else:
        pen.polygon([(side * u, side * v) for u, v in _corners(shape)], fill=255)


def _corners(shape: str) -> list[tuple[float, float]]:
    if shape == "square":
        return [(0.06, 0.06), (0.94, 0.06), (0.94, 0.94), (0.06, 0.94)]
    if shape == "triangle":
        return [(0.5, 0.02), (1.0, 0.92), (0.0, 0.92)]
    if shape == "diamond":
        return [(0.5, 0.0), (0.86, 0.5), (0.5, 1.0), (0.14, 0.5)]
    if shape == "cross":
        a, b = 0.33, 0.67
        return [(a, 0), (b, 0), (b, a), (1, a), (1, b), (b, b), (b, 1), (a, 1), (a, b), (0, b), (0, a), (a, a)]
    if shape == "arrow":
        return [(0.5, 0), (1, 0.5), (0.7, 0.5), (0.7, 1), (0.3, 1), (0.3, 0.5), (0, 0.5)]
    points, inner = (6, 0.5) if shape == "hexagon" else (10, 0.22)
    radii = [0.5 if k % 2 == 0 else inner for k in range(points)]
    turns = [2 * math.pi * k / points - math.pi / 2 for k in range(points)]
    return [(0.5 + r * math.cos(t), 0.5 + r * math.sin(t)) for r, t in zip(radii, turns, strict=True)]
