"""Stages drawn exactly: masks, occlusion, colours, cameras, and a cache that forgets."""

import math

import numpy as np
import pytest
from PIL import Image

from conceptseg.data.world.dice import generator
from conceptseg.data.world.palettes import palette_between
from conceptseg.data.world.stage import Backdrop, Finish, Look, Stage, TextureView, Thing, random_finish, spread, tone
from conceptseg.data.world.studio import Studio

GREY = Backdrop((TextureView("cloud", 0, 0.1, 0.1, 0.5, 0, palette_between((100, 100, 100), (100, 100, 100))),))


@pytest.fixture(scope="module")
def studio() -> Studio:
    return Studio("train")


def shape(name: str, colour: str = "red", x: float = 0.5, y: float = 0.5, size: float = 0.5, **more) -> Thing:
    return Thing(Look(name, colour), x, y, size, grounded=False, **more)


def test_a_circles_mask_is_a_circle(studio: Studio):
    rendered = studio.render(Stage(GREY, (shape("circle"),)), 128)
    y, x = np.mgrid[0:128, 0:128] + 0.5
    disc = np.hypot(x - 64, y - 64) <= 32
    mask = rendered.mask(0)
    assert (mask & disc).sum() / (mask | disc).sum() > 0.95
    assert (rendered.image[~mask & (np.hypot(x - 64, y - 64) > 36)] == 100).all()
    assert rendered.image[64, 64, 0] > rendered.image[64, 64, 2] + 60


def test_the_front_thing_owns_the_overlap(studio: Studio):
    behind, front = shape("square", "blue", 0.4), shape("square", "red", 0.6)
    both = studio.render(Stage(GREY, (behind, front)), 100)
    alone = studio.render(Stage(GREY, (front,)), 100).mask(0)
    assert np.array_equal(both.mask(1), alone)
    assert not (both.mask(0) & both.mask(1)).any()
    assert both.mask(0, 1).sum() == both.mask(0).sum() + both.mask(1).sum()


def test_sizes_and_places_are_fractions_of_the_side(studio: Studio):
    stage = Stage(GREY, (shape("square", x=0.25, y=0.75, size=0.3),))
    small, large = studio.render(stage, 80).mask(0), studio.render(stage, 240).mask(0)
    assert small.mean() == pytest.approx(large.mean(), rel=0.15)
    for mask in (small, large):
        ys, xs = np.nonzero(mask)
        assert (xs.mean() / len(mask), ys.mean() / len(mask)) == pytest.approx((0.25, 0.75), abs=0.02)


def test_a_camera_on_the_left_half_makes_things_there_twice_as_large(studio: Studio):
    thing = shape("square", x=0.25, y=0.25, size=0.2)
    corners = ((0.0, 0.0), (0.0, 0.5), (0.5, 0.5), (0.5, 0.0))
    full = studio.render(Stage(GREY, (thing,)), 160).mask(0)
    near = studio.render(Stage(GREY, (thing,), camera=corners), 160).mask(0)
    assert near.sum() == pytest.approx(4 * full.sum(), rel=0.06)
    ys, xs = np.nonzero(near)
    assert (xs.mean(), ys.mean()) == pytest.approx((80, 80), abs=2)


def test_seen_aside_a_thing_is_narrower_and_one_edge_shorter(studio: Studio):
    layer = studio.layer(shape("square", size=0.8, view=(0.5, 0.2)), 120)
    alpha = np.asarray(layer.getchannel("A")) > 127
    columns = np.flatnonzero(alpha.any(0))
    straight = np.asarray(studio.layer(shape("square", size=0.8), 120).getchannel("A")) > 127
    assert len(columns) == pytest.approx(0.5 * straight.any(0).sum(), abs=3)
    assert alpha[:, columns[-3]].sum() < 0.8 * alpha[:, columns[2]].sum()


def test_a_badge_shows_on_the_thing_and_keeps_its_outline(studio: Studio):
    plain = shape("circle", "white", size=0.6)
    worn = Thing(Look("circle", "white", badge=("square", "blue")), 0.5, 0.5, 0.6, grounded=False)
    one, two = (studio.render(Stage(GREY, (thing,)), 120) for thing in (plain, worn))
    assert np.array_equal(one.mask(0), two.mask(0))
    changed = np.any(one.image != two.image, axis=-1)
    assert 0.08 < changed.sum() / one.mask(0).sum() < 0.4 and changed[60, 60]


def test_two_textures_meet_at_the_edge(studio: Studio):
    views = [TextureView("sand", 0, 0, 0, 0.5, 0, palette_between(rgb, rgb)) for rgb in ((10, 20, 30), (200, 210, 220))]
    picture = np.asarray(studio.backdrop(Backdrop(tuple(views), edge=(0.5, 0.5)), 100))
    assert (picture[:49] == (10, 20, 30)).all() and (picture[51:] == (200, 210, 220)).all()


def test_an_even_finish_changes_nothing_and_noise_is_as_strong_as_asked(studio: Studio):
    picture = Image.new("RGB", (96, 96), (120, 120, 120))
    assert np.array_equal(studio.finish(picture, Finish()), np.asarray(picture))
    noisy = studio.finish(picture, Finish(noise=6.0)).astype(float)
    assert noisy.std() == pytest.approx(6.0, abs=0.4) and noisy.mean() == pytest.approx(119.5, abs=1)
    light = studio.finish(picture, Finish(light=bytes([51] * 16)))
    assert (light == 24).all()


def test_the_cache_forgets_the_least_recently_used():
    studio = Studio("train", cache_entries=2)
    made: list[str] = []

    def value(key: str) -> str:
        return studio.cached((key,), lambda: made.append(key) or key)

    for key in ("a", "b", "a", "c", "a", "b"):
        assert value(key) == key
    assert made == ["a", "b", "c", "b"]


def test_tone_leaves_grey_grey_and_turns_hues():
    def apply(matrix: tuple[float, ...], rgb: tuple[int, int, int]) -> np.ndarray:
        rows = np.array(matrix).reshape(3, 4)
        return rows[:, :3] @ np.array(rgb) + rows[:, 3]

    assert apply(tone(hue=70), (90, 90, 90)) == pytest.approx((90, 90, 90), abs=0.5)
    assert apply(tone(), (10, 20, 30)) == pytest.approx((10, 20, 30), abs=1e-6)
    assert apply(tone(hue=360), (10, 20, 30)) == pytest.approx((10, 20, 30), abs=1e-6)
    assert apply(tone(gain=0.5), (10, 20, 30)) == pytest.approx((5, 10, 15))
    assert apply(tone(saturation=0), (255, 0, 0)) == pytest.approx((76.245,) * 3)
    assert apply(tone(toward=(10, 20, 30), amount=1.0), (200, 1, 7)) == pytest.approx((10, 20, 30))


def test_spread_keeps_things_apart_where_there_is_room():
    for index in range(20):
        rng = generator("spread", index)
        centres = spread(rng, [0.3, 0.3], gap=1.0)
        assert math.dist(*centres) >= 0.3
        assert all(0.13 <= at <= 0.87 for centre in centres for at in centre)
    x, y = spread(generator("inset"), [0.2], inset=0.3)[0]
    assert 0.39 <= x <= 0.61 and 0.39 <= y <= 0.61


def test_finishes_without_strength_are_clean():
    assert all(random_finish(generator(i), 0.0).light == b"" for i in range(20))
    strong = [random_finish(generator(i)) for i in range(200)]
    assert any(f.blur for f in strong) and any(f.jpeg for f in strong) and any(f.noise for f in strong)
