"""Context-independent tasks (Appendix A, Eq. 10): things known by their looks alone.

The concept is a class name; the mask holds every visible instance of it among things of other classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from conceptseg.data.world.dice import between, chance, pick, some
from conceptseg.data.world.scenes import clutter, others, scatter, sprite_look, stage_of
from conceptseg.data.world.sprites import Sprite, all_sprites
from conceptseg.data.world.studio import Studio
from conceptseg.data.world.tasks import Picture, Task, Theme, picture_of

__all__ = ["CLASS_TASKS"]


def _living(rng: np.random.Generator, studio: Studio) -> Sprite:
    return pick(rng, [s for s in studio.common if s.kind == "living"])


def _artifact(rng: np.random.Generator, studio: Studio) -> Sprite:
    return pick(rng, [s for s in studio.common if s.kind == "artifact"])


def _fine(rng: np.random.Generator, studio: Studio) -> Sprite:
    return pick(rng, [s for s in studio.sprites.values() if s.family])


def _rare(rng: np.random.Generator, studio: Studio) -> Sprite:
    return pick(rng, [s for s in studio.sprites.values() if s.role == "rare"])


def _class_theme(
    choose: Callable[[np.random.Generator, Studio], Sprite], rule: str
) -> Callable[[np.random.Generator, Studio], Theme]:
    def theme(rng: np.random.Generator, studio: Studio) -> Theme:
        sprite = choose(rng, studio)
        return Theme(sprite.name, rule.format(name=sprite.name), sprite.name, sprite.name, {"sprite": sprite})

    return theme


def _draw_class(theme: Theme, rng: np.random.Generator, studio: Studio, side: int, reference: int | None) -> Picture:
    """One or two of the class among things of other classes."""
    sprite: Sprite = theme.parts["sprite"]
    count = 2 if chance(rng, 0.25 if reference is None else 0.1) else 1
    strangers = others(rng, studio, int(rng.integers(0, 4 if reference is None else 2)), [sprite])
    return _draw_among(rng, studio, side, [sprite] * count, strangers, large=reference is not None)


def _draw_fine(theme: Theme, rng: np.random.Generator, studio: Studio, side: int, reference: int | None) -> Picture:
    """One of the class beside its close relatives."""
    sprite: Sprite = theme.parts["sprite"]
    relatives = [s for s in studio.sprites.values() if s.family == sprite.family and s.name != sprite.name]
    count = int(rng.integers(1, 3)) if reference is None else int(rng.integers(0, 2))
    return _draw_among(rng, studio, side, [sprite], some(rng, relatives, count), large=reference is not None)


def _draw_among(
    rng: np.random.Generator, studio: Studio, side: int, wanted: list[Sprite], rest: list[Sprite], large: bool
) -> Picture:
    sprites = wanted + rest
    low, high = (0.35, 0.65) if large else (0.24, 0.56)
    crowd = 1.0 - 0.12 * (len(sprites) - 1)
    sizes = [between(rng, low, max(low + 0.04, high * crowd)) for _ in sprites]
    order = rng.permutation(len(sprites))
    looks = [sprite_look(rng, sprites[i].name) for i in order]
    behind = clutter(rng, studio)
    things = behind + scatter(rng, looks, [sizes[i] for i in order])
    numbers = [len(behind) + place for place, i in enumerate(order) if i < len(wanted)]
    return picture_of(studio.render(stage_of(rng, studio, things), side), *numbers)


def _class_task(
    choose: Callable[[np.random.Generator, Studio], Sprite], rule: str, draw: Callable[..., Picture] = _draw_class
) -> Task:
    def texts() -> Iterator[str]:
        for sprite in all_sprites():
            yield from (sprite.name, rule.format(name=sprite.name))

    return Task(_class_theme(choose, rule), draw, texts)


CLASS_TASKS: dict[str, Task] = {
    "living": _class_task(_living, "Segment every {name}, wherever it is."),
    "artifact": _class_task(_artifact, "Segment every {name}, wherever it is."),
    "fine_grained": _class_task(_fine, "Segment the {name}, not its look-alikes.", _draw_fine),
    "ultra_rare": _class_task(_rare, "Segment the rare {name} among common things."),
}
"""Leaf task → how it is made."""
