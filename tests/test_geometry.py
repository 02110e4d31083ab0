from __future__ import annotations

import math

import jaxtyping
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image, ImageDraw

from conceptseg.errors import InputError
from conceptseg.geometry import (
    box_area,
    box_from_mask,
    box_iou,
    clip_box,
    fill_box,
    mask_iou,
    order_box,
    pixel_corners,
    round_box,
    scale_box,
)

coordinates = st.floats(-1000, 1000)
corners = st.tuples(coordinates, coordinates, coordinates, coordinates)
boxes = corners.map(order_box)
masks = arrays.arrays(np.bool_, (5, 7))


def test_wrong_shapes_are_caught_while_testing():
    """The import hook of `conftest.py` at work."""
    with pytest.raises(jaxtyping.TypeCheckError, match="box_from_mask"):
        box_from_mask(np.zeros((2, 3, 4), dtype=bool))
    with pytest.raises(jaxtyping.TypeCheckError, match="box_from_mask"):
        box_from_mask(np.zeros((2, 3), dtype=np.uint8))


@pytest.mark.parametrize(
    ("box", "area"), [((1, 2, 4, 6), 12), ((1, 2, 1, 6), 0), ((4, 2, 1, 6), 0), ((4, 6, 1, 2), 0), ((0, 0, 0.5, 2), 1)]
)
def test_areas(box: tuple, area: float):
    assert box_area(box) == area


@pytest.mark.parametrize(
    ("a", "b", "iou", "inclusive"),
    [
        ((0, 0, 10, 10), (0, 0, 10, 10), 1, 1),
        ((0, 0, 10, 10), (5, 0, 15, 10), 50 / 150, 66 / 176),
        ((0, 0, 10, 10), (10, 0, 20, 10), 0, 11 / 231),
        ((0, 0, 10, 10), (20, 20, 30, 30), 0, 0),
        ((0, 0, 4, 4), (1, 1, 3, 3), 4 / 16, 9 / 25),
        ((3, 3, 3, 3), (3, 3, 3, 3), 0, 1),
    ],
)
def test_box_iou_by_hand(a: tuple, b: tuple, iou: float, inclusive: float):
    assert box_iou(a, b) == pytest.approx(iou)
    assert box_iou(a, b, inclusive=True) == pytest.approx(inclusive)


@given(boxes, boxes)
def test_box_iou_is_symmetric_and_bounded(a: tuple, b: tuple):
    assert box_iou(a, b) == pytest.approx(box_iou(b, a))
    assert 0 <= box_iou(a, b) <= 1 + 1e-12


@given(masks, masks)
def test_mask_iou_counts_pixels(a: np.ndarray, b: np.ndarray):
    pixels_a, pixels_b = set(zip(*np.nonzero(a), strict=True)), set(zip(*np.nonzero(b), strict=True))
    union = pixels_a | pixels_b
    assert mask_iou(a, b) == (len(pixels_a & pixels_b) / len(union) if union else 1.0)


def test_masks_of_two_sizes_cannot_be_compared():
    with pytest.raises((InputError, jaxtyping.TypeCheckError), match=r"one shape|mask_iou"):
        mask_iou(np.zeros((2, 3), bool), np.zeros((3, 2), bool))


def test_the_box_of_a_mask():
    mask = np.zeros((9, 8), bool)
    assert box_from_mask(mask) is None
    mask[5, 3] = True
    assert box_from_mask(mask) == (3, 5, 4, 6)
    mask[7, 1] = True
    assert box_from_mask(mask) == (1, 5, 4, 8)
    assert box_from_mask(np.ones((9, 8), bool)) == (0, 0, 8, 9)


@given(masks)
def test_the_box_of_a_mask_is_the_tightest(mask: np.ndarray):
    box = box_from_mask(mask)
    if box is None:
        assert not mask.any()
        return
    x1, y1, x2, y2 = map(int, box)
    assert mask[y1:y2, x1:x2].sum() == mask.sum()
    assert mask[y1].any() and mask[y2 - 1].any() and mask[:, x1].any() and mask[:, x2 - 1].any()


@pytest.mark.parametrize(
    ("box", "clipped"),
    [
        ((1, 2, 3, 4), (1, 2, 3, 4)),
        ((-5, -5, 50, 50), (0, 0, 20, 10)),
        ((15, 5, 25, 8), (15, 5, 20, 8)),
        ((30, 30, 40, 40), (20, 10, 20, 10)),
    ],
)
def test_clipping_to_10_by_20(box: tuple, clipped: tuple):
    assert clip_box(box, (10, 20)) == clipped


@given(corners)
def test_ordering_is_idempotent(box: tuple):
    x1, y1, x2, y2 = order_box(box)
    assert x1 <= x2 and y1 <= y2
    assert order_box((x1, y1, x2, y2)) == (x1, y1, x2, y2)
    assert sorted(box[0::2]) == [x1, x2] and sorted(box[1::2]) == [y1, y2]


@pytest.mark.parametrize(
    ("box", "rounded"),
    [
        ((1.2, 2.7, 30.4, 40.6), (1, 3, 30, 41)),
        ((5.1, 5.2, 5.3, 5.4), (5, 5, 6, 6)),
        ((99.6, 0, 100, 9), (99, 0, 100, 9)),
        ((-0.4, -3.6, 0.2, -3.5), (-1, -4, 0, -3)),
    ],
)
def test_rounding_never_loses_a_box(box: tuple, rounded: tuple):
    assert round_box(box) == rounded


@given(boxes.filter(lambda box: box_area(box) > 0))
def test_rounded_boxes_stay_near_and_keep_an_area(box: tuple):
    rounded = round_box(box)
    assert box_area(rounded) >= 1
    assert all(abs(whole - real) <= 1 for whole, real in zip(rounded, box, strict=True))
    assert math.floor(box[0]) <= rounded[0] and rounded[2] <= max(math.ceil(box[2]), rounded[0] + 1)


def test_scaling_by_hand():
    assert scale_box((1, 2, 3, 4), (10, 20), (100, 40)) == (2, 20, 6, 40)
    assert scale_box((1, 2, 3, 4), (10, 20), (100, 40), (7, 9)) == (9, 29, 13, 49)


@given(boxes, st.tuples(*[st.floats(1, 2000)] * 2), st.tuples(*[st.floats(1, 2000)] * 2))
def test_scaling_there_and_back(box: tuple, from_hw: tuple, to_hw: tuple):
    assert scale_box(scale_box(box, from_hw, to_hw), to_hw, from_hw) == pytest.approx(box, abs=1e-6)


def test_a_filled_box_has_that_box():
    mask = fill_box((1, 2, 4, 3), (5, 6))
    assert mask.shape == (5, 6)
    assert mask.sum() == 3
    assert box_from_mask(mask) == (1, 2, 4, 3)
    assert fill_box((-3, -2, 2, 1), (4, 4)).sum() == 2  # cut to the image
    assert fill_box((1.2, 1.2, 1.3, 1.3), (4, 4)).sum() == 1  # at least one pixel


@pytest.mark.parametrize(
    ("box", "pixels"), [((2.0, 3.0, 5.0, 7.0), (2, 3, 4, 6)), ((2.2, 3.0, 2.4, 7.6), (2, 3, 2, 7))]
)
def test_a_rectangle_covers_the_boxs_own_pixels(box, pixels):
    assert pixel_corners(box) == pixels
    drawn = Image.new("1", (9, 9))
    ImageDraw.Draw(drawn).rectangle(pixel_corners(box), fill=1)
    assert np.array_equal(np.asarray(drawn), fill_box(box, (9, 9)))
