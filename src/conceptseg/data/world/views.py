"""Spatio-temporal tasks: the same thing from another side (cross_view), and the same thing later (cross_frame)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from PIL import Image

from conceptseg.data.world.dice import between, chance, pick
from conceptseg.data.world.scenes import others, sprite_look
from conceptseg.data.world.sprites import all_sprites
from conceptseg.data.world.stage import Backdrop, Look, Stage, Thing, random_finish, tone
from conceptseg.data.world.studio import Rendered, Studio
from conceptseg.data.world.tasks import Picture, Task, Theme

__all__ = ["VIEW_TASKS"]

_VIEW_RULE = "Segment the same {name} as in the other views of this scene."
_FRAME_RULE = "Segment the {name} that the earlier frames follow."
_HORIZON = 0.3


@dataclass(frozen=True)
class _Standing:
    """A thing on a turntable."""

    look: Look
    size: float
    radius: float
    bearing: float
    heading: float

    def seen(self, azimuth: float) -> tuple[float, Thing]:
        """Its nearness to the camera, and how it looks from there."""
        at, facing = self.bearing + azimuth, self.heading + azimuth
        near = self.radius * math.sin(at)
        thing = Thing(
            self.look,
            x=0.5 + self.radius * math.cos(at),
            y=0.6 + 0.5 * near,
            size=self.size * (1 + 0.7 * near),
            flip=math.cos(facing) < 0,
            view=(0.5 + 0.5 * abs(math.cos(facing)), 0.22 * math.sin(2 * facing)),
        )
        return near, thing


@dataclass(frozen=True)
class _Moving:
    """A thing with a velocity, growth and spin per frame."""

    look: Look
    at: tuple[float, float]
    velocity: tuple[float, float]
    size: float
    growth: float
    spin: float
    flip: bool

    def seen(self, time: float) -> Thing:
        """Where it is at a time, in frames; it turns back at the picture's border."""
        x, y = (_bounced(start + step * time) for start, step in zip(self.at, self.velocity, strict=True))
        size = self.size * self.growth**time
        return Thing(self.look, x, y, min(0.5, size), self.spin * time, self.flip, grounded=False)


_Cast: TypeAlias = list[Look]


def _bounced(value: float, low: float = 0.16, high: float = 0.84) -> float:
    """The value reflected into [low, high]."""
    span = high - low
    folded = (value - low) % (2 * span)
    return low + min(folded, 2 * span - folded)


def _cast(rng: np.random.Generator, studio: Studio, count: int) -> _Cast:
    """The hero first, then others; the second is often of the hero's kind in other colours."""
    hero = pick(rng, [sprite for sprite in studio.common if sprite.coverage >= 0.35])
    looks = [sprite_look(rng, hero.name)]
    if chance(rng, 0.6):
        looks.append(Look(hero.name, tone=tone(pick(rng, (-100, -60, 60, 100, 160)), between(rng, 0.7, 1.1))))
    looks += [sprite_look(rng, sprite.name) for sprite in others(rng, studio, count - len(looks), [hero])]
    return looks


def _view_theme(rng: np.random.Generator, studio: Studio) -> Theme:
    looks = _cast(rng, studio, int(rng.integers(3, 5)))
    spin = rng.random() * 2 * math.pi
    standing = [
        _Standing(
            look,
            size=between(rng, 0.28, 0.4),
            radius=between(rng, 0.22, 0.36),
            bearing=spin + 2 * math.pi * place / len(looks) + between(rng, -0.25, 0.25),
            heading=between(rng, -1.0, 1.0),
        )
        for place, look in enumerate(looks)
    ]
    walls = studio.random_view(rng, contrast=0.7), studio.random_view(rng, surface=chance(rng, 0.4))
    name = looks[0].name
    return Theme("same object", _VIEW_RULE.format(name=name), name, name, {"standing": standing, "walls": walls})


def _draw_view(theme: Theme, rng: np.random.Generator, studio: Studio, side: int, reference: int | None) -> Picture:
    """The turntable from a direction of its own: references a quarter turn apart, the target between two of them."""
    quarter = -0.5 if reference is None else float(reference)
    azimuth = math.pi / 2 * (quarter + between(rng, -0.3, 0.3))
    seen = sorted((*item.seen(azimuth), number) for number, item in enumerate(theme.parts["standing"]))
    views = tuple(replace(view, x=between(rng, 0, 1 - view.width)) for view in theme.parts["walls"])
    stage = Stage(Backdrop(views, edge=(_HORIZON, _HORIZON)), tuple(s[1] for s in seen), random_finish(rng))
    rendered = studio.render(stage, side)
    return Picture(rendered.image, rendered.mask([s[2] for s in seen].index(0)))


def _frame_theme(rng: np.random.Generator, studio: Studio) -> Theme:
    looks = _cast(rng, studio, int(rng.integers(2, 5)))
    moving = [_random_track(rng, look) for look in looks]
    occluder = Thing(
        sprite_look(rng, others(rng, studio, 1, [studio.sprites[look.name] for look in looks])[0].name),
        between(rng, 0.2, 0.8),
        between(rng, 0.3, 0.9),
        between(rng, 0.2, 0.3),
    )
    name = looks[0].name
    parts = {"moving": moving, "occluder": occluder, "view": studio.random_view(rng), "pan": between(rng, -0.02, 0.02)}
    return Theme("tracked object", _FRAME_RULE.format(name=name), name, name, parts)


def _random_track(rng: np.random.Generator, look: Look) -> _Moving:
    course, speed = rng.random() * 2 * math.pi, between(rng, 0.04, 0.11)
    return _Moving(
        look,
        at=(between(rng, 0.2, 0.8), between(rng, 0.2, 0.8)),
        velocity=(speed * math.cos(course), speed * math.sin(course)),
        size=between(rng, 0.28, 0.4),
        growth=between(rng, 0.94, 1.06),
        spin=between(rng, -9, 9),
        flip=math.cos(course) < 0,
    )


def _draw_frame(theme: Theme, rng: np.random.Generator, studio: Studio, side: int, reference: int | None) -> Picture:
    """The scene at one time, often a little smeared: reference k is frame k, the target comes after the fourth."""
    time = between(rng, 4.5, 6.0) if reference is None else float(reference) + between(rng, -0.2, 0.2)
    finish = random_finish(rng)
    picture, labels = _frame(theme, studio, side, time)
    if chance(rng, 0.4):
        for late in (0.12, -0.12):
            picture = Image.blend(picture, _frame(theme, studio, side, time + late)[0], 0.33)
    rendered = Rendered(studio.finish(picture, finish), np.asarray(labels))
    return Picture(rendered.image, rendered.mask(len(theme.parts["moving"]) - 1))


def _frame(theme: Theme, studio: Studio, side: int, time: float) -> tuple[Image.Image, Image.Image]:
    """Backdrop, the moving things with the hero in front of the others, and a standing thing before them all."""
    view, pan = theme.parts["view"], theme.parts["pan"]
    panned = replace(view, x=min(max(view.x + pan * time, 0.0), 1 - view.width))
    things = [track.seen(time) for track in theme.parts["moving"]][::-1]
    return studio.compose(Stage(Backdrop((panned,)), (*things, theme.parts["occluder"])), side)


def _texts(concept: str, rule: str) -> Callable[[], Iterator[str]]:
    def texts() -> Iterator[str]:
        yield concept
        for sprite in all_sprites():
            yield from (sprite.name, rule.format(name=sprite.name))

    return texts


VIEW_TASKS: dict[str, Task] = {
    "cross_view": Task(_view_theme, _draw_view, _texts("same object", _VIEW_RULE)),
    "cross_frame": Task(_frame_theme, _draw_frame, _texts("tracked object", _FRAME_RULE)),
}
"""Leaf task → how it is made."""
