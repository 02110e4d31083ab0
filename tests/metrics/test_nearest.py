"""The nearest foreground pixel is SciPy's, ties included, near and far."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt

from conceptseg.metrics.nearest import REACH_PX, bounding_window, dilate_box, nearest_foreground


@pytest.mark.parametrize("seed", range(60))
def test_nearest_pixel_is_that_of_scipy_with_its_choice_among_equals(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.random(tuple(rng.integers(2, 40, 2))) < rng.choice([0.01, 0.05, 0.3, 0.7])
    truth[tuple(rng.integers(0, truth.shape))] = True
    asked = ~truth & (rng.random(truth.shape) < 0.5)
    window = (slice(0, truth.shape[0]), slice(0, truth.shape[1]))
    found = nearest_foreground(truth, window, asked)
    distance, index = distance_transform_edt(~truth, return_indices=True)
    assert np.array_equal(found.queries, np.flatnonzero(asked))
    assert np.sqrt(found.squared_px) == pytest.approx(distance[asked])
    near = found.squared_px <= REACH_PX**2
    expected = np.ravel_multi_index((index[0][asked], index[1][asked]), truth.shape)
    assert np.array_equal(found.pixels[near], expected[near])


@pytest.mark.parametrize("stride", [1, 10])
def test_far_pixels_are_exact_for_few_and_for_many_queries(stride: int) -> None:
    truth = np.zeros((200, 260), bool)
    truth[90:110, 20:60] = True
    truth[3, 250] = True
    asked = np.zeros_like(truth)
    asked[::stride, ::stride] = True
    asked &= ~truth
    found = nearest_foreground(truth, (slice(0, 200), slice(0, 260)), asked)
    assert np.sqrt(found.squared_px) == pytest.approx(distance_transform_edt(~truth)[asked])


def test_a_window_is_searched_in_its_own_numbers() -> None:
    truth = np.zeros((50, 60), bool)
    truth[30, 40] = True
    asked = np.zeros((50, 60), bool)
    asked[33, 44] = True
    window = bounding_window(asked, margin_px=REACH_PX)
    assert window == (slice(33 - REACH_PX, 34 + REACH_PX), slice(44 - REACH_PX, 45 + REACH_PX))
    found = nearest_foreground(truth, window, asked[window])
    assert found.squared_px.tolist() == [3**2 + 4**2]
    assert np.argwhere(truth[window]).tolist() == [list(divmod(int(found.pixels[0]), 2 * REACH_PX + 1))]


def test_windows_stop_at_the_image() -> None:
    mask = np.zeros((5, 9), bool)
    mask[0, 8] = True
    assert bounding_window(mask, margin_px=2) == (slice(0, 3), slice(6, 9))


def test_dilation_reaches_the_radius_and_no_farther() -> None:
    mask = np.zeros((20, 20), bool)
    mask[10, 2] = True
    expected = np.zeros_like(mask)
    expected[7:14, 0:6] = True
    assert np.array_equal(dilate_box(mask, 3), expected)
