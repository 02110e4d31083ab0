from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from conceptseg.errors import InputError
from conceptseg.training.losses import (
    bce_loss,
    dice_loss,
    focal_loss,
    segmentation_loss,
    shrink_truth,
    shrink_truth_and_ignore,
)

LN2 = math.log(2)
P75 = math.log(3)  # a logit whose sigmoid is 3/4
SURE = 100.0


def image(*rows):
    return torch.tensor([rows], dtype=torch.float32)


@pytest.mark.parametrize(
    ("logits", "truth", "expected"),
    [
        (image([0, 0]), image([1, 0]), 1 - (2 * 0.5 + 1) / (0.5 + 0.5 + 1 + 1)),
        (image([SURE, -SURE]), image([1, 0]), 0.0),
        (image([-SURE, SURE]), image([1, 0]), 1 - 1 / 3),
        (image([P75, 0]), image([1, 1]), 1 - (2 * 1.25 + 1) / (1.25 + 2 + 1)),
        (image([0, 0], [0, 0]), image([0, 0], [0, 0]), 1 - 1 / 3),  # empty truth: what is predicted is to blame
        (image([-SURE, -SURE]), image([0, 0]), 0.0),
        (image([SURE]), image([0.5]), 1 - 2 / 2.5),  # soft truth
    ],
)
def test_dice_by_hand(logits, truth, expected):
    assert dice_loss(logits, truth).item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("logits", "truth", "expected"),
    [
        (image([0]), image([1]), 0.25 * 0.25 * LN2),
        (image([0]), image([0]), 0.75 * 0.25 * LN2),
        (image([0, 0]), image([1, 0]), 0.125 * LN2),
        (image([0]), image([0.5]), 0.125 * LN2),
        (image([P75]), image([1]), 0.25 * 0.0625 * math.log(4 / 3)),
        (image([P75]), image([0]), 0.75 * 0.5625 * math.log(4)),
        (image([SURE]), image([1]), 0.0),
        (image([-SURE]), image([1]), 0.25 * SURE),  # finite however wrong
    ],
)
def test_focal_by_hand(logits, truth, expected):
    assert focal_loss(logits, truth).item() == pytest.approx(expected, abs=1e-6)


@settings(deadline=None)
@given(st.lists(st.floats(-5, 5), min_size=4, max_size=4), st.lists(st.floats(0, 1), min_size=4, max_size=4))
def test_focal_without_focus_and_weights_is_cross_entropy(logits, truth):
    a, b = image(logits), image(truth)
    assert focal_loss(a, b, alpha=-1.0, gamma=0.0).item() == pytest.approx(bce_loss(a, b).item(), rel=1e-5)


@pytest.mark.parametrize("pixel_loss", ["focal", "bce"])
def test_the_sum_of_both_an_image_each(pixel_loss):
    logits, truth = torch.tensor([[[0.0, 0.0]], [[SURE, -SURE]]]), torch.tensor([[[1.0, 0.0]]] * 2)
    first = 1 / 3 + (0.125 * LN2 if pixel_loss == "focal" else LN2)
    assert segmentation_loss(logits, truth, pixel_loss=pixel_loss).tolist() == pytest.approx([first, 0], abs=1e-6)


def test_an_unknown_pixel_loss_is_refused():
    with pytest.raises(InputError, match="must be 'focal' or 'bce', got 'mse'"):
        segmentation_loss.__wrapped__(image([0]), image([1]), pixel_loss="mse")


@pytest.mark.parametrize("loss", [dice_loss, focal_loss, bce_loss])
def test_invalid_cells_change_nothing(loss):
    """As if the image ended where the valid cells end."""
    logits, truth = image([0.3, -1.0, 7.0]), image([1, 0, 0])
    valid = torch.tensor([[[True, True, False]]])
    assert loss(logits, truth, valid).item() == pytest.approx(loss(logits[..., :2], truth[..., :2]).item(), rel=1e-6)


def test_an_image_without_a_valid_cell_costs_nothing_and_teaches_nothing():
    logits = image([3.0, -2.0]).requires_grad_()
    loss = segmentation_loss(logits, image([0, 1]), torch.zeros(1, 1, 2, dtype=torch.bool))
    loss.sum().backward()
    assert loss.item() == 0
    assert logits.grad.abs().max() == 0


def test_the_gradient_points_to_the_truth():
    logits = torch.zeros(1, 2, 2, requires_grad=True)
    segmentation_loss(logits, image([1, 0], [0, 1])).sum().backward()
    assert (logits.grad[0] < 0).tolist() == [[True, False], [False, True]]


def test_shrinking_averages_areas():
    truth = image([1, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 1])
    assert shrink_truth(truth, (2, 2)).tolist() == [[[0.75, 0.0], [0.0, 0.25]]]
    assert shrink_truth(image([0, 1]), (2, 4)).shape == (1, 2, 4)


def test_ignored_pixels_leave_the_average():
    truth = torch.tensor([[[True, False, True, True], [True, False, False, False]]])
    ignore = torch.tensor([[[False, True, True, True], [False, True, True, False]]])
    share, valid = shrink_truth_and_ignore(truth, ignore, (1, 2))
    assert share.tolist() == [[[1.0, 0.0]]]  # of the counted pixels only
    assert valid.tolist() == [[[True, False]]]  # half of the first cell counts, a quarter of the second
