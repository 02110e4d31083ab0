from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from conceptseg.errors import InputError
from conceptseg.protocol import Mosaic, build_mosaic

COLOURS = [(10 + 20 * index, 200 - 20 * index, 50) for index in range(10)]


def plain(count: int, size_wh: tuple[int, int] = (40, 20)) -> list[Image.Image]:
    return [Image.new("RGB", size_wh, COLOURS[index]) for index in range(count)]


def reds(mosaic: Mosaic) -> np.ndarray:
    return (np.asarray(mosaic.image) == (255, 0, 0)).all(axis=2)


@pytest.mark.parametrize(
    ("count", "grid"), [(1, 1), (2, 2), (3, 2), (4, 2), (5, 3), (6, 3), (7, 3), (8, 3), (9, 3), (10, 4)]
)
def test_the_grid_is_the_smallest_square_that_holds_all(count: int, grid: int):
    mosaic = build_mosaic(plain(count), [None] * count, canvas_px=120)
    assert mosaic.grid == grid
    assert mosaic.image.size == (120, 120) and mosaic.image.mode == "RGB"
    cell = 120 // grid
    for index in range(grid * grid):
        row, column = divmod(index, grid)
        corner, far = (column * cell, row * cell), (column * cell + cell - 1, row * cell + cell - 1)
        colour = COLOURS[index] if index < count else (0, 0, 0)
        assert mosaic.image.getpixel(corner) == mosaic.image.getpixel(far) == colour


def test_pictures_are_stretched_over_their_cells_and_boxes_follow():
    mosaic = build_mosaic(plain(4), [(10, 5, 20, 10)] * 4, canvas_px=200)
    # 40×20 → 100×100: x × 2.5, y × 5, then the cell's corner
    assert mosaic.boxes_xyxy == ((25, 25, 50, 50), (125, 25, 150, 50), (25, 125, 50, 150), (125, 125, 150, 150))


def test_cells_share_edges_when_the_grid_does_not_divide_the_canvas():
    mosaic = build_mosaic(plain(9), [(0, 0, 40, 20)] * 9, canvas_px=100)
    assert [box[0::2] for box in mosaic.boxes_xyxy[:3]] == [(0, 33), (33, 67), (67, 100)]


@pytest.mark.parametrize(
    ("boxes", "proxy", "proxy_index", "shown"),
    [
        ("BBBB", True, 0, 3),
        ("BB", True, 0, 1),
        ("B-B-", True, 0, 1),
        ("BBBB", False, None, 4),
        ("B", True, None, 1),
        ("-", True, None, 0),
        ("----", True, None, 0),
        ("-BBB", True, None, 3),
        ("B---", True, None, 1),
    ],
)
def test_who_becomes_the_proxy(boxes: str, proxy: bool, proxy_index: int | None, shown: int):
    given_boxes = [(5.0, 5.0, 15.0, 15.0) if letter == "B" else None for letter in boxes]
    mosaic = build_mosaic(plain(len(boxes)), given_boxes, canvas_px=120, proxy=proxy)
    assert mosaic.proxy_index == proxy_index
    assert len(mosaic.shown_boxes) == shown
    assert [box is not None for box in mosaic.boxes_xyxy] == [letter == "B" for letter in boxes]


def test_the_withheld_box_is_known_but_neither_shown_nor_drawn():
    mosaic = build_mosaic(plain(4), [(10, 5, 30, 15)] * 4, canvas_px=200)
    assert mosaic.boxes_xyxy[0] == (25, 25, 75, 75)
    assert mosaic.boxes_xyxy[0] not in mosaic.shown_boxes
    assert not reds(mosaic)[:100, :100].any()
    assert reds(mosaic)[:100, 100:].any() and reds(mosaic)[100:, :100].any() and reds(mosaic)[100:, 100:].any()


@pytest.mark.parametrize(("canvas_px", "stroke_px"), [(168, 1), (300, 1), (600, 2), (1200, 4)])
def test_the_outline_lies_inside_the_box_and_scales_with_the_canvas(canvas_px: int, stroke_px: int):
    mosaic = build_mosaic(plain(1, (canvas_px, canvas_px)), [(20, 30, 60, 80)], canvas_px=canvas_px)
    expected = np.zeros((canvas_px, canvas_px), bool)
    expected[30:80, 20:60] = True
    expected[30 + stroke_px : 80 - stroke_px, 20 + stroke_px : 60 - stroke_px] = False
    assert np.array_equal(reds(mosaic), expected)


def test_the_tiniest_box_is_still_drawn():
    mosaic = build_mosaic(plain(1, (1000, 1000)), [(500, 500, 501, 501)], canvas_px=100)
    assert reds(mosaic).sum() == 1


@given(st.lists(st.tuples(st.integers(8, 300), st.integers(8, 300)), min_size=1, max_size=10))
def test_boxes_travel_both_ways(sizes_wh: list[tuple[int, int]]):
    boxes = [(1.0, 2.0, width - 3.0, height - 1.0) for width, height in sizes_wh]
    mosaic = build_mosaic([Image.new("RGB", size) for size in sizes_wh], boxes, canvas_px=97)
    for index, (box, on_canvas) in enumerate(zip(boxes, mosaic.boxes_xyxy, strict=True)):
        assert all(0 <= value <= 97 + 1e-9 for value in on_canvas)
        assert mosaic.to_reference(index, on_canvas) == pytest.approx(box, abs=1e-6)


@given(st.integers(1, 12), st.integers(4, 200))
def test_whole_pictures_tile_the_canvas(count: int, canvas_px: int):
    grid = math.ceil(math.sqrt(count))
    mosaic = build_mosaic(plain(1) * count, [(0, 0, 40, 20)] * count, canvas_px=canvas_px, proxy=False)
    covered = np.zeros((canvas_px, canvas_px), int)
    for x1, y1, x2, y2 in mosaic.shown_boxes:
        covered[round(y1) : round(y2), round(x1) : round(x2)] += 1
    assert covered.max() == 1
    assert (covered.sum() == canvas_px**2) == (count == grid**2)


def test_boxes_are_cut_to_their_pictures():
    mosaic = build_mosaic(plain(1), [(-10, 10, 20, 50)], canvas_px=40)
    assert mosaic.boxes_xyxy == ((0, 20, 20, 40),)


def test_the_pictures_given_are_left_alone():
    image = Image.new("RGB", (40, 40), COLOURS[0])
    build_mosaic([image], [(5, 5, 35, 35)], canvas_px=40)
    assert image.getcolors() == [(1600, COLOURS[0])]


@pytest.mark.parametrize(
    ("count", "boxes", "canvas_px", "message"),
    [
        (0, [], 100, "at least one reference image"),
        (2, [None], 100, "got 1 for 2 images"),
        (5, [None] * 5, 2, "canvas_px must be at least 3 for 5 references, got 2"),
        (2, [None, (50, 0, 60, 10)], 100, r"of reference 1 covers nothing of its image of 40×20"),
        (1, [(9, 5, 3, 10)], 100, "x1 < x2"),
        (1, [(math.nan, 5, 30, 10)], 100, "covers nothing"),
    ],
)
def test_wrong_requests(count: int, boxes: list, canvas_px: int, message: str):
    with pytest.raises(InputError, match=message):
        build_mosaic(plain(count), boxes, canvas_px=canvas_px)


def test_masks_are_tinted_beside_their_boxes_but_not_the_withheld_one():
    mask = np.zeros((20, 40), dtype=bool)
    mask[5:15, 10:30] = True
    boxes, masks = [(10, 5, 30, 15)] * 4, [mask, mask, None, mask]
    plainly = build_mosaic(plain(4), boxes, canvas_px=200)
    tinted = build_mosaic(plain(4), boxes, canvas_px=200, unlike=[3], masks=masks)
    changed = (np.asarray(plainly.image) != np.asarray(tinted.image)).any(axis=2)
    assert not changed[:100, :100].any()  # the proxy
    assert not changed[100:, :100].any()  # no mask
    assert tinted.image.getpixel((150, 50)) == pytest.approx((142.5, 90, 25), abs=1)  # half red, in the mask
    assert tinted.image.getpixel((105, 5)) == COLOURS[1]
    assert tinted.image.getpixel((150, 150)) == pytest.approx((35, 70, 152.5), abs=1)  # what it is not: half blue
    assert tinted.shown_boxes == plainly.shown_boxes[:2]
    with pytest.raises(InputError, match=r"one mask \(or None\) a reference image, got 3 for 4"):
        build_mosaic(plain(4), boxes, canvas_px=200, masks=masks[:3])
