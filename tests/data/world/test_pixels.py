import numpy as np
import pytest
from PIL import Image

from conceptseg.data.world.blobs import blob_mask, crack_mask, stroke_mask
from conceptseg.data.world.dice import generator
from conceptseg.data.world.pixels import brightened, dimmed, embossed, shaded, softened
from conceptseg.data.world.shapes import COLOURS, PATTERNS, SHAPES, colours_of, shape_mask, shape_picture, shapes_of


def test_dimmed_and_brightened_scale():
    picture = Image.new("RGB", (4, 4), (100, 50, 200))
    assert np.asarray(dimmed(picture, 0.5))[0, 0].tolist() == pytest.approx([50, 25, 100], abs=1)
    assert np.asarray(brightened(picture, 1.5))[0, 0].tolist() == pytest.approx([150, 75, 255], abs=1)
    assert dimmed(Image.new("L", (2, 2), 80), 0.25).getpixel((0, 0)) == 20


def test_embossing_is_light_on_slopes_that_face_the_upper_left():
    field = Image.new("L", (40, 40), 0)
    field.paste(200, (10, 10, 30, 30))
    slopes = np.asarray(embossed(field, 2)).astype(int)
    assert slopes[0, 20] == 128 and slopes[20, 20] == 128
    assert slopes[10, 10] > 128 > slopes[29, 29]
    flat = Image.new("RGB", (40, 40), (100, 100, 100))
    lit, hollow = np.asarray(shaded(flat, embossed(field, 2))), np.asarray(shaded(flat, embossed(field, 2), -0.5))
    assert lit[10, 10, 0] > 100 > hollow[10, 10, 0]
    assert lit[20, 20, 0] == hollow[20, 20, 0] == 100


def test_softening_keeps_the_amount():
    mask = Image.new("L", (80, 80), 0)
    mask.paste(255, (20, 20, 60, 60))
    soft = np.asarray(softened(mask, 0.05)).astype(float)
    assert soft.sum() == pytest.approx(np.asarray(mask).astype(float).sum(), rel=0.01)
    assert 60 < soft[20, 40] < 200


def test_a_smooth_round_blob_is_a_disc():
    mask = np.asarray(blob_mask(generator(1), 100, 0.5, 0.4, 0.2, rough=0.0)) > 127
    assert mask.mean() == pytest.approx(np.pi * 0.04, rel=0.03)
    ys, xs = np.nonzero(mask)
    assert (xs.mean(), ys.mean()) == pytest.approx((49.5, 39.5), abs=1)
    flat = np.asarray(blob_mask(generator(1), 100, 0.5, 0.4, 0.2, rough=0.0, aspect=0.5)) > 127
    assert flat.mean() == pytest.approx(mask.mean() / 2, rel=0.05)


def test_strokes_and_cracks_are_as_wide_as_asked():
    for index in range(5):
        stroke = np.asarray(stroke_mask(generator(index), 200, 0.6, 0.05)) > 127
        assert stroke.mean() == pytest.approx(0.6 * 0.05, rel=0.25)
        crack = np.asarray(crack_mask(generator(index), 200, 0.6, 0.02)) > 127
        assert 0.006 < crack.mean() < 0.025


@pytest.mark.parametrize("shape", SHAPES)
def test_shapes_differ_and_fill_their_square(shape: str):
    mask = np.asarray(shape_mask(shape)) > 127
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    assert max(np.ptp(rows), np.ptp(columns)) > 105
    assert all((mask ^ (np.asarray(shape_mask(other)) > 127)).mean() > 0.03 for other in SHAPES if other != shape)


def test_shapes_have_their_colours_and_patterns():
    for colour, (rgb, _) in COLOURS.items():
        picture = np.asarray(shape_picture("square", colour, "plain")).astype(int)
        assert np.abs(picture[64, 64, :3] - np.array(rgb) * 203 / 255).max() <= 4
    flat, *rest = (
        np.asarray(shape_picture("square", "red", pattern))[20:100, 20:100].astype(int) for pattern in PATTERNS
    )
    assert all((np.abs(pattern - flat).max(-1) > 20).mean() > 0.15 for pattern in rest)


def test_shapes_and_colours_of_the_splits_are_apart():
    assert not set(shapes_of("train")) & set(shapes_of("unseen_test"))
    assert not set(colours_of("train")) & set(colours_of("unseen_test"))
    assert shapes_of("seen_test") == shapes_of("train") and colours_of("seen_test") == colours_of("train")
