import numpy as np
import pytest
import torch

from nano.dense import UNKNOWN, cell_loss, coverage, label_cells, merge_cells


def test_coverage_is_the_share_of_each_cell():
    mask = np.zeros((8, 8), dtype=bool)
    mask[:4, :2] = True  # the left half of the top-left cell of a 2×2 grid
    np.testing.assert_allclose(coverage(mask, 2), [[0.5, 0.0], [0.0, 0.0]], atol=1 / 255)


def test_a_cell_belongs_to_what_covers_it_most():
    big, small = np.zeros((8, 8), dtype=bool), np.zeros((8, 8), dtype=bool)
    big[:4, :4] = True
    small[:3, :4] = True
    cells = label_cells([(7, small), (9, big)], 2)
    assert cells.labels.tolist() == [[9, 0], [0, 0]]
    assert cells.boxes[0, 0].tolist() == [0.0, 0.0, 0.5, 0.5]


def test_slivers_and_empty_masks_label_nothing():
    sliver = np.zeros((8, 8), dtype=bool)
    sliver[:1, :4] = True
    cells = label_cells([(1, sliver), (2, np.zeros((8, 8), dtype=bool))], 2, elsewhere=UNKNOWN)
    assert (cells.labels == UNKNOWN).all()


def test_cell_loss_ignores_unknown_cells_and_boxes_of_nothing():
    scores = torch.tensor([[0.0, 9.0], [9.0, 0.0], [5.0, -5.0]])
    places = torch.tensor([[0.1, 0.1, 0.4, 0.4], [9.0, 9.0, 9.0, 9.0], [9.0, 9.0, 9.0, 9.0]])
    labels = torch.tensor([1, 0, UNKNOWN])
    boxes = torch.tensor([[0.1, 0.1, 0.4, 0.4], [0.0] * 4, [0.0] * 4])
    loss, numbers = cell_loss(scores, places, labels, boxes)
    assert float(loss) < 1e-3
    assert numbers["cells_right"] == 1.0
    assert numbers["cell_box_off"] == 0.0


@pytest.mark.parametrize("label", [0, UNKNOWN])
def test_cell_loss_where_nothing_is_held_is_finite_and_counts_nothing(label):
    labels, boxes = torch.full((4,), label), torch.zeros(4, 4)
    scores, places = torch.ones(4, 3, requires_grad=True), torch.ones(4, 4, requires_grad=True)
    loss, numbers = cell_loss(scores, places, labels, boxes)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(scores.grad).all()
    assert (places.grad == 0).all()
    assert (loss.item() == 0) == (label == UNKNOWN)
    assert set(numbers) == (set() if label == UNKNOWN else {"cell_loss"})


def test_merged_cells_are_each_tokens_own_patches():
    grid = np.arange(16).reshape(4, 4)
    assert merge_cells(grid).tolist() == [[0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 12, 13], [10, 11, 14, 15]]
    assert merge_cells(np.stack([grid, -grid], axis=-1))[1, 2].tolist() == [6, -6]
