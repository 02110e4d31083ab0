"""Where attention is told to look: at what looks alike, and at the same place."""

from __future__ import annotations

import math

import pytest
import torch

from conceptseg.training.nano.looking import matching_loss


def loss(attention: list[list[list[float]]], marked: list[float], truth: list[float]) -> float:
    return float(matching_loss(*(torch.tensor(values, dtype=torch.float32) for values in (attention, marked, truth))))


def test_looking_at_what_is_marked_says_target():
    sees_both = [[[0.6, 0.0], [0.0, 0.6]]]
    assert loss(sees_both, [1, 0], [1, 0]) < 1e-3
    assert loss(sees_both, [0, 1], [0, 1]) < 1e-3
    assert loss(sees_both, [1, 0], [0, 1]) > 5


def test_an_undecided_look_costs_by_hand():
    """Half of the look goes to a marked key: ln 2, five times for the target token, once for the other, over two."""
    assert loss([[[0.3, 0.3], [0.3, 0.3]]], [1, 0], [1, 0]) == pytest.approx(6 * math.log(2) / 2, rel=1e-5)


def test_a_head_that_looks_elsewhere_has_little_say():
    """One head finds the marked key, the other looks at the text, with a ninth of that left for the wrong key."""
    finds, elsewhere = [[0.9, 0.0]], [[0.0, 0.1]]
    assert loss([finds, elsewhere], [1, 0], [1]) == pytest.approx(-5 * math.log(0.9), rel=1e-3)


def test_looking_at_no_reference_at_all_is_no_target_and_no_crash():
    assert loss([[[0.0, 0.0]]], [1, 0], [0]) < 1e-3


def test_what_is_most_wrong_has_a_gradient():
    attention = torch.tensor([[[1e-6, 0.6], [0.6, 1e-6]]], requires_grad=True)
    matching_loss(attention, torch.tensor([1.0, 0.0]), torch.tensor([1.0, 0.0])).backward()
    assert attention.grad is not None
    assert float(attention.grad[0, 0, 0]) < -100


def test_rounding_under_autocast_leaves_a_number():
    """A bug once: in bfloat16 the guess came out above 1, and the training ended with a loss that was not a number."""
    rng = torch.Generator().manual_seed(0)
    attention = torch.rand(4, 64, 100, generator=rng)
    with torch.autocast("cpu", torch.bfloat16):
        value = matching_loss(attention, torch.ones(100), torch.ones(64))
    assert float(value) < 1e-2
