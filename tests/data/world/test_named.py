import numpy as np

from conceptseg.data.world import ConceptWorld
from conceptseg.data.world.shapes import colours_of, shapes_of


def test_scenes_are_deterministic_and_named_in_the_split():
    world, again = ConceptWorld(seed=1, size_px=96), ConceptWorld("living", seed=1, size_px=96)
    names = set(world.names)
    counts = set()
    for index in range(20):
        scene = world.scene(index)
        assert np.array_equal(scene.image, again.scene(index).image)
        assert {thing.name for thing in scene.objects} <= names
        counts.add(len(scene.objects))
        assert all(0 <= thing.visible <= 1 for thing in scene.objects)
    assert counts == {1, 2, 3, 4}


def test_masks_of_different_objects_are_disjoint_and_equal_names_are_joined():
    world = ConceptWorld(seed=1, size_px=96)
    twins = 0
    for index in range(40):
        scene = world.scene(index)
        assert sum(thing.mask.astype(int) for thing in scene.objects).max() == 1
        for name in scene.names:
            parts = [thing.mask for thing in scene.objects if thing.name == name]
            assert scene.mask_of(name).sum() == sum(part.sum() for part in parts)
            twins += len(parts) > 1
        assert not scene.mask_of("no such thing").any()
    assert twins >= 2


def test_an_object_alone_in_the_middle_is_wholly_visible():
    world = ConceptWorld(seed=1, size_px=96)
    alone = [scene.objects[0] for scene in map(world.scene, range(40)) if len(scene.objects) == 1]
    inside = [
        t for t in alone if not (t.mask[0].any() or t.mask[-1].any() or t.mask[:, 0].any() or t.mask[:, -1].any())
    ]
    assert inside and all(thing.visible == 1.0 for thing in inside)


def test_shapes_are_named_by_colour_and_shape_of_the_split():
    for split in ("train", "unseen_test"):
        world = ConceptWorld(split=split, seed=1, size_px=96)
        allowed = {f"{colour} {shape}" for colour in colours_of(split) for shape in shapes_of(split)}
        scenes = [world.shapes(index) for index in range(20)]
        assert {thing.name for scene in scenes for thing in scene.objects} <= allowed
        assert {len(scene.objects) for scene in scenes} == {1, 2, 3, 4}
        assert np.array_equal(scenes[3].image, world.shapes(3).image)
        assert all(scene.mask_of(name).any() for scene in scenes for name in scene.names)
