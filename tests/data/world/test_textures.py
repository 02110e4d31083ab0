import numpy as np
import pytest

from conceptseg.data.world.dice import between, chance, generator, pick, some
from conceptseg.data.world.noise import fractal, smooth, unit
from conceptseg.data.world.palettes import palette_between, palette_mean, random_palette, rgb_of
from conceptseg.data.world.textures import NATURAL, SURFACES, TILE_PX, families_of, texture_tile


@pytest.mark.parametrize("family", [*NATURAL, *SURFACES])
def test_every_family_has_full_contrast_and_detail(family: str):
    tile = np.asarray(texture_tile(family, 0)).astype(float)
    assert tile.shape == (TILE_PX, TILE_PX)
    assert (tile.min(), tile.max()) == (0, 255)
    assert tile.std() > 12
    assert np.abs(np.diff(tile, axis=0)).mean() + np.abs(np.diff(tile, axis=1)).mean() > 1


def test_variants_differ():
    assert not np.array_equal(texture_tile("wood", 0), texture_tile("wood", 1))


def test_no_family_is_in_both_splits():
    for surfaces, table in ((False, NATURAL), (True, SURFACES)):
        train, unseen = (set(families_of(split, surfaces)) for split in ("train", "unseen_test"))
        assert train and unseen and not train & unseen and train | unseen == set(table)
        assert families_of("seen_test", surfaces) == families_of("train", surfaces)


@pytest.mark.parametrize("family", ["weave", "tiles", "knurl", "corduroy", "perforated metal", "bricks"])
def test_surfaces_repeat_themselves(family: str):
    """A regular surface has a strong period: some shift by more than 8 px correlates well with it."""
    tile = np.asarray(texture_tile(family, 0)).astype(float)
    tile -= tile.mean()
    power = np.abs(np.fft.fft2(tile)) ** 2
    correlation = np.fft.ifft2(power).real / power.sum() * tile.size
    centre = correlation.copy()
    for rows in (slice(0, 6), slice(-5, None)):
        for columns in (slice(0, 6), slice(-5, None)):
            centre[rows, columns] = 0
    assert centre.max() / correlation[0, 0] > 0.5


def test_noise_stays_in_its_range_and_smoothness_is_counted_in_bumps():
    rng = generator("noise test")
    field = smooth(rng, (60, 90), (3, 3))
    assert field.shape == (60, 90) and field.min() >= 0 and field.max() <= 1
    fine = smooth(rng, (60, 90), (30, 45))
    assert np.abs(np.diff(fine)).mean() > 3 * np.abs(np.diff(field)).mean()
    assert fractal(rng, (32, 32), (4, 4)).max() == pytest.approx(1)
    assert not unit(np.full((4, 4), 7.0)).any()


def test_palettes_run_through_their_stops():
    palette = np.frombuffer(palette_between((0, 0, 0), (255, 0, 0), (255, 255, 255)), np.uint8).reshape(256, 3)
    assert palette[0].tolist() == [0, 0, 0] and palette[255].tolist() == [255, 255, 255]
    assert palette[127].tolist() == pytest.approx([254, 0, 0], abs=2)
    assert palette_mean(palette.tobytes()) == pytest.approx((255, 1, 1), abs=1)
    assert rgb_of(1 / 3, 1, 1) == (0, 255, 0) and rgb_of(-0.5, 2, 0.5) == (0, 128, 128)
    assert len(random_palette(generator(1))) == 768


def test_generators_depend_on_their_words_alone():
    assert generator("a", 1).random() == generator("a", 1).random()
    assert len({generator(*key).random() for key in (("a", 1), ("a", 2), ("b", 1), ("a", 1, 0))}) == 4
    rng = generator("draws")
    assert all(2 <= between(rng, 2, 3) < 3 for _ in range(50))
    assert {pick(rng, "xyz") for _ in range(60)} == set("xyz")
    assert sorted(some(rng, [1, 2, 3], 9)) == [1, 2, 3] and len(set(some(rng, range(9), 4))) == 4
    assert not chance(rng, 0.0) and chance(rng, 1.0)
