"""Polygons along pixel edges: by hand, there and back, and as pycocotools fills them."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as coco
from scipy import ndimage

from conceptseg.data.benchmarks._regions import draw_polygon
from conceptseg.errors import ImageError
from conceptseg.shapes import Part, fill_polygon, trace_parts

masks = arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12)))


def drawn(*rows: str) -> np.ndarray:
    return np.array([[sign == "#" for sign in row] for row in rows])


def filled(parts: list[Part], size_hw: tuple[int, int]) -> np.ndarray:
    return np.logical_or.reduce([np.zeros(size_hw, bool), *(fill_polygon(part.bridged, size_hw) for part in parts)])


def test_one_pixel_has_four_corners() -> None:
    (part,) = trace_parts(drawn("...", "..#"))
    assert part.outline.tolist() == [[2, 1], [3, 1], [3, 2], [2, 2]]
    assert part.holes == () and part.bridged.tolist() == part.outline.tolist()


def test_corners_alone_are_kept() -> None:
    (part,) = trace_parts(np.ones((3, 5), dtype=bool))
    assert part.outline.tolist() == [[0, 0], [5, 0], [5, 3], [0, 3]]


def test_a_doughnut_by_hand() -> None:
    (part,) = trace_parts(drawn("###", "#.#", "###"))
    assert part.outline.tolist() == [[0, 0], [3, 0], [3, 3], [0, 3]]
    assert [hole.tolist() for hole in part.holes] == [[[1, 1], [1, 2], [2, 2], [2, 1]]]
    # a slit from (0, 1) on the left edge to the hole's first corner and back
    assert part.bridged.tolist() == [
        *([0, 0], [3, 0], [3, 3], [0, 3], [0, 1]),
        *([1, 1], [1, 2], [2, 2], [2, 1], [1, 1], [0, 1]),
    ]
    assert fill_polygon(part.bridged, (3, 3)).sum() == 8


def test_an_empty_mask_has_no_parts() -> None:
    assert trace_parts(np.zeros((4, 5), dtype=bool)) == []


def test_pixels_that_touch_at_a_corner_belong_together() -> None:
    for mask in (drawn("#..", ".#.", "..#"), drawn("..#", ".#.", "#..")):
        (part,) = trace_parts(mask)
        assert len(part.outline) == 12
        assert np.array_equal(fill_polygon(part.outline, (3, 3)), mask)


def test_an_island_in_a_hole_is_a_part_of_its_own() -> None:
    mask = drawn("#####", "#...#", "#.#.#", "#...#", "#####")
    parts = trace_parts(mask)
    assert [len(part.holes) for part in parts] == [1, 0]
    assert np.array_equal(filled(parts, (5, 5)), mask)


@given(masks)
def test_there_and_back_is_exact(mask: np.ndarray) -> None:
    parts = trace_parts(mask)
    assert np.array_equal(filled(parts, mask.shape), mask)
    assert len(parts) == ndimage.label(mask, np.ones((3, 3)))[1]
    background = ndimage.label(np.pad(~mask, 1, constant_values=True))[1]
    assert sum(len(part.holes) for part in parts) == background - 1


@given(masks)
def test_holes_cut_out_give_what_bridges_give(mask: np.ndarray) -> None:
    for part in trace_parts(mask):
        whole = fill_polygon(part.outline, mask.shape)
        for hole in part.holes:
            inside = fill_polygon(hole, mask.shape)
            assert inside.any() and not (inside & ~whole).any()
            whole &= ~inside
        assert np.array_equal(fill_polygon(part.bridged, mask.shape), whole)


@given(masks)
def test_pycocotools_fills_the_same_pixels(mask: np.ndarray) -> None:
    polygons = [part.bridged.ravel().tolist() for part in trace_parts(mask)]
    if polygons:
        run_lengths = coco.merge(coco.frPyObjects(polygons, *mask.shape))
        assert np.array_equal(coco.decode(run_lengths), mask)


@given(masks)
def test_lines_through_centres_are_drawn_to_the_very_mask(mask: np.ndarray) -> None:
    by_opencv, by_pillow = np.zeros(mask.shape, np.uint8), np.zeros(mask.shape, bool)
    for part in trace_parts(mask, along="centres"):
        canvas = np.zeros(mask.shape, np.uint8)
        cv2.fillPoly(canvas, [part.bridged.astype(np.int32)], color=1)
        by_opencv |= canvas
        by_pillow |= draw_polygon(part.bridged.tolist(), mask.shape)
    assert np.array_equal(by_opencv, mask) and np.array_equal(by_pillow, mask)


def test_lines_through_centres_by_hand() -> None:
    (part,) = trace_parts(drawn("###", "#.#", "###"), along="centres")
    assert part.outline.tolist() == [[0.5, 0.5], [2.5, 0.5], [2.5, 2.5], [0.5, 2.5]]
    assert [hole.tolist() for hole in part.holes] == [[[0.5, 0.5], [0.5, 2.5], [2.5, 2.5], [2.5, 0.5]]]
    (pixel,) = trace_parts(drawn("...", "..#"), along="centres")
    assert pixel.bridged.tolist() == [[2.5, 1.5]] * 3
    (diagonal,) = trace_parts(drawn("#.", ".#"), along="centres")
    assert {tuple(point) for point in diagonal.bridged.tolist()} == {(0.5, 0.5), (1.5, 1.5)}


def test_many_holes_in_a_row_need_no_recursion() -> None:
    mask = np.ones((3, 4001), dtype=bool)
    mask[1, 1::2] = False
    (part,) = trace_parts(mask)
    assert len(part.holes) == 2000
    assert np.array_equal(fill_polygon(part.bridged, mask.shape), mask)


def test_pixels_whose_centres_lie_inside_are_filled() -> None:
    assert fill_polygon([(0.5, 0.4), (2.6, 0.4), (2.6, 1.6), (0.5, 1.6)], (3, 4)).astype(int).tolist() == [
        *([1, 1, 1, 0], [1, 1, 1, 0], [0, 0, 0, 0]),
    ]


def test_what_lies_outside_is_cut_off() -> None:
    mask = fill_polygon([(-5, 1), (2, 1), (2, 20), (-5, 20)], (4, 5))
    assert mask.astype(int).tolist() == [[0] * 5, *[[1, 1, 0, 0, 0]] * 3]
    assert not fill_polygon([(9, 9), (12, 9), (12, 12)], (4, 5)).any()


def test_two_points_are_no_area() -> None:
    assert not fill_polygon([(0, 0), (3, 3)], (4, 4)).any()


@pytest.mark.parametrize("points", [[(0, 0), (float("nan"), 1), (2, 2)], [(0, 0), (1e400, 1), (2, 2)]])
def test_points_must_be_finite(points: list[tuple[float, float]]) -> None:
    with pytest.raises(ImageError, match="must be finite numbers"):
        fill_polygon(points, (4, 4))


def test_odd_numbers_are_no_points() -> None:
    with pytest.raises(ImageError, match="must be a list of points"):
        fill_polygon(np.arange(5.0), (4, 4))
