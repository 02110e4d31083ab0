"""The logical_rationality task: a need in words, and the thing in the picture that serves it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from conceptseg.data.world.dice import between, pick, some
from conceptseg.data.world.scenes import clutter, scatter, sprite_look, stage_of
from conceptseg.data.world.sprites import all_sprites
from conceptseg.data.world.studio import Studio
from conceptseg.data.world.tasks import Picture, Task, Theme, picture_of

__all__ = ["LOGICAL_RATIONALITY", "NEEDS"]

_SEEN = ("train", "seen_test")
_UNSEEN = ("unseen_test",)
_ALL = (*_SEEN, *_UNSEEN)

NEEDS: dict[str, tuple[frozenset[str], tuple[str, ...]]] = {
    need: (frozenset(names.split(", ")), splits)
    for need, names, splits in (
        ("something to drink from", "cup, wine glass, mug, baby bottle, milk, teapot", _ALL),
        ("something to keep the rain off", "umbrella, tent, house", _SEEN),
        ("something to cut with", "knife, scissors, saw, axe, sword", _SEEN),
        ("something to wear on the head", "top hat, cap, crown", _SEEN),
        ("something to walk in", "shoe, boot, socks", _SEEN),
        ("something that gives light", "candle, flashlight, light bulb, lantern", _SEEN),
        ("something to sit on", "chair, couch", _SEEN),
        ("something to tell the time by", "clock, watch, hourglass", _SEEN),
        ("something to make music with", "guitar, drum, trumpet, violin, bell, saxophone, accordion", _ALL),
        ("something to fly in", "airplane, helicopter, rocket, flying saucer", _SEEN),
        ("something to drive on the road", "car, bus, truck, bicycle, taxi, police car, jeep", _SEEN),
        ("something to carry things in", "backpack, suitcase, bucket, gift, basket, handbag, toolbox", _ALL),
        ("something to read", "book, green book, blue book, orange book, envelope", _SEEN),
        ("something to work wood with", "hammer, saw, axe, screwdriver", _SEEN),
        ("something that can fly by itself", "butterfly, bee, owl, parrot, duck, ladybug, swan, flamingo", _ALL),
        ("something that lives in the sea", "whale, octopus, crab, shark, fish, dolphin, lobster, jellyfish", _ALL),
        ("something sweet from the bakery", "cake, donut, cookie, croissant", _ALL),
        ("something to keep warm with", "coat, scarf, socks", _UNSEEN),
        ("something to cross the water with", "canoe, ship", _UNSEEN),
        (
            "something to play with",
            "yo-yo, kite, basketball, baseball, volleyball, football, pinata, skateboard",
            _UNSEEN,
        ),
        ("something to listen to", "radio, headphones, saxophone, accordion", _UNSEEN),
    )
}
"""Need → (names of what serves it, the splits that ask for it)."""

_RULE = "Segment the thing that serves the need: {need}."


def _theme(rng: np.random.Generator, studio: Studio) -> Theme:
    need = pick(rng, [need for need, (_, splits) in NEEDS.items() if studio.split in splits])
    return Theme(need, _RULE.format(need=need), "useful thing", need, {"need": need})


def _draw(theme: Theme, rng: np.random.Generator, studio: Studio, side: int, reference: int | None) -> Picture:
    """One thing that serves the need among things that do not."""
    serving = NEEDS[theme.parts["need"]][0]
    chosen = pick(rng, sorted(serving & studio.sprites.keys()))
    useless = [sprite.name for sprite in studio.common if sprite.name not in serving]
    rest = some(rng, useless, int(rng.integers(2, 5)) if reference is None else int(rng.integers(1, 3)))
    names = some(rng, [chosen, *rest], 9)
    low, high = (0.24, 0.42) if reference is None else (0.34, 0.52)
    sizes = [between(rng, low, high) for _ in names]
    behind = clutter(rng, studio, 2)
    things = behind + scatter(rng, [sprite_look(rng, name) for name in names], sizes, gap=0.92)
    rendered = studio.render(stage_of(rng, studio, things), side)
    return picture_of(rendered, len(behind) + names.index(chosen), answer=chosen)


def _texts() -> Iterator[str]:
    yield "useful thing"
    yield from (sprite.name for sprite in all_sprites())
    for need in NEEDS:
        yield from (need, _RULE.format(need=need))


LOGICAL_RATIONALITY = Task(_theme, _draw, _texts)
"""The leaf task logical_rationality."""
