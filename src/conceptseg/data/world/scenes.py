"""Scenes of several things on a backdrop: the stuff that most tasks are made of."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from conceptseg.data.world.dice import between, chance, pick, some
from conceptseg.data.world.shapes import PATTERNS, colours_of, shapes_of
from conceptseg.data.world.sprites import Sprite
from conceptseg.data.world.stage import Backdrop, Look, Stage, Thing, random_finish, spread, tone
from conceptseg.data.world.studio import Studio

__all__ = ["clutter", "others", "place", "scatter", "shape_look", "sprite_look", "stage_of"]


def sprite_look(rng: np.random.Generator, name: str, jitter: float = 1.0) -> Look:
    """A sprite with its colours slightly changed, as another individual of the same kind."""
    if not chance(rng, 0.7 * jitter):
        return Look(name)
    hue, saturation, gain = between(rng, -14, 14), between(rng, 0.75, 1.15), between(rng, 0.8, 1.15)
    return Look(name, tone=tone(hue * jitter, saturation, gain))


def shape_look(
    rng: np.random.Generator,
    split: str,
    shape: str | None = None,
    colour: str | None = None,
    pattern: str | None = None,
) -> Look:
    """A shape; what is not given is drawn from the split's shapes, colours and from all patterns."""
    return Look(
        shape or pick(rng, shapes_of(split)),
        colour or pick(rng, colours_of(split)),
        pattern or pick(rng, PATTERNS),
    )


def place(rng: np.random.Generator, look: Look, x: float, y: float, size: float) -> Thing:
    """The look somewhere, turned by up to 18 degrees and, for sprites, perhaps mirrored."""
    return Thing(
        look,
        x,
        y,
        size,
        angle=between(rng, -18, 18) if chance(rng, 0.6) else 0.0,
        flip=look.colour is None and chance(rng, 0.5),
        grounded=chance(rng, 0.6),
    )


def scatter(
    rng: np.random.Generator, looks: Sequence[Look], sizes: Sequence[float], gap: float = 0.85, inset: float = 0.0
) -> list[Thing]:
    """The looks at random places that keep apart; the first is drawn first (farthest back)."""
    centres = spread(rng, sizes, gap, inset=inset)
    return [place(rng, look, x, y, size) for look, size, (x, y) in zip(looks, sizes, centres, strict=True)]


def clutter(rng: np.random.Generator, studio: Studio, most: int = 4) -> list[Thing]:
    """Up to `most` small plain shapes of dull colours, to lie about behind the things that matter."""
    things = []
    for _ in range(int(rng.integers(most + 1))):
        look = shape_look(rng, studio.split)
        dull = tone(saturation=between(rng, 0.2, 0.7), gain=between(rng, 0.6, 1.0))
        look = Look(look.name, look.colour, look.pattern, dull)
        things.append(Thing(look, rng.random(), rng.random(), between(rng, 0.05, 0.13), between(rng, 0, 360)))
    return things


def stage_of(
    rng: np.random.Generator, studio: Studio, things: Sequence[Thing], backdrop: Backdrop | None = None
) -> Stage:
    """The things on a backdrop (a random one unless given), with a random finish."""
    return Stage(backdrop or studio.random_backdrop(rng), tuple(things), random_finish(rng))


def others(rng: np.random.Generator, studio: Studio, count: int, without: Sequence[Sprite]) -> list[Sprite]:
    """`count` different common sprites that are none of `without` nor of their families."""
    families = {sprite.family for sprite in without if sprite.family} | {sprite.name for sprite in without}
    pool = [s for s in studio.common if s.name not in families and s.family not in families]
    return some(rng, pool, count)
