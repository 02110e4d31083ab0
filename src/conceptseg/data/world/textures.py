"""Procedural textures: grey tiles of eighteen families, later cropped, turned and coloured at will.

Three of the natural families and three of the surfaces are kept for `unseen_test`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import TypeAlias

import numpy as np
from jaxtyping import Float, Int
from PIL import Image
from scipy.spatial import cKDTree

from conceptseg.data.world.dice import between, generator
from conceptseg.data.world.noise import fractal, smooth, to_uint8, unit
from conceptseg.data.world.sprites import check_split

__all__ = ["NATURAL", "SURFACES", "TILE_PX", "VARIANTS", "families_of", "texture_tile"]

TILE_PX = 320
"""Side of a tile; a picture shows a crop of it."""
VARIANTS = 6
"""Different tiles per family."""

Field: TypeAlias = Float[np.ndarray, "side side"]
_Maker: TypeAlias = Callable[[np.random.Generator, Field, Field], Field]


@lru_cache(maxsize=256)
def texture_tile(family: str, variant: int) -> Image.Image:
    """The grey tile (mode L, `TILE_PX` square) of a family's variant; always the same one."""
    rng = generator("texture", family, variant)
    y, x = np.mgrid[0:TILE_PX, 0:TILE_PX].astype(np.float32) / TILE_PX
    maker, _ = (NATURAL | SURFACES)[family]
    return Image.fromarray(to_uint8(unit(maker(rng, x, y))))


@lru_cache(maxsize=16)
def families_of(split: str, surfaces: bool = False) -> tuple[str, ...]:
    """Texture families shown in a split: the natural ones, or the regular manufactured surfaces."""
    side = "unseen" if check_split(split) == "unseen_test" else "train"
    return tuple(name for name, (_, where) in (SURFACES if surfaces else NATURAL).items() if where == side)


def _field(rng: np.random.Generator, cells: float, octaves: int = 4) -> Field:
    return fractal(rng, (TILE_PX, TILE_PX), (cells, cells), octaves)


def _warped(rng: np.random.Generator, axis: Field, strength: float) -> Field:
    return axis + strength * (_field(rng, 3, 3) - 0.5)


def _cloud(rng: np.random.Generator, x: Field, y: Field) -> Field:
    return _field(rng, between(rng, 3, 6), 5)


def _sand(rng: np.random.Generator, x: Field, y: Field) -> Field:
    return _field(rng, 60, 2) + 0.5 * _field(rng, 4)


def _marble(rng: np.random.Generator, x: Field, y: Field) -> Field:
    veins = np.abs(np.sin(between(rng, 10, 18) * (x + 0.7 * y) + 9 * _field(rng, 3, 5)))
    return veins**0.5


def _wood(rng: np.random.Generator, x: Field, y: Field) -> Field:
    rings = np.sin(between(rng, 60, 100) * _warped(rng, x, 0.25))
    return rings + 1.2 * fractal(rng, x.shape, (4, 90), 3)


def _distances(
    rng: np.random.Generator, count: int, x: Field, y: Field
) -> tuple[Field, Field, Int[np.ndarray, "side side"]]:
    """Distance to the nearest and second nearest of `count` random points, and which one is nearest."""
    points = rng.random((count, 2), dtype=np.float32) * 1.2 - 0.1
    near, which = cKDTree(points).query(np.stack([x, y], axis=-1).reshape(-1, 2), k=2)
    first, second = near.astype(np.float32).reshape(*x.shape, 2).transpose(2, 0, 1)
    return first, second, which[:, 0].reshape(x.shape)


def _pebbles(rng: np.random.Generator, x: Field, y: Field) -> Field:
    count = int(between(rng, 200, 500))
    first, second, which = _distances(rng, count, _warped(rng, x, 0.06), _warped(rng, y, 0.06))
    shade = rng.random(count).astype(np.float32)[which]
    return np.minimum((second - first) * 40, 1) * (0.6 + 0.5 * shade) - first * 4


def _cracks(rng: np.random.Generator, x: Field, y: Field) -> Field:
    first, second, _ = _distances(rng, int(between(rng, 60, 140)), _warped(rng, x, 0.1), _warped(rng, y, 0.1))
    return np.minimum((second - first) * 30, 1) + 0.5 * _field(rng, 12)


def _scales(rng: np.random.Generator, x: Field, y: Field) -> Field:
    rows = between(rng, 14, 24)
    row = np.floor(y * rows)
    u = (x * rows + 0.5 * (row % 2)) % 1.0 - 0.5
    v = y * rows - row
    return 1 - np.sqrt(u**2 + (v - 0.2) ** 2) + 0.5 * _field(rng, 6)


def _grass(rng: np.random.Generator, x: Field, y: Field) -> Field:
    blades = fractal(rng, x.shape, (14, 90), 3)
    sheared = np.stack([np.roll(row, i // 5) for i, row in enumerate(blades)])
    return np.maximum(blades, sheared) + 0.3 * _field(rng, 5)


def _leaves(rng: np.random.Generator, x: Field, y: Field) -> Field:
    out = np.zeros_like(x)
    centres, turns = rng.random((420, 2)), rng.random((420, 2))
    side = TILE_PX
    for (cx, cy), (turn, shade) in zip(centres, turns, strict=True):
        x0, y0 = int(cx * (side - 34)), int(cy * (side - 34))
        u, v = np.meshgrid(np.linspace(-1, 1, 34), np.linspace(-1, 1, 34))
        a = u * np.cos(turn * 6.3) + v * np.sin(turn * 6.3)
        b = -u * np.sin(turn * 6.3) + v * np.cos(turn * 6.3)
        leaf = (a**2 + (b * 2.4) ** 2) < 0.8
        patch = out[y0 : y0 + 34, x0 : x0 + 34]
        patch[leaf] = (0.35 + 0.65 * shade - 0.25 * np.exp(-60 * b**2) + 0.15 * a)[leaf]
    return out


def _blotches(rng: np.random.Generator, x: Field, y: Field) -> Field:
    levels = np.floor(_field(rng, between(rng, 5, 9), 3) * 4.5) / 4
    return levels + 0.06 * _field(rng, 50, 1)


def _ripples(rng: np.random.Generator, x: Field, y: Field) -> Field:
    return np.sin(between(rng, 45, 80) * (_warped(rng, y, 0.22) + 0.3 * x)) + 0.5 * _field(rng, 40, 2)


def _fur(rng: np.random.Generator, x: Field, y: Field) -> Field:
    return fractal(rng, x.shape, (8, 110), 2) + 0.7 * fractal(rng, x.shape, (30, 60), 2)


def _weave(rng: np.random.Generator, x: Field, y: Field) -> Field:
    n = round(between(rng, 16, 26))
    over = (np.floor(x * n) + np.floor(y * n)) % 2
    across, down = np.abs(np.sin(np.pi * n * y)), np.abs(np.sin(np.pi * n * x))
    return np.where(over > 0, 0.35 + 0.65 * across, 0.2 + 0.6 * down) + 0.08 * _field(rng, 80, 1)


def _brushed(rng: np.random.Generator, x: Field, y: Field) -> Field:
    return fractal(rng, x.shape, (110, 5), 2) + 0.6 * smooth(rng, x.shape, (2, 2))


def _tiles(rng: np.random.Generator, x: Field, y: Field) -> Field:
    n = round(between(rng, 9, 15))
    u, v = x * n % 1.0, y * n % 1.0
    edge = np.minimum(np.minimum(u, 1 - u), np.minimum(v, 1 - v))
    shade = rng.random((n, n)).astype(np.float32)
    cell = shade[np.floor(y * n).astype(int), np.floor(x * n).astype(int)]
    return np.minimum(edge * 12, 1) * (0.75 + 0.12 * cell) + 0.08 * _field(rng, 40, 2)


def _bricks(rng: np.random.Generator, x: Field, y: Field) -> Field:
    n = round(between(rng, 12, 18))
    row = np.floor(y * n)
    u, v = (x * n / 2 + 0.5 * (row % 2)) % 1.0, y * n - row
    edge = np.minimum(np.minimum(u, 1 - u) * 2, np.minimum(v, 1 - v))
    return np.minimum(edge * 9, 1) * 0.8 + 0.25 * _field(rng, 30, 2)


def _knurl(rng: np.random.Generator, x: Field, y: Field) -> Field:
    n = between(rng, 50, 85)
    return np.maximum(np.sin(n * (x + y)), np.sin(n * (x - y))) + 0.15 * _field(rng, 60, 1)


def _perforated(rng: np.random.Generator, x: Field, y: Field) -> Field:
    n = round(between(rng, 14, 22))
    u, v = x * n % 1.0 - 0.5, y * n % 1.0 - 0.5
    return np.clip((np.hypot(u, v) - 0.27) * 8, 0, 1) + 0.15 * fractal(rng, x.shape, (60, 4), 2)


def _corduroy(rng: np.random.Generator, x: Field, y: Field) -> Field:
    return np.sin(between(rng, 70, 130) * x) + 0.35 * _field(rng, 70, 2)


def _planks(rng: np.random.Generator, x: Field, y: Field) -> Field:
    n = round(between(rng, 7, 11))
    v = x * n % 1.0
    grain = fractal(rng, x.shape, (5, 100), 3)
    shade = rng.random(n + 1).astype(np.float32)[np.floor(x * n).astype(int)]
    return np.minimum(np.minimum(v, 1 - v) * 16, 1) * (0.5 + 0.3 * shade) + 0.35 * grain


NATURAL: dict[str, tuple[_Maker, str]] = {
    "cloud": (_cloud, "train"),
    "sand": (_sand, "train"),
    "wood": (_wood, "train"),
    "pebbles": (_pebbles, "train"),
    "grass": (_grass, "train"),
    "leaves": (_leaves, "train"),
    "blotches": (_blotches, "train"),
    "ripples": (_ripples, "train"),
    "marble": (_marble, "unseen"),
    "cracks": (_cracks, "unseen"),
    "scales": (_scales, "unseen"),
    "fur": (_fur, "unseen"),
}
"""Family → (its maker, `train` or `unseen`): textures of nature, for backgrounds and camouflage."""

SURFACES: dict[str, tuple[_Maker, str]] = {
    "weave": (_weave, "train"),
    "brushed metal": (_brushed, "train"),
    "tiles": (_tiles, "train"),
    "knurl": (_knurl, "train"),
    "corduroy": (_corduroy, "train"),
    "bricks": (_bricks, "unseen"),
    "perforated metal": (_perforated, "unseen"),
    "planks": (_planks, "unseen"),
}
"""The same for regular manufactured surfaces, whose breaks are defects; they serve as backgrounds too."""
