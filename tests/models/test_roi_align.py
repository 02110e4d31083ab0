"""RoIAlign against values computed by hand, against its definition in loops, and against torchvision where it works."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from conceptseg.models.roi_align import roi_align


def in_loops(image: Tensor, box: tuple[float, ...], bins: int) -> Tensor:
    """The definition: every bin averages a grid of bilinear samples, one after another (one channel)."""
    height, width = image.shape
    x1, y1, x2, y2 = box
    across, down = max(x2 - x1, 1.0), max(y2 - y1, 1.0)
    columns, rows = math.ceil(across / bins), math.ceil(down / bins)
    out = torch.zeros(bins, bins)
    for i in range(bins):
        for j in range(bins):
            for a in range(rows):
                for b in range(columns):
                    y = y1 + (i + (a + 0.5) / rows) * down / bins
                    x = x1 + (j + (b + 0.5) / columns) * across / bins
                    if -1.0 <= y <= height and -1.0 <= x <= width:
                        out[i, j] += bilinear(image, y, x) / (rows * columns)
    return out


def bilinear(image: Tensor, y: float, x: float) -> float:
    height, width = image.shape
    y, x = min(max(y, 0.0), height - 1.0), min(max(x, 0.0), width - 1.0)
    top, left = int(y), int(x)
    bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
    v, u = y - top, x - left
    upper = (1 - u) * image[top, left] + u * image[top, right]
    lower = (1 - u) * image[bottom, left] + u * image[bottom, right]
    return float((1 - v) * upper + v * lower)


def test_values_by_hand():
    # f(y, x) = 10 y + x is linear, so a bin's average is its value at the bin's centre.
    image = torch.arange(6.0)[:, None] * 10 + torch.arange(8.0)
    pooled = roi_align(image[None, None], torch.tensor([[[1.0, 2.0, 5.0, 4.0]]]), 2)
    # bins are 2 wide and 1 high: centres x = 2, 4 and y = 2.5, 3.5
    torch.testing.assert_close(pooled[0, 0], torch.tensor([[27.0, 29.0], [37.0, 39.0]]))


def test_outside_the_map_is_clamped_for_one_cell_then_zero():
    image = torch.full((1, 1, 4, 4), 3.0)
    # Four bins of one cell from x = -2.5: samples at -2, -1, 0, 1; beyond -1 they are 0.
    pooled = roi_align(image, torch.tensor([[[-2.5, 0.0, 1.5, 4.0]]]), 4)[0, 0]
    torch.testing.assert_close(pooled[0], torch.tensor([0.0, 3.0, 3.0, 3.0]))


def test_a_box_without_extent_counts_as_one_cell():
    image = torch.arange(16.0).view(1, 1, 4, 4)
    point = roi_align(image, torch.tensor([[[1.0, 1.0, 1.0, 1.0]]]), 1)
    cell = roi_align(image, torch.tensor([[[1.0, 1.0, 2.0, 2.0]]]), 1)
    assert point.item() == cell.item() == 7.5  # the value at (1.5, 1.5)


@settings(max_examples=60, deadline=None)
@given(
    size_hw=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    corner=st.tuples(st.floats(-4, 9), st.floats(-4, 9)),
    extent=st.tuples(st.floats(0, 12), st.floats(0, 12)),
    bins=st.integers(1, 7),
)
def test_it_is_its_definition(
    size_hw: tuple[int, int], corner: tuple[float, float], extent: tuple[float, float], bins: int
):
    image = torch.randn(size_hw, generator=torch.Generator().manual_seed(0))
    # sixteenths are exact in float32, so that both sides see the same numbers of samples
    x, y, w, h = (round(value * 16) / 16 for value in (*corner, *extent))
    box = (x, y, x + w, y + h)
    pooled = roi_align(image[None, None], torch.tensor([[box]]), bins)[0, 0]
    torch.testing.assert_close(pooled, in_loops(image, box, bins), atol=1e-5, rtol=0)


def test_boxes_come_out_image_by_image():
    images = torch.stack([torch.zeros(1, 5, 5), torch.ones(1, 5, 5)])
    boxes = torch.tensor([[[0.0, 0, 2, 2], [1, 1, 3, 3]], [[0, 0, 2, 2], [1, 1, 3, 3]]])
    assert roi_align(images, boxes, 3).mean(dim=(1, 2, 3)).tolist() == pytest.approx([0, 0, 1, 1])


def test_no_boxes_and_half_precision():
    assert roi_align(torch.zeros(1, 2, 4, 4), torch.zeros(1, 0, 4), 7).shape == (0, 2, 7, 7)
    assert roi_align(torch.zeros(1, 2, 4, 4).bfloat16(), torch.zeros(1, 1, 4), 7).dtype == torch.bfloat16


def test_it_is_torchvisions():
    try:
        from torchvision.ops import roi_align as theirs
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"torchvision does not work here: {error}")
    image = torch.randn(2, 3, 20, 30)
    boxes = torch.rand(2, 5, 4) * 25
    boxes[..., 2:] += boxes[..., :2]
    torch.testing.assert_close(roi_align(image, boxes, 7), theirs(image, list(boxes), 7), atol=1e-5, rtol=1e-5)
