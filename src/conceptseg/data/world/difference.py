"""Difference tasks: what is not as in the other pictures.

All pictures of an episode show one scene, and in each a single thing has been added, replaced or moved; the mask marks
it. So the references are views of the same scene (each with a change of its own, marked), and a reference whose mask
is withheld can be checked by comparing it with the others. In view_difference the camera has moved as well.

The paper takes these tasks from Static and View Difference Grounding (Appendix A); it does not say what the references
of an episode look like. This is our definition.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from conceptseg.data.world.dice import between, chance, pick, some
from conceptseg.data.world.scenes import others, place, scatter, sprite_look, stage_of
from conceptseg.data.world.sprites import all_sprites
from conceptseg.data.world.stage import Camera, Stage, random_finish, spread
from conceptseg.data.world.studio import Studio
from conceptseg.data.world.tasks import Picture, Task, Theme, picture_of

__all__ = ["DIFFERENCE_TASKS", "change"]

_STATIC_RULE = "Segment the one thing that is not as in the other pictures of this scene."
_VIEW_RULE = "Segment the one thing that is not as in the other views of this scene."
_INSET = 0.08
"""Border of a scene that a camera may miss."""
_CHANGES = ("added", "replaced", "moved")


def change(rng: np.random.Generator, studio: Studio, base: Stage, inset: float = 0.0) -> tuple[Stage, int, str]:
    """The stage with one change, the number of the changed thing, and a noun phrase for it."""
    action = pick(rng, _CHANGES)
    number = int(rng.integers(len(base.things)))
    old = base.things[number]
    taken = [(thing.x, thing.y, thing.size) for thing in base.things]
    fresh = others(rng, studio, 1, [studio.sprites[thing.look.name] for thing in base.things])[0].name
    if action == "moved":
        moved = old.moved(*spread(rng, [old.size], 1.0, taken, inset)[0])
        return base.with_thing(number, moved), number, f"moved {old.look.name}"
    if action == "replaced":
        return base.with_thing(number, replace(old, look=sprite_look(rng, fresh))), number, f"replaced {fresh}"
    size = between(rng, 0.22, 0.32)
    new = place(rng, sprite_look(rng, fresh), *spread(rng, [size], 1.0, taken, inset)[0], size)
    return replace(base, things=(*base.things, new)), len(base.things), f"added {fresh}"


def _theme(concept: str, rule: str) -> Theme:
    return Theme(concept, rule, "changed object", "scene")


def _static_theme(rng: np.random.Generator, studio: Studio) -> Theme:
    return replace(_theme("what changed", _STATIC_RULE), parts={"base": _base_scene(rng, studio, 0.0)})


def _view_theme(rng: np.random.Generator, studio: Studio) -> Theme:
    return replace(_theme("what changed", _VIEW_RULE), parts={"base": _base_scene(rng, studio, _INSET)})


def _base_scene(rng: np.random.Generator, studio: Studio, inset: float) -> Stage:
    """Three or four different things with room for one more."""
    sprites = some(rng, studio.common, int(rng.integers(3, 5)))
    sizes = [between(rng, 0.22, 0.34) for _ in sprites]
    things = scatter(rng, [sprite_look(rng, sprite.name) for sprite in sprites], sizes, 1.05, inset)
    return stage_of(rng, studio, things)


def _draw_static(theme: Theme, rng: np.random.Generator, studio: Studio, side: int, reference: int | None) -> Picture:
    """The scene with one change, from where it always stood; only the noise is new."""
    stage, number, answer = change(rng, studio, theme.parts["base"])
    finish = replace(stage.finish, noise=random_finish(rng).noise, noise_at=(rng.random(), rng.random()))
    return picture_of(studio.render(replace(stage, finish=finish), side), number, answer=answer)


def _draw_view(theme: Theme, rng: np.random.Generator, studio: Studio, side: int, reference: int | None) -> Picture:
    """The scene with one change, seen from elsewhere in another light."""
    stage, number, answer = change(rng, studio, theme.parts["base"], _INSET)
    stage = replace(stage, finish=random_finish(rng), camera=_camera(rng))
    return picture_of(studio.render(stage, side), number, answer=answer)


def _camera(rng: np.random.Generator) -> Camera:
    """A part of the scene, from 80 to 97 % as wide, seen a little from one side."""
    width = between(rng, 0.8, 0.97)
    left, top = between(rng, 0, 1 - width), between(rng, 0, 1 - width)
    dip = between(rng, 0.0, 0.16) * width
    near_left = chance(rng, 0.5)
    a, b = (0.0, dip) if near_left else (dip, 0.0)
    return (
        (left, top + a),
        (left, top + width - a),
        (left + width, top + width - b),
        (left + width, top + b),
    )


def _texts(rule: str) -> Iterator[str]:
    yield from ("what changed", "changed object", rule)
    yield from (f"{action} {sprite.name}" for action in _CHANGES for sprite in all_sprites())


DIFFERENCE_TASKS: dict[str, Task] = {
    "static_difference": Task(_static_theme, _draw_static, lambda: _texts(_STATIC_RULE)),
    "view_difference": Task(_view_theme, _draw_view, lambda: _texts(_VIEW_RULE)),
}
"""Leaf task → how it is made."""
