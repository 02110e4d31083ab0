"""Irregular outlines: blobs, strokes and cracks, as masks with soft edges."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image, ImageDraw

from conceptseg.data.world.dice import between

__all__ = ["blob_mask", "crack_mask", "stroke_mask"]

_OVERSAMPLE = 2


def blob_mask(
    rng: np.random.Generator, side: int, x: float, y: float, radius: float, rough: float = 0.25, aspect: float = 1.0
) -> Image.Image:
    """A closed blob, mode L, `side` px square.

    Args:
        x: centre, like `y` and `radius` (half its longer axis) in units of the side.
        rough: how far its outline wanders from an ellipse, 0 to 0.5.
        aspect: shorter axis / longer axis.
    """
    turns = np.linspace(0, 2 * math.pi, 48, endpoint=False)
    waves = np.arange(2, 7)[:, None]
    wobble = (np.sin(waves * turns + rng.random((5, 1)) * 6.3) * rng.normal(0, 1, (5, 1)) / waves).sum(0)
    radii = radius * np.clip(1 + rough * wobble, 0.35, 1.6)
    lean = rng.random() * math.pi
    u, v = radii * np.cos(turns), aspect * radii * np.sin(turns)
    px = x + u * math.cos(lean) - v * math.sin(lean)
    py = y + u * math.sin(lean) + v * math.cos(lean)
    return _drawn(side, lambda pen, k: pen.polygon([*zip(px * k, py * k, strict=True)], fill=255))


def stroke_mask(rng: np.random.Generator, side: int, length: float, width: float) -> Image.Image:
    """A slightly bent stroke across the middle of the picture, mode L; lengths in units of the side."""
    lean, bend = rng.random() * math.pi, between(rng, -0.12, 0.12)
    along = np.linspace(-0.5, 0.5, 9)
    away = bend * (1 - (2 * along) ** 2)
    cx, cy = between(rng, 0.38, 0.62), between(rng, 0.38, 0.62)
    px = cx + length * (along * math.cos(lean) - away * math.sin(lean))
    py = cy + length * (along * math.sin(lean) + away * math.cos(lean))
    return _drawn(side, lambda pen, k: _thick_line(pen, [*zip(px * k, py * k, strict=True)], width * k))


def crack_mask(rng: np.random.Generator, side: int, length: float, width: float) -> Image.Image:
    """A jagged line with one branch, mode L; lengths in units of the side."""
    trunk = _walk(rng, between(rng, 0.3, 0.5), between(rng, 0.3, 0.5), rng.random() * 6.3, length, 8)
    fork = trunk[int(rng.integers(2, 6))]
    branch = _walk(rng, *fork, rng.random() * 6.3, length * 0.4, 4)

    def draw(pen: ImageDraw.ImageDraw, k: int) -> None:
        for path in (trunk, branch):
            _thick_line(pen, [(u * k, v * k) for u, v in path], width * k)

    return _drawn(side, draw)


def _walk(
    rng: np.random.Generator, x: float, y: float, heading: float, length: float, steps: int
) -> list[tuple[float, float]]:
    path = [(x, y)]
    for _ in range(steps):
        heading += rng.normal(0, 0.45)
        x, y = x + length / steps * math.cos(heading), y + length / steps * math.sin(heading)
        if not (0.05 < x < 0.95 and 0.05 < y < 0.95):
            heading, x, y = heading + math.pi / 2, min(max(x, 0.05), 0.95), min(max(y, 0.05), 0.95)
        path.append((x, y))
    return path


def _thick_line(pen: ImageDraw.ImageDraw, path: Sequence[tuple[float, float]], width_px: float) -> None:
    pen.line(path, fill=255, width=max(2, round(width_px)), joint="curve")


def _drawn(side: int, draw: Callable[[ImageDraw.ImageDraw, int], None]) -> Image.Image:
    large = side * _OVERSAMPLE
    mask = Image.new("L", (large, large), 0)
    draw(ImageDraw.Draw(mask), large)
    return mask.reduce(_OVERSAMPLE)
