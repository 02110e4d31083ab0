"""Where attention is told to look: at what looks alike, and at the same place."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from nano.episodes import Episode
from nano.looking import looking_losses, matching_loss, pointing_loss, sameness_loss
from nano.tokens import tokens_of

PROXY = [0, 1, 2, 6, 7, 8, 12, 13, 14]
"""The tokens of the first of four references, of 6 × 6."""


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


def test_looking_at_the_same_place_says_unchanged():
    same = torch.tensor([[True, False], [False, True]])
    looks_there, looks_away = torch.tensor([[[0.9, 0.0], [0.1, 0.9]]]), torch.tensor([[[0.0, 0.9], [0.9, 0.0]]])
    assert float(sameness_loss(looks_there, same, torch.zeros(2))) == pytest.approx(-math.log(0.9), rel=1e-3)
    assert float(sameness_loss(looks_there, same, torch.ones(2))) == pytest.approx(-5 * math.log(0.1), rel=1e-2)
    assert float(sameness_loss(looks_away, same, torch.ones(2))) < 1e-3


def test_heads_share_the_look():
    looks = torch.tensor([[[0.8]], [[0.2]]])
    assert float(sameness_loss(looks, torch.ones(1, 1, dtype=torch.bool), torch.zeros(1))) == pytest.approx(math.log(2))


def taught_by(episode: Episode) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """The losses of an episode, and where the attention (layers, heads, queries, keys) is taught by them."""
    attentions = torch.full((5, 1, 8, 72, 72), 1 / 72, requires_grad=True)
    losses = looking_losses(attentions.unbind(), torch.ones(1, 72, dtype=torch.bool), [episode])
    sum(losses.values()).backward()
    assert attentions.grad is not None
    return losses, attentions.grad[:, 0].abs() > 0


def test_differences_teach_to_look_at_places_and_nothing_else(differences):
    losses, taught = taught_by(differences[0])
    assert losses.keys() == {"same", "same_proxy"}
    heads = taught.any(dim=3).any(dim=2)
    assert heads[1].tolist() == [False] * 4 + [True] * 4 and not heads[[0, 2, 3, 4]].any()
    of_proxy = taught[1, 6:].any(dim=0).any(dim=0)
    assert torch.nonzero(of_proxy)[:, 0].tolist() == PROXY


def test_one_reference_has_no_proxy_to_look_at(differences):
    losses, _ = taught_by(differences[1])
    assert losses.keys() == {"same"}


def test_likeness_teaches_to_look_at_the_references_and_then_at_the_proxy(alike):
    losses, taught = taught_by(alike)
    assert losses.keys() == {"match", "point"}
    heads = taught.any(dim=3).any(dim=2)
    assert heads[1].tolist() == [True] * 4 + [False] * 4 and heads[2].tolist() == [True] * 2 + [False] * 6
    queries, keys = taught[1].any(dim=2).any(dim=0), taught[1].any(dim=1).any(dim=0)
    assert not queries[:36].any() and queries[36:].all()  # the target's tokens look, the mosaic's do not
    grid = keys[:36].reshape(6, 6)
    assert not grid[:3, :3].any() and grid[3:].all() and not keys[36:].any()  # the first reference is the proxy
    points, pointed_at = taught[2].any(dim=2).any(dim=0), taught[2].any(dim=1).any(dim=0)
    tokens = tokens_of(alike)
    assert torch.equal(points[36:], torch.from_numpy(tokens.target > 0))
    assert torch.equal(pointed_at[:36], torch.from_numpy(tokens.is_proxy & (tokens.marked > 0)))
    assert not pointed_at[36:].any()


def test_pointing_costs_by_hand():
    """Two heads put 0.8 and 0.2 on what is found; half of a key counts half; what is no target may look anywhere."""
    attention = torch.tensor([[[0.8, 0.1], [0.0, 0.0]], [[0.2, 0.1], [0.0, 0.0]]])
    both = pointing_loss(attention, torch.tensor([1.0, 0.0]), torch.tensor([1.0, 0.0]))
    assert float(both) == pytest.approx(-math.log(0.5), rel=1e-3)
    half = pointing_loss(attention, torch.tensor([0.4, 0.2]), torch.tensor([0.3, 0.0]))
    assert float(half) == pytest.approx(-math.log(0.55), rel=1e-3)
    assert float(pointing_loss(attention, torch.tensor([1.0, 0.0]), torch.zeros(2))) == 0


def test_attention_that_was_rounded_leaves_a_number():
    """Three equal weights of bfloat16 sum to 1.002."""
    third = torch.full((1, 1, 3), 1 / 3, dtype=torch.bfloat16)
    same = torch.ones(1, 3, dtype=torch.bool)
    assert float(third.float().sum()) > 1.001
    for truth in (torch.zeros(1), torch.ones(1)):
        assert math.isfinite(float(sameness_loss(third, same, truth)))
    assert float(pointing_loss(third, torch.ones(3), torch.ones(1))) >= 0


def test_a_batch_without_any_box_is_learned_from(learner_and_data, differences):
    """A bug once: the mean over no box is no number."""
    learner, _ = learner_and_data
    nowhere = replace(differences[1], boxes=np.full((2, 4), np.nan, dtype=np.float32))
    loss, numbers, _ = learner.loss([nowhere])
    assert torch.isfinite(loss) and "head_off" not in numbers
