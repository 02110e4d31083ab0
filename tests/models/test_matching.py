"""Matching on sights made by hand: what resembles marked cells, on every scale, and what a place itself says."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from conceptseg.errors import InputError
from conceptseg.models.matching import (
    EVIDENCE,
    Evidence,
    SeenReferences,
    Sight,
    cover_cells,
    cross_match,
    match_references,
)

RED, BLUE = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0)


def picture(red: list[tuple[int, int]], side: int = 4) -> torch.Tensor:
    """A map of blue cells with some red ones."""
    seen = torch.tensor(BLUE).view(3, 1, 1).repeat(1, side, side)
    for row, column in red:
        seen[:, row, column] = torch.tensor(RED)
    return seen


def sight(*maps: torch.Tensor) -> Sight:
    stacked = torch.stack(maps)
    return Sight.of([stacked, stacked, stacked])


def marks(red: list[tuple[int, int]], side: int = 4) -> torch.Tensor:
    covers = torch.zeros(side, side)
    for row, column in red:
        covers[row, column] = 1.0
    return covers


def of(evidence: Evidence, name: str) -> torch.Tensor:
    return evidence.maps[EVIDENCE.index(name)]


def test_the_margin_finds_what_is_marked_wherever_it_is() -> None:
    evidence = match_references(sight(picture([(3, 0)])), sight(picture([(1, 1), (1, 2), (2, 1)])),
                                marks([(1, 1), (1, 2), (2, 1)])[None])  # fmt: skip
    assert torch.equal(evidence.margin > 0, marks([(3, 0)]).bool())
    # Red cells are at 1 from red and 0 from blue; maps are 2·similarity − 1, the margin 8 times the difference.
    assert float(of(evidence, "marked")[3, 0]) == pytest.approx(1.0)
    assert float(of(evidence, "unmarked")[3, 0]) == pytest.approx(-1.0)
    assert float(evidence.margin[3, 0]) == pytest.approx(8.0)
    assert float(evidence.margin[0, 0]) == pytest.approx(-8.0)
    assert float(of(evidence, "fine")[3, 0]) == pytest.approx(4.0)


def test_the_same_place_and_the_mean_mark_are_told() -> None:
    references = sight(picture([(0, 0)]), picture([]))
    covers = torch.stack([marks([(0, 0)]), marks([(0, 0), (2, 2)])])
    evidence = match_references(sight(picture([(0, 0)])), references, covers)
    # The target's first cell is red; so is that of one reference in two.
    assert float(of(evidence, "same_place")[0, 0]) == pytest.approx(0.0)
    assert float(of(evidence, "same_place")[1, 1]) == pytest.approx(1.0)
    assert float(of(evidence, "place")[0, 0]) == pytest.approx(1.0)
    assert float(of(evidence, "place")[2, 2]) == pytest.approx(0.0)


@pytest.mark.parametrize("covers", [torch.zeros(1, 4, 4), torch.ones(1, 4, 4), torch.full((1, 4, 4), 0.4)])
def test_marks_of_nothing_or_everything_or_hardly_anything_still_give_numbers(covers: torch.Tensor) -> None:
    evidence = match_references(sight(picture([(0, 0)])), sight(picture([(1, 1)])), covers)
    assert torch.isfinite(evidence.maps).all()


def test_the_order_of_references_does_not_matter() -> None:
    torch.manual_seed(0)
    maps = torch.randn(3, 5, 6, 6)
    covers = torch.rand(3, 6, 6)
    target = Sight.of([torch.randn(1, 5, 6, 6)])
    one = match_references(target, Sight.of([maps]), covers)
    other = match_references(target, Sight.of([maps.flip(0)]), covers.flip(0))
    torch.testing.assert_close(one.maps, other.maps)


def test_scales_of_any_number_are_compared_on_the_finest_grid() -> None:
    torch.manual_seed(0)
    fine, coarse = torch.randn(2, 5, 8, 8), torch.randn(2, 7, 4, 4)
    seen = Sight.of([fine, coarse])
    assert seen.grid_hw == (8, 8)
    assert seen.joined().shape == (2, 12, 8, 8)
    assert len(seen.select([1])) == 1
    evidence = match_references(seen.select([0]), seen.select([1]), torch.rand(1, 8, 8))
    assert evidence.maps.shape == (len(EVIDENCE), 8, 8)


@pytest.mark.parametrize("targets, covers", [(2, 1), (1, 2), (1, 0)])
def test_numbers_that_do_not_fit_are_refused(targets: int, covers: int) -> None:
    with pytest.raises(InputError, match="Expected one target and as many marks as references"):
        match_references(sight(*[picture([])] * targets), sight(picture([])), torch.zeros(covers, 4, 4))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 3))
def test_evidence_is_finite_and_the_margin_is_the_difference(seed: int, references: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    seen = Sight.of([torch.randn(references + 1, 4, 5, 5, generator=generator)])
    covers = torch.rand(references, 5, 5, generator=generator).round()
    evidence = match_references(seen.select([0]), seen.select(range(1, references + 1)), covers)
    assert torch.isfinite(evidence.maps).all()
    difference = (of(evidence, "marked") - of(evidence, "unmarked")) / 2
    torch.testing.assert_close(evidence.margin, 8 * difference, atol=1e-5, rtol=1e-5)


def test_cells_are_covered_by_their_share() -> None:
    mask = np.zeros((4, 8), dtype=bool)
    mask[:2, :2] = True
    mask[2:, 4:6] = True
    mask[3, 4:6] = False
    assert cover_cells(mask, (2, 4)).tolist() == [[1.0, 0.0, 0.0, 0.0], [0.0, 0.0, pytest.approx(0.5, abs=0.01), 0.0]]


def test_what_is_not_judged_is_neither_marked_nor_unmarked() -> None:
    mask, ignore = np.zeros((4, 8), dtype=bool), np.zeros((4, 8), dtype=bool)
    mask[:, :2] = True
    ignore[:, 2:4] = True
    looks = torch.eye(4).reshape(1, 4, 1, 4)  # four cells that have nothing in common
    target = Sight.of([looks[..., 1:2].expand(1, 4, 1, 4)])  # looks like the second one, which is not judged
    for void, similarity in ((ignore, 0.0), (None, 1 / 3)):  # the mean over the nearest three, or two, unmarked ones
        evidence = match_references(target, Sight.of([looks]), cover_cells(mask, (1, 4), void)[None])
        assert of(evidence, "unmarked").flatten().tolist() == pytest.approx([2 * similarity - 1] * 4)


def test_what_is_unlike_is_background_wherever_it_was_seen() -> None:
    target, reference = sight(picture([(3, 0), (0, 3)])), sight(picture([(1, 1)]))
    covers = marks([(1, 1)])[None]
    green = torch.tensor((0.6, 0.0, 0.8))  # between red and what no reference shows
    maps = target.maps[0].clone()
    maps[0, :, 0, 3] = green
    target = Sight.of([maps, maps, maps])
    other = torch.zeros(3, 4, 4)
    other[2] = 1.0
    other[:, 2, 2] = green
    against = SeenReferences(sight(other), marks([(2, 2)])[None])
    plain, told = match_references(target, reference, covers), match_references(target, reference, covers, against)
    assert float(plain.margin[0, 3]) > 0 > float(told.margin[0, 3])  # 0.6 from red, 1 from what it is not
    assert float(told.margin[3, 0]) > 0
    # Only the marked cell of that picture counts: blue cells stay where they were.
    assert torch.equal(told.margin[1:3, 1:3], plain.margin[1:3, 1:3])
    assert float(of(told, "unmarked")[0, 3]) == pytest.approx(2 * (1.0 + 0.02) - 1)


def test_each_reference_is_found_by_each_other_or_not() -> None:
    seen = sight(picture([(0, 0), (0, 1)]), picture([(2, 2), (3, 3)]), picture([(1, 1), (1, 2)]))
    covers = torch.stack([marks([(0, 0), (0, 1)]), marks([(2, 2), (3, 3)]), marks([(3, 0), (3, 1)])])
    agreement = cross_match(SeenReferences(seen, covers))
    assert agreement[0, 1] == agreement[1, 0] == 1.0  # red is marked in both
    assert agreement[0, 2] == agreement[1, 2] == 0.0  # the last one marks blue cells, and leads away from red
    assert max(agreement[2, 0], agreement[2, 1]) == 0.0
