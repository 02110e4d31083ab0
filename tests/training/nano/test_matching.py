"""The matching head: a target is what looks like what is marked, and a withheld reference gives nothing away."""

from __future__ import annotations

import math

import pytest
import torch

from conceptseg.training.nano.matching import MatchingHead

RED, BLUE = torch.eye(4)[0] * 5, torch.eye(4)[1] * 5


def head() -> MatchingHead:
    """One whose looks are the tokens themselves, and which decides sharply."""
    head = MatchingHead(4, size=4)
    with torch.no_grad():
        head.to_looks.weight.copy_(torch.eye(4))
        head.to_looks.bias.zero_()
        head.scale.fill_(math.log(50))
    return head


def loss(marked: list[float], truth: list[float], withheld: list[bool]) -> float:
    mosaic, target = torch.stack([RED, BLUE, RED]), torch.stack([BLUE, RED])
    shares = [torch.tensor(values, dtype=torch.float32) for values in (marked, truth)]
    return float(head().loss(mosaic, target, *shares, torch.tensor(withheld)).detach())


def test_the_target_is_what_looks_like_what_is_marked():
    shown = [False, False, False]
    assert loss([1, 0, 1], [0, 1], shown) < 1e-3
    assert loss([0, 1, 0], [1, 0], shown) < 1e-3
    assert loss([1, 0, 1], [1, 0], shown) > 5


def test_half_marked_means_half_sure():
    """Of the two red tokens one is marked: a red token is as much target as not, ln 2, and weighs five as target."""
    assert loss([1, 0, 0], [0, 1], [False, False, False]) == pytest.approx(5 * math.log(2) / 2, rel=1e-3)


def test_the_withheld_reference_asks_and_tells_nothing():
    told_by_the_withheld = loss([1, 0, 1], [0, 1], [True, False, True])
    assert told_by_the_withheld > 5, "only the blue token is left to be asked, and it is not marked"
    assert loss([1, 0, 1], [0, 1], [True, False, False]) < 1e-3
    assert loss([0, 0, 1], [0, 1], [True, False, False]) > 1, "the withheld red token has to be found as well"
