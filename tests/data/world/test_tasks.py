"""What each task promises about its pictures, measured."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from conceptseg.data.world import WORLD_TASKS, ConceptWorld
from conceptseg.data.world.bodies import BODIES, draw_body, parts_of
from conceptseg.data.world.consistency import Trait
from conceptseg.data.world.defects import DEFECTS
from conceptseg.data.world.dice import generator
from conceptseg.data.world.difference import change
from conceptseg.data.world.needs import NEEDS
from conceptseg.data.world.optics import VESSELS, _put_glass
from conceptseg.data.world.sprites import all_sprites, sprites_of
from conceptseg.data.world.stage import Finish, Look, Stage
from conceptseg.data.world.studio import Studio
from conceptseg.data.world.views import _bounced


@pytest.fixture(scope="module")
def studio() -> Studio:
    return Studio("train")


@pytest.fixture(scope="module")
def world() -> ConceptWorld:
    return ConceptWorld(seed=8, size_px=112, references=1)


def ring_around(mask: np.ndarray) -> np.ndarray:
    """Pixels within eight of the mask but outside it."""
    grown = mask.copy()
    for _ in range(8):
        padded = np.pad(grown, 1)
        grown = grown | padded[:-2, 1:-1] | padded[2:, 1:-1] | padded[1:-1, :-2] | padded[1:-1, 2:]
    return grown & ~mask


def contrast(image: np.ndarray, mask: np.ndarray) -> float:
    """Distance of the mean colours inside and just outside."""
    return float(np.linalg.norm(image[mask].mean(0) - image[ring_around(mask)].mean(0)))


def test_salient_things_stand_out_and_camouflaged_ones_do_not(world: ConceptWorld):
    def median(task: str) -> float:
        samples = [world.sample(task, index) for index in range(25)]
        return float(np.median([contrast(sample.image, sample.mask) for sample in samples]))

    assert median("saliency") > 3 * median("camouflage")
    assert median("camouflage") < 25


@pytest.mark.parametrize("task", ["shadow", "breast_lesion", "skin_lesion"])
def test_what_is_dark_is_darker_than_what_surrounds_it(world: ConceptWorld, task: str):
    darker = 0
    for index in range(25):
        sample = world.sample(task, index)
        grey = sample.image.mean(-1)
        darker += grey[sample.mask].mean() < 0.92 * grey[ring_around(sample.mask)].mean()
    assert darker >= 23


def test_glass_shows_what_is_behind_it_and_touches_nothing_else(studio: Studio):
    behind = Image.fromarray(np.random.default_rng(0).integers(0, 256, (96, 96, 3), dtype=np.uint8))
    for name in VESSELS:
        picture = behind.copy()
        mask = _put_glass(generator(name), picture, name)
        before, after = np.asarray(behind), np.asarray(picture)
        assert np.array_equal(before[~mask], after[~mask])
        assert (before[mask] != after[mask]).any(-1).mean() > 0.8
        assert 0.05 < mask.mean() < 0.6


@pytest.mark.parametrize("word", DEFECTS)
def test_a_defect_changes_the_surface_where_its_mask_is(studio: Studio, word: str):
    damage, _ = DEFECTS[word]
    areas = []
    for index in range(6):
        rng = generator("defect", word, index)
        view = studio.random_view(rng, surface=True)
        picture = studio.texture(view, 128)
        before = np.asarray(picture).astype(int)
        mask = np.asarray(damage(rng, picture, view, studio)) > 127
        change = np.abs(np.asarray(picture).astype(int) - before).max(-1)
        assert (change[mask] > 3).mean() > 0.6
        far = ~mask & ~ring_around(mask)
        assert (change[far] > 3).mean() < 0.02
        areas.append(mask.mean())
    assert 0.01 < np.mean(areas) < 0.15


def test_defects_and_bodies_and_vessels_are_kept_for_the_unseen_split():
    splits = [entry[-1] for table in (DEFECTS, BODIES, VESSELS, NEEDS) for entry in table.values()]
    assert all(set(where) & {"train", "unseen_test"} for where in splits)
    for table in (DEFECTS, BODIES, VESSELS, NEEDS):
        only = [name for name, entry in table.items() if entry[-1] == ("unseen_test",)]
        assert only, "something of each kind must be new in unseen_test"


def test_traits_are_read_off_looks(studio: Studio):
    dog, red = Look("dog"), Look("circle", "red", "striped")
    assert Trait("kind", "dog").holds(dog, studio) and not Trait("kind", "cat").holds(dog, studio)
    assert Trait("shape", "circle").holds(red, studio) and Trait("colour", "red").holds(red, studio)
    assert Trait("pattern", "striped").holds(red, studio) and not Trait("pattern", "dotted").holds(red, studio)
    assert Trait("category", "animal").holds(dog, studio)
    assert Trait("tint", "red").holds(Look("apple"), studio) and not Trait("tint", "red").holds(dog, studio)


def test_what_is_common_is_marked_and_what_is_not_is_not(world: ConceptWorld):
    """Of a colour rule's marked pixels nearly all have the colour; of the red rule's unmarked shapes none is red."""
    hues = {"red": 0, "green": 1, "blue": 2}
    checked = 0
    for index in range(200):
        theme = world._theme("common_consistency", index)
        kind, colour = theme.group.split(" ", 1)
        if kind == "colour" and colour in hues:
            sample = world.sample("common_consistency", index)
            pixels = sample.image[sample.mask].astype(int)
            assert np.median(pixels.argmax(-1)) == hues[colour]
            checked += 1
    assert checked >= 5


@pytest.mark.parametrize("body", BODIES)
def test_every_part_of_a_body_is_labelled(body: str):
    seen = set()
    for index in range(8):
        layer, labels = draw_body(generator(body, index), body, 96)
        assert layer.size == labels.size == (96, 96)
        found = np.asarray(labels)
        assert (np.asarray(layer.getchannel("A"))[found > 0] > 0).mean() > 0.97
        seen |= set(np.unique(found)) - {0}
    assert seen == set(range(1, len(parts_of(body)) + 1))


def test_a_change_is_the_only_change(studio: Studio):
    """Without noise, pixels that differ from the scene before lie in the changed thing, its old place or its shadow."""
    base = WORLD_TASKS["static_difference"].theme(generator("base"), studio).parts["base"]
    base = Stage(base.backdrop, tuple(replace(thing, grounded=False) for thing in base.things), Finish())
    before = studio.render(base, 120)
    words = set()
    for index in range(12):
        stage, number, answer = change(generator("change", index), studio, base)
        stage = stage.with_thing(number, replace(stage.things[number], grounded=False))
        after = studio.render(stage, 120)
        differs = np.any(before.image != after.image, axis=-1)
        allowed = after.mask(number) | (before.mask(number) if number < len(base.things) else False)
        assert (differs & ~(allowed | ring_around(allowed))).sum() == 0
        assert (differs & after.mask(number)).sum() > 0.5 * after.mask(number).sum()
        words.add(answer.split()[0])
    assert words == {"added", "replaced", "moved"}


def test_references_of_a_difference_show_the_scene_of_the_target():
    world = ConceptWorld("static_difference", seed=4, size_px=96, references=3, reference_px=96)
    other = ConceptWorld("static_difference", seed=5, size_px=96, references=0).sample("static_difference", 0)
    sample = world.sample("static_difference", 0)

    def differing(image: np.ndarray) -> float:
        return float((np.abs(sample.image.astype(int) - image).max(-1) > 45).mean())

    assert all(differing(reference.image) < 0.3 for reference in sample.references)
    assert differing(other.image) > 0.45


def test_needs_are_served_by_known_sprites_and_two_of_them_where_they_are_asked_for():
    known = {sprite.name for sprite in all_sprites()}
    for need, (names, splits) in NEEDS.items():
        assert names <= known, need
        for split in splits:
            assert len(names & {sprite.name for sprite in sprites_of(split)}) >= 2, (need, split)


def test_the_marked_thing_is_the_same_individual_in_all_views(world: ConceptWorld):
    """In cross_view, marked pixels of target and reference have more similar colours than marked and unmarked ones."""
    near = 0
    for index in range(30):
        sample = world.sample("cross_view", index)
        ref = sample.references[0]
        own = np.median(sample.image[sample.mask], axis=0) - np.median(ref.image[ref.mask], axis=0)
        rest = np.median(sample.image[sample.mask], axis=0) - np.median(ref.image[~ref.mask], axis=0)
        near += np.abs(own).sum() < np.abs(rest).sum()
    assert near >= 20


def test_frames_follow_each_other():
    """A tracked thing moves little from one frame to the next, and its box keeps about its size."""
    world = ConceptWorld("cross_frame", seed=4, size_px=96, references=4)
    for index in range(5):
        centres = [
            np.argwhere(ref.mask).mean(0) / len(ref.mask) for ref in world.sample("cross_frame", index).references
        ]
        steps = [np.linalg.norm(b - a) for a, b in pairwise(centres)]
        assert max(steps) < 0.3


def test_moving_things_turn_back_at_the_border():
    assert _bounced(0.5) == pytest.approx(0.5)
    assert _bounced(0.9) == pytest.approx(0.78) and _bounced(0.1) == pytest.approx(0.22)
    assert all(0.16 <= _bounced(v) <= 0.84 for v in np.linspace(-3, 3, 50))


def test_fine_grained_asks_among_relatives_and_living_does_not(world: ConceptWorld):
    families = {sprite.name: sprite.family for sprite in all_sprites()}
    kinds = {sprite.name: sprite.kind for sprite in all_sprites()}
    roles = {sprite.name: sprite.role for sprite in all_sprites()}
    for index in range(20):
        assert families[world._theme("fine_grained", index).concept]
        assert kinds[world._theme("living", index).concept] == "living"
        assert kinds[world._theme("artifact", index).concept] == "artifact"
        assert roles[world._theme("ultra_rare", index).concept] == "rare"
