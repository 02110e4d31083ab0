"""Scenes of named objects, to learn names, presence and masks from (the open-vocabulary segmenter's lessons)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, UInt8

from conceptseg.data.world.dice import between, chance, pick
from conceptseg.data.world.scenes import clutter, scatter, shape_look, sprite_look, stage_of
from conceptseg.data.world.stage import Thing
from conceptseg.data.world.studio import Studio

__all__ = ["Scene", "SceneObject", "draw_scene", "draw_shapes"]


@dataclass(frozen=True, eq=False)
class SceneObject:
    """A named object in a scene."""

    name: str
    mask: Bool[np.ndarray, "h w"]
    """Its visible pixels."""
    visible: float
    """Visible part of its whole area, 0 to 1."""


@dataclass(frozen=True, eq=False)
class Scene:
    """A picture with named objects; two objects may have the same name."""

    image: UInt8[np.ndarray, "h w 3"]
    objects: tuple[SceneObject, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The names present, each once, sorted."""
        return tuple(sorted({thing.name for thing in self.objects}))

    def mask_of(self, name: str) -> Bool[np.ndarray, "h w"]:
        """Pixels of all objects of that name; empty if there is none."""
        mask = np.zeros(self.image.shape[:2], dtype=bool)
        for thing in self.objects:
            if thing.name == name:
                mask |= thing.mask
        return mask


def draw_scene(rng: np.random.Generator, studio: Studio, side: int) -> Scene:
    """One to four named objects, two of them sometimes of one name, on a backdrop with clutter."""
    sprites = [*studio.sprites.values()]
    chosen = [pick(rng, sprites) for _ in range(int(rng.integers(1, 5)))]
    if len(chosen) > 1 and chance(rng, 0.2):
        chosen[1] = chosen[0]
    sizes = [between(rng, 0.2, 0.66 - 0.09 * len(chosen)) for _ in chosen]
    behind = clutter(rng, studio)
    looks = [sprite_look(rng, sprite.name) for sprite in chosen]
    things = behind + scatter(rng, looks, sizes, gap=between(rng, 0.6, 1.0))
    return _scene_of(rng, studio, side, things, [sprite.name for sprite in chosen])


def draw_shapes(rng: np.random.Generator, studio: Studio, side: int) -> Scene:
    """One to four shapes, plain or patterned, named by colour and shape."""
    looks = [shape_look(rng, studio.split) for _ in range(int(rng.integers(1, 5)))]
    sizes = [between(rng, 0.24, 0.66 - 0.08 * len(looks)) for _ in looks]
    things = scatter(rng, looks, sizes, gap=0.95)
    return _scene_of(rng, studio, side, things, [f"{look.colour} {look.name}" for look in looks])


def _scene_of(rng: np.random.Generator, studio: Studio, side: int, things: list[Thing], names: Sequence[str]) -> Scene:
    """The scene of things of which the last ones have names."""
    rendered = studio.render(stage_of(rng, studio, things), side)
    objects = []
    for number, name in enumerate(names, start=len(things) - len(names)):
        mask = rendered.mask(number)
        whole = sum(studio.layer(things[number], side).getchannel("A").histogram()[128:])
        objects.append(SceneObject(name, mask, min(1.0, float(mask.sum()) / max(1, whole))))
    return Scene(rendered.image, tuple(objects))
