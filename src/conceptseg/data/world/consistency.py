"""Consistency tasks (Appendix A, Eq. 12 and 13): the references carry the rule.

common_consistency: what do the marked things of the references share? Every target holds things that obey two rules,
so only the references tell which one is meant; the other rule is the theme's rival.

correspondence_consistency: the marked part plays the same role in bodies of other colours, sizes and poses; another
part of the same target is the rival.

reference_consistency: one individual, known by its kind, its colours and the badge on it, among others of its kind.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from PIL import Image

from conceptseg.data.world.bodies import BODIES, draw_body, parts_of
from conceptseg.data.world.dice import between, chance, pick, some
from conceptseg.data.world.scenes import clutter, others, scatter, shape_look, sprite_look, stage_of
from conceptseg.data.world.shapes import COLOURS, PATTERNS, SHAPES, colours_of, shapes_of
from conceptseg.data.world.sprites import Sprite, all_sprites, sprites_of
from conceptseg.data.world.stage import Look, random_finish, tone
from conceptseg.data.world.studio import Studio
from conceptseg.data.world.tasks import Picture, Task, Theme, picture_of

__all__ = ["CONSISTENCY_TASKS", "Trait", "with_rival"]

_COMMON_RULES = {
    "kind": "Segment every {value}: that is what the marked things share.",
    "shape": "Segment every {value}: the marked things share their shape.",
    "colour": "Segment everything {value}: the marked things share their colour.",
    "tint": "Segment everything {value}: the marked things share their colour.",
    "pattern": "Segment everything {value}: the marked things share their pattern.",
    "category": "Segment every {value}: the marked things are all of that sort.",
}
_COMMON_ANSWERS = dict.fromkeys(("kind", "shape", "category"), "{value}") | dict.fromkeys(
    ("colour", "tint", "pattern"), "{value} thing"
)
_CORRESPONDENCE_RULE = "Segment the part with the same role as the marked ones: the {part}."
_REFERENCE_RULE = "Segment the very thing that is marked: the one with the {colour} {shape} on it."
_ON_SPRITES = ("kind", "tint", "category")
_SEEN_PAIRS = (("kind", "kind"), ("shape", "colour"))
_UNSEEN_PAIRS = (*_SEEN_PAIRS, ("pattern", "colour"), ("category", "category"), ("tint", "tint"))


@dataclass(frozen=True)
class Trait:
    """Something that things can have in common."""

    kind: str
    """kind, tint or category of a sprite; shape, colour or pattern of a shape."""
    value: str
    """Its word, such as dog, red or striped."""

    def of(self, look: Look, studio: Studio) -> str | None:
        """The word that a look has for this kind of trait; None if it has none."""
        if self.kind in ("kind", "shape"):
            return look.name
        if self.kind in ("colour", "pattern"):
            return look.colour if self.kind == "colour" else look.pattern
        sprite = studio.sprites[look.name]
        return sprite.colour if self.kind == "tint" else sprite.category

    def holds(self, look: Look, studio: Studio) -> bool:
        """Whether the look has this trait."""
        return self.of(look, studio) == self.value


def with_rival(one: Theme, two: Theme, swap: bool) -> Theme:
    """One of the two themes with the other as its rival."""
    return replace(two, rival=one) if swap else replace(one, rival=two)


def _common_theme(rng: np.random.Generator, studio: Studio) -> Theme:
    kinds = pick(rng, _UNSEEN_PAIRS if studio.split == "unseen_test" else _SEEN_PAIRS)
    traits = _two_traits(rng, studio, kinds)
    return with_rival(_theme_of(traits, 0), _theme_of(traits, 1), swap=chance(rng, 0.5))


def _theme_of(traits: tuple[Trait, Trait], which: int) -> Theme:
    trait = traits[which]
    return Theme(
        "common object",
        _COMMON_RULES[trait.kind].format(value=trait.value),
        _COMMON_ANSWERS[trait.kind].format(value=trait.value),
        f"{trait.kind} {trait.value}",
        {"traits": traits, "which": which},
    )


def _two_traits(rng: np.random.Generator, studio: Studio, kinds: tuple[str, str]) -> tuple[Trait, Trait]:
    first, second = (pick(rng, _values(studio, kind)) for kind in kinds)
    while first == second:
        second = pick(rng, _values(studio, kinds[1]))
    return Trait(kinds[0], first), Trait(kinds[1], second)


def _values(studio: Studio, kind: str) -> Sequence[str]:
    """The words a kind of trait can have in the split; of tints and categories, those that two sprites share."""
    if kind == "kind":
        return [sprite.name for sprite in studio.common]
    if kind == "shape":
        return shapes_of(studio.split)
    if kind == "colour":
        return colours_of(studio.split)
    if kind == "pattern":
        return PATTERNS[1:]
    words = [sprite.colour if kind == "tint" else sprite.category for sprite in studio.common]
    return sorted({word for word in words if word and words.count(word) > 1})


def _draw_common(theme: Theme, rng: np.random.Generator, studio: Studio, side: int, reference: int | None) -> Picture:
    """Things with the shared trait among things without it."""
    traits: tuple[Trait, Trait] = theme.parts["traits"]
    trait, other = traits[theme.parts["which"]], traits[1 - theme.parts["which"]]
    is_target = reference is None
    looks = _target_looks(rng, studio, traits) if is_target else _reference_looks(rng, studio, trait)
    low, high = (0.24, 0.42) if is_target else (0.34, 0.56)
    sizes = [between(rng, low, max(high - 0.03 * (len(looks) - 2), low + 0.03)) for _ in looks]
    behind = clutter(rng, studio, 2) if trait.kind in _ON_SPRITES else []
    things = behind + scatter(rng, looks, sizes, gap=0.95)
    rendered = studio.render(stage_of(rng, studio, things), side)
    having = [[len(behind) + i for i, look in enumerate(looks) if t.holds(look, studio)] for t in (trait, other)]
    return Picture(
        rendered.image, rendered.mask(*having[0]), rival_mask=rendered.mask(*having[1]) if is_target else None
    )


def _target_looks(rng: np.random.Generator, studio: Studio, traits: tuple[Trait, Trait]) -> list[Look]:
    """A thing of each trait alone, up to two more of either, and one of neither, in random order."""
    one, two = traits
    looks = [_look_with(rng, studio, one, two), _look_with(rng, studio, two, one)]
    for _ in range(int(rng.integers(0, 3))):
        looks.append(_look_with(rng, studio, *((one, two) if chance(rng, 0.5) else (two, one))))
    looks.append(_look_without(rng, studio, traits))
    return some(rng, looks, len(looks))


def _reference_looks(rng: np.random.Generator, studio: Studio, trait: Trait) -> list[Look]:
    wanted = [_look_with(rng, studio, trait, None) for _ in range(int(rng.integers(1, 3)))]
    rest = [_look_without(rng, studio, (trait,)) for _ in range(int(rng.integers(1, 3)))]
    return some(rng, wanted + rest, 4)


def _look_with(rng: np.random.Generator, studio: Studio, trait: Trait, without: Trait | None) -> Look:
    """A random look that has `trait` and, where given, not `without`."""
    look = _random_look(rng, studio, trait)
    while without is not None and without.holds(look, studio):
        look = _random_look(rng, studio, trait)
    return look


def _look_without(rng: np.random.Generator, studio: Studio, traits: Sequence[Trait]) -> Look:
    """A random look that has none of the traits; where colours matter, a sprite of another named colour."""
    if traits[0].kind not in _ON_SPRITES:
        look = shape_look(rng, studio.split)
        while any(trait.holds(look, studio) for trait in traits):
            look = shape_look(rng, studio.split)
        return look
    pool = [sprite.name for sprite in studio.common if traits[0].kind != "tint" or sprite.colour]
    return sprite_look(rng, pick(rng, [n for n in pool if not any(t.holds(Look(n), studio) for t in traits)]))


def _random_look(rng: np.random.Generator, studio: Studio, trait: Trait) -> Look:
    if trait.kind in _ON_SPRITES:
        return sprite_look(rng, pick(rng, [s.name for s in studio.common if trait.holds(Look(s.name), studio)]))
    return shape_look(rng, studio.split, **{trait.kind: trait.value})


def _correspondence_theme(rng: np.random.Generator, studio: Studio) -> Theme:
    body = pick(rng, [name for name, (_, splits) in BODIES.items() if studio.split in splits])
    parts = some(rng, parts_of(body), 2)
    one, two = (
        Theme(
            "corresponding part",
            _CORRESPONDENCE_RULE.format(part=part),
            part,
            f"{body} {part}",
            {"body": body, "part": part, "other": other},
        )
        for part, other in (parts, parts[::-1])
    )
    return with_rival(one, two, swap=False)


def _draw_part(theme: Theme, rng: np.random.Generator, studio: Studio, side: int, reference: int | None) -> Picture:
    """A body of the theme's plan in new colours and pose; the mask is the part in question."""
    picture = studio.backdrop(studio.random_backdrop(rng), side)
    size = between(rng, 0.62, 0.92)
    x, y = between(rng, size * 0.45, 1 - size * 0.45), between(rng, size * 0.45, 1 - size * 0.45)
    layer, labels = draw_body(rng, theme.parts["body"], round(size * side))
    corner = (round(x * side - layer.width / 2), round(y * side - layer.height / 2))
    picture.paste(layer, corner, layer)
    canvas = Image.new("L", picture.size, 0)
    canvas.paste(labels, corner)
    numbers = np.asarray(canvas)
    parts = parts_of(theme.parts["body"])
    mask, rival = (numbers == 1 + parts.index(theme.parts[key]) for key in ("part", "other"))
    return Picture(studio.finish(picture, random_finish(rng)), mask, rival_mask=rival if reference is None else None)


def _reference_theme(rng: np.random.Generator, studio: Studio) -> Theme:
    name = pick(rng, _badged_names(studio.common))
    shape, colour = pick(rng, shapes_of(studio.split)), pick(rng, colours_of(studio.split))
    look = replace(_individual(rng, name), badge=(shape, colour))
    rule = _REFERENCE_RULE.format(colour=colour, shape=shape)
    return Theme("same individual", rule, f"{colour} {shape} {name}", name, {"look": look})


def _badged_names(sprites: Sequence[Sprite]) -> list[str]:
    """Sprites with room for a badge and a name of one word, so that the answer has three."""
    return [sprite.name for sprite in sprites if " " not in sprite.name and sprite.coverage >= 0.45]


def _individual(rng: np.random.Generator, name: str) -> Look:
    return Look(name, tone=tone(pick(rng, (-70, -35, 0, 35, 70, 140)), between(rng, 0.7, 1.1), between(rng, 0.85, 1.1)))


def _draw_individual(
    theme: Theme, rng: np.random.Generator, studio: Studio, side: int, reference: int | None
) -> Picture:
    """The individual among others of its kind with other badges or colours, and things of other kinds."""
    look: Look = theme.parts["look"]
    twins = []
    for _ in range(int(rng.integers(1, 3)) if reference is None else int(rng.integers(0, 2))):
        badge = (pick(rng, shapes_of(studio.split)), pick(rng, colours_of(studio.split)))
        if badge != look.badge:
            twins.append(replace(_individual(rng, look.name) if chance(rng, 0.5) else look, badge=badge))
    strangers = [sprite_look(rng, s.name) for s in others(rng, studio, 1, [studio.sprites[look.name]])]
    looks = some(rng, [look, *twins, *strangers], 9)
    low, high = (0.32, 0.46) if reference is None else (0.4, 0.56)
    things = scatter(rng, looks, [between(rng, low, high) for _ in looks], gap=0.95)
    return picture_of(studio.render(stage_of(rng, studio, things), side), looks.index(look))


def _common_texts() -> Iterator[str]:
    names = [sprite.name for sprite in all_sprites()]
    values = {
        "kind": names,
        "shape": SHAPES,
        "colour": COLOURS,
        "tint": sorted({sprite.colour for sprite in all_sprites() if sprite.colour}),
        "pattern": PATTERNS[1:],
        "category": sorted({sprite.category for sprite in all_sprites()}),
    }
    yield "common object"
    for kind, words in values.items():
        for word in words:
            yield from (_COMMON_RULES[kind].format(value=word), _COMMON_ANSWERS[kind].format(value=word))


def _correspondence_texts() -> Iterator[str]:
    yield "corresponding part"
    for part in {part for body in BODIES for part in parts_of(body)}:
        yield from (part, _CORRESPONDENCE_RULE.format(part=part))


def _reference_texts() -> Iterator[str]:
    yield "same individual"
    for split in ("train", "unseen_test"):
        for colour, shape in product(colours_of(split), shapes_of(split)):
            yield _REFERENCE_RULE.format(colour=colour, shape=shape)
            yield from (f"{colour} {shape} {name}" for name in _badged_names(sprites_of(split)))


CONSISTENCY_TASKS: dict[str, Task] = {
    "common_consistency": Task(_common_theme, _draw_common, _common_texts),
    "correspondence_consistency": Task(_correspondence_theme, _draw_part, _correspondence_texts),
    "reference_consistency": Task(_reference_theme, _draw_individual, _reference_texts),
}
"""Leaf task → how it is made."""
