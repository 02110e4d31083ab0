"""Context-reasoning tasks (Appendix A, Eq. 12 and 13): the references carry the rule.

common_consistency: what do the marked things of the references share? Every target holds things that obey two rules,
so only the references tell which one is meant (`Theme.parts["which"]`).

static_difference: all pictures of an episode show one scene, each with a single thing changed; the mask marks the
changed thing. So every reference has a mask, and a withheld one can be checked by comparing it with the others.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from conceptseg.data.world.dice import between, chance, pick, some
from conceptseg.data.world.scenes import clutter, others, place, scatter, shape_look, sprite_look, stage_of
from conceptseg.data.world.shapes import COLOURS, SHAPES, colours_of, shapes_of
from conceptseg.data.world.sprites import all_sprites
from conceptseg.data.world.stage import Look, Stage, random_finish, spread
from conceptseg.data.world.studio import Studio
from conceptseg.data.world.tasks import Picture, Task, Theme, picture_of

__all__ = ["CR_TASKS", "Trait"]


@dataclass(frozen=True)
class Trait:
    """Something a thing can have: `kind` is what sort of property, `value` its word."""

    kind: str
    value: str

    def holds(self, look: Look, studio: Studio) -> bool:
        """Whether the look has it."""
        return self.value == trait_value(self.kind, look, studio)


def trait_value(kind: str, look: Look, studio: Studio) -> str | None:
    """The word for a property of a look: its name, colour, pattern or category; None if it has none."""
    if kind in ("kind", "shape"):
        return look.name
    if kind == "pattern":
        return look.pattern if look.is_shape else None
    sprite = studio.sprites.get(look.name) if not look.is_shape else None
    if kind == "colour":
        return look.colour if sprite is None else sprite.colour
    return sprite.category if sprite else "shape"


_RULES = {
    "kind": "Segment every {value}: that is what the marked things share.",
    "shape": "Segment every {value}: the marked things share their shape.",
    "colour": "Segment everything {value}: the marked things share their colour.",
    "pattern": "Segment everything {value}: the marked things share their pattern.",
    "category": "Segment every {value}: the marked things are all of that sort.",
}
_ANSWERS = {
    "kind": "{value}",
    "shape": "{value}",
    "colour": "{value} thing",
    "pattern": "{value} thing",
    "category": "{value}",
}
_DIFFERENCE_RULE = "Segment the one thing that is not as in the other pictures of this scene."
_CHANGES = ("added", "replaced", "moved")
_TEXTURED = ("striped", "dotted", "checked")
_PAIRS = {
    "train": (("kind", "kind"), ("shape", "colour")),
    "unseen_test": (("kind", "kind"), ("shape", "colour"), ("pattern", "colour"), ("category", "category")),
}


def _common_theme(rng: np.random.Generator, studio: Studio) -> Theme:
    kinds = pick(rng, _PAIRS["unseen_test" if studio.split == "unseen_test" else "train"])
    traits = _two_traits(rng, studio, kinds)
    return common_theme_of(traits, int(rng.integers(2)))


def common_theme_of(traits: tuple[Trait, Trait], which: int) -> Theme:
    """The theme whose references share `traits[which]` and whose target holds both traits."""
    trait = traits[which]
    return Theme(
        "common object",
        _RULES[trait.kind].format(value=trait.value),
        _ANSWERS[trait.kind].format(value=trait.value),
        f"{trait.kind} {trait.value}",
        {"traits": traits, "which": which},
    )


def _two_traits(rng: np.random.Generator, studio: Studio, kinds: tuple[str, str]) -> tuple[Trait, Trait]:
    first, second = kinds
    if first == "kind":
        one = pick(rng, studio.common)
        return Trait("kind", one.name), Trait("kind", others(rng, studio, 1, [one])[0].name)
    if first == "category":
        a, b = some(rng, sorted({sprite.category for sprite in studio.common}), 2)
        return Trait("category", a), Trait("category", b)
    value = pick(rng, shapes_of(studio.split)) if first == "shape" else pick(rng, _TEXTURED)
    traits = Trait(first, value), Trait(second, pick(rng, colours_of(studio.split)))
    return traits if chance(rng, 0.5) else traits[::-1]


def _draw_common(theme: Theme, rng: np.random.Generator, studio: Studio, side: int, target: bool) -> Picture:
    """Things with the shared trait among things without it."""
    traits: tuple[Trait, Trait] = theme.parts["traits"]
    trait = traits[theme.parts["which"]]
    looks = _target_looks(rng, studio, traits) if target else _reference_looks(rng, studio, trait)
    low, high = (0.24, 0.42) if target else (0.34, 0.56)
    high -= 0.03 * (len(looks) - 2)
    sizes = [between(rng, low, max(high, low + 0.03)) for _ in looks]
    behind = clutter(rng, studio, 2) if trait.kind in ("kind", "category") else []
    things = behind + scatter(rng, looks, sizes, gap=0.95)
    numbers = [len(behind) + i for i, look in enumerate(looks) if trait.holds(look, studio)]
    return picture_of(studio.render(stage_of(rng, studio, things), side), *numbers)


def _target_looks(rng: np.random.Generator, studio: Studio, traits: tuple[Trait, Trait]) -> list[Look]:
    """At least one thing of each trait alone, and one or two of neither; at most five, in random order."""
    one, two = traits
    looks = [_look_with(rng, studio, one, two), _look_with(rng, studio, two, one)]
    for _ in range(int(rng.integers(0, 3))):
        wanted, unwanted = (one, two) if chance(rng, 0.5) else (two, one)
        looks.append(_look_with(rng, studio, wanted, unwanted))
    looks.append(_look_without(rng, studio, traits))
    return some(rng, looks, len(looks))


def _reference_looks(rng: np.random.Generator, studio: Studio, trait: Trait) -> list[Look]:
    wanted = [_look_with(rng, studio, trait, None) for _ in range(int(rng.integers(1, 3)))]
    rest = [_look_without(rng, studio, (trait, trait)) for _ in range(int(rng.integers(1, 3)))]
    return some(rng, wanted + rest, 4)


def _look_with(rng: np.random.Generator, studio: Studio, trait: Trait, without: Trait | None) -> Look:
    """A random look that has `trait` and, where given, not `without`."""
    for _ in range(30):
        look = _random_look(rng, studio, trait)
        if without is None or not without.holds(look, studio):
            break
    return look


def _look_without(rng: np.random.Generator, studio: Studio, traits: tuple[Trait, Trait]) -> Look:
    shapes = traits[0].kind not in ("kind", "category")
    for _ in range(30):
        look = shape_look(rng, studio.split) if shapes else sprite_look(rng, pick(rng, studio.common).name)
        if not any(trait.holds(look, studio) for trait in traits):
            break
    return look


def _random_look(rng: np.random.Generator, studio: Studio, trait: Trait) -> Look:
    if trait.kind == "kind":
        return sprite_look(rng, trait.value)
    if trait.kind == "category":
        return sprite_look(rng, pick(rng, [s.name for s in studio.common if s.category == trait.value]))
    pattern = trait.value if trait.kind == "pattern" else None
    shape = trait.value if trait.kind == "shape" else None
    colour = trait.value if trait.kind == "colour" else None
    return shape_look(rng, studio.split, shape, colour, pattern)


def _difference_theme(rng: np.random.Generator, studio: Studio) -> Theme:
    base = _base_scene(rng, studio)
    return Theme("what changed", _DIFFERENCE_RULE, "changed object", "scene", {"base": base})


def _base_scene(rng: np.random.Generator, studio: Studio) -> Stage:
    """Three or four different things with room for one more."""
    sprites = some(rng, studio.common, int(rng.integers(3, 5)))
    sizes = [between(rng, 0.22, 0.34) for _ in sprites]
    things = scatter(rng, [sprite_look(rng, s.name) for s in sprites], sizes, gap=1.05)
    return stage_of(rng, studio, things)


def _draw_difference(theme: Theme, rng: np.random.Generator, studio: Studio, side: int, target: bool) -> Picture:
    """The scene with one thing added, replaced or moved."""
    stage, number, answer = change(rng, studio, theme.parts["base"])
    stage = replace(stage, finish=replace(stage.finish, noise=random_finish(rng).noise))
    return picture_of(studio.render(stage, side), number, answer=answer)


def change(rng: np.random.Generator, studio: Studio, base: Stage) -> tuple[Stage, int, str]:
    """The stage with one change, the number of the changed thing, and a noun phrase for it."""
    number = int(rng.integers(len(base.things)))
    old = base.things[number]
    action = pick(rng, _CHANGES)
    taken = [(t.x, t.y, t.size) for t in base.things]
    known = [studio.sprites[t.look.name] for t in base.things if not t.look.is_shape]
    fresh = others(rng, studio, 1, known)[0]
    if action == "replaced":
        new = replace(old, look=sprite_look(rng, fresh.name))
    elif action == "moved":
        new = old.moved(*spread(rng, [old.size], 1.0, taken)[0])
        fresh = studio.sprites[old.look.name]
    else:
        size = between(rng, 0.22, 0.32)
        new = place(rng, sprite_look(rng, fresh.name), *spread(rng, [size], 1.0, taken)[0], size)
        return replace(base, things=(*base.things, new)), len(base.things), f"{action} {fresh.name}"
    return base.with_thing(number, new), number, f"{action} {fresh.name}"


def _common_texts() -> Iterator[str]:
    names = [sprite.name for sprite in all_sprites()]
    categories = sorted({sprite.category for sprite in all_sprites()})
    values = {"kind": names, "shape": SHAPES, "colour": COLOURS, "pattern": _TEXTURED, "category": categories}
    yield "common object"
    for kind, words in values.items():
        for word in words:
            yield from (_RULES[kind].format(value=word), _ANSWERS[kind].format(value=word))


def _difference_texts() -> Iterator[str]:
    yield from ("what changed", "changed object", _DIFFERENCE_RULE)
    yield from (f"{change} {sprite.name}" for change in _CHANGES for sprite in all_sprites())


CR_TASKS: dict[str, Task] = {
    "common_consistency": Task(_common_theme, _draw_common, _common_texts),
    "static_difference": Task(_difference_theme, _draw_difference, _difference_texts),
}
"""Leaf task → how it is made."""
