"""Things made of parts by a plan, for correspondences: every drawing of a plan differs in colours and proportions."""

from __future__ import annotations

import math
from typing import TypeAlias

import numpy as np
from PIL import Image, ImageChops, ImageDraw

from conceptseg.data.world.dice import between, chance
from conceptseg.data.world.palettes import rgb_of

__all__ = ["BODIES", "draw_body", "parts_of"]

Outline: TypeAlias = tuple[str, tuple[float, ...]]
"""`box` or `oval` with left, top, right, bottom, or `poly` with x, y, x, y …, all in [0, 1]."""
Plan: TypeAlias = tuple[tuple[str, tuple[Outline, ...]], ...]
"""(part, its outlines) from back to front."""

_SEEN = ("train", "seen_test")
_UNSEEN = ("unseen_test",)
_OVERSAMPLE = 2
_LIT = [255 - level * 80 // 255 for level in range(256)]
"""Lit from above."""

_HOUSE: Plan = (
    ("chimney", (("box", (0.64, 0.08, 0.78, 0.4)),)),
    ("wall", (("box", (0.16, 0.42, 0.84, 0.96)),)),
    ("roof", (("poly", (0.04, 0.46, 0.5, 0.1, 0.96, 0.46)),)),
    ("door", (("box", (0.24, 0.6, 0.46, 0.96)),)),
    ("window", (("box", (0.56, 0.56, 0.77, 0.77)),)),
)
_TRUCK: Plan = (
    ("load", (("box", (0.02, 0.2, 0.58, 0.72)),)),
    ("cabin", (("poly", (0.6, 0.36, 0.82, 0.36, 0.98, 0.56, 0.98, 0.74, 0.6, 0.74)),)),
    ("window", (("poly", (0.67, 0.41, 0.81, 0.41, 0.91, 0.56, 0.67, 0.56)),)),
    ("wheels", (("oval", (0.1, 0.62, 0.34, 0.86)), ("oval", (0.66, 0.62, 0.9, 0.86)))),
)
_FIGURE: Plan = (
    ("legs", (("box", (0.34, 0.66, 0.46, 0.97)), ("box", (0.54, 0.66, 0.66, 0.97)))),
    (
        "arms",
        (
            ("poly", (0.3, 0.4, 0.08, 0.6, 0.16, 0.68, 0.36, 0.52)),
            ("poly", (0.7, 0.4, 0.92, 0.6, 0.84, 0.68, 0.64, 0.52)),
        ),
    ),
    ("body", (("box", (0.3, 0.36, 0.7, 0.72)),)),
    ("head", (("oval", (0.34, 0.1, 0.66, 0.4)),)),
    ("hat", (("box", (0.26, 0.13, 0.74, 0.19)), ("box", (0.36, 0.0, 0.64, 0.16)))),
)
_PETALS = tuple((0.5 + 0.2 * math.cos(k * math.pi / 3), 0.31 + 0.2 * math.sin(k * math.pi / 3)) for k in range(6))
_FLOWER: Plan = (
    ("stem", (("box", (0.46, 0.42, 0.54, 0.98)),)),
    (
        "leaves",
        (
            ("poly", (0.52, 0.86, 0.62, 0.68, 0.9, 0.6, 0.8, 0.82)),
            ("poly", (0.48, 0.9, 0.36, 0.72, 0.1, 0.68, 0.2, 0.88)),
        ),
    ),
    ("petals", tuple(("oval", (x - 0.12, y - 0.12, x + 0.12, y + 0.12)) for x, y in _PETALS)),
    ("centre", (("oval", (0.38, 0.19, 0.62, 0.43)),)),
)
_BOAT: Plan = (
    ("mast", (("box", (0.47, 0.04, 0.53, 0.74)),)),
    ("sail", (("poly", (0.55, 0.1, 0.92, 0.66, 0.55, 0.66)),)),
    ("jib", (("poly", (0.44, 0.16, 0.44, 0.66, 0.14, 0.66)),)),
    ("hull", (("poly", (0.04, 0.72, 0.96, 0.72, 0.8, 0.94, 0.2, 0.94)),)),
)
_LAMP: Plan = (
    ("cord", (("box", (0.56, 0.8, 0.98, 0.86)),)),
    ("pole", (("box", (0.45, 0.4, 0.55, 0.84)),)),
    ("shade", (("poly", (0.32, 0.06, 0.68, 0.06, 0.88, 0.46, 0.12, 0.46)),)),
    ("base", (("oval", (0.24, 0.76, 0.76, 0.98)),)),
)
_FISH: Plan = (
    ("tail", (("poly", (0.72, 0.5, 0.98, 0.22, 0.92, 0.5, 0.98, 0.78)),)),
    ("fins", (("poly", (0.34, 0.32, 0.5, 0.08, 0.66, 0.34)), ("poly", (0.36, 0.68, 0.46, 0.9, 0.6, 0.68)))),
    ("belly", (("oval", (0.06, 0.26, 0.8, 0.76)),)),
    ("eye", (("oval", (0.15, 0.38, 0.31, 0.54)),)),
)

BODIES: dict[str, tuple[Plan, tuple[str, ...]]] = {
    "house": (_HOUSE, _SEEN),
    "truck": (_TRUCK, _SEEN),
    "figure": (_FIGURE, _SEEN),
    "flower": (_FLOWER, _SEEN),
    "boat": (_BOAT, _UNSEEN),
    "lamp": (_LAMP, _UNSEEN),
    "fish": (_FISH, _UNSEEN),
}
"""Plan's name → (plan, the splits that show it)."""

_TOO_SMALL = {"eye", "cord", "mast", "stem", "chimney"}


def parts_of(body: str) -> tuple[str, ...]:
    """The parts of a plan that are large enough to be asked for."""
    return tuple(part for part, _ in BODIES[body][0] if part not in _TOO_SMALL)


def draw_body(rng: np.random.Generator, body: str, size_px: int) -> tuple[Image.Image, Image.Image]:
    """A body of the plan in random colours, proportions and pose.

    Returns:
        RGBA layer and L labels of the same size: 0 outside and on parts that are never asked for, else the part's
        place in `parts_of` + 1.
    """
    asked = parts_of(body)
    pose = _pose(rng)
    large = size_px * _OVERSAMPLE
    colours, cover = Image.new("RGB", (large, large)), Image.new("L", (large, large), 0)
    labels = Image.new("L", (size_px, size_px), 0)
    for part, outlines in BODIES[body][0]:
        jitter = rng.uniform(-0.012, 0.012, 2)
        fill = rgb_of(rng.random(), between(rng, 0.3, 0.85), between(rng, 0.4, 0.95))
        number = asked.index(part) + 1 if part in asked else 0
        for outline in outlines:
            corners = (_corners(outline) + jitter - 0.5) @ pose + 0.5
            path = [*map(tuple, corners * large)]
            ImageDraw.Draw(colours).polygon(path, fill=fill, outline=tuple(c // 2 for c in fill), width=large // 80)
            ImageDraw.Draw(cover).polygon(path, fill=255)
            ImageDraw.Draw(labels).polygon([*map(tuple, corners * size_px)], fill=number)
    light = Image.linear_gradient("L").resize((size_px, size_px)).point(_LIT)
    layer = ImageChops.multiply(colours.reduce(_OVERSAMPLE), Image.merge("RGB", (light,) * 3))
    layer.putalpha(cover.reduce(_OVERSAMPLE))
    return layer, labels


def _pose(rng: np.random.Generator) -> np.ndarray:
    """Proportions, mirroring and turn as a 2×2 matrix for row vectors."""
    turn = math.radians(between(rng, -35, 35))
    stretch = np.diag([between(rng, 0.72, 0.92) * (-1 if chance(rng, 0.5) else 1), between(rng, 0.78, 0.92)])
    return stretch @ np.array([[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]])


def _corners(outline: Outline) -> np.ndarray:
    """An outline as a polygon, points × 2."""
    kind, numbers = outline
    points = np.array(numbers).reshape(-1, 2)
    if kind == "poly":
        return points
    (left, top), (right, bottom) = points
    if kind == "box":
        return np.array([(left, top), (right, top), (right, bottom), (left, bottom)])
    turns = np.linspace(0, 2 * math.pi, 28, endpoint=False)
    middle, radius = points.mean(0), (points[1] - points[0]) / 2
    return middle + radius * np.stack([np.cos(turns), np.sin(turns)], axis=1)
