import numpy as np
import torch

from conceptseg.training.nano.dense import UNKNOWN, cell_loss, coverage, label_cells


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


def test_cell_loss_of_a_picture_with_nothing_is_finite():
    labels, boxes = torch.zeros(4, dtype=torch.long), torch.zeros(4, 4)
    loss, _ = cell_loss(torch.zeros(4, 3, requires_grad=True), torch.zeros(4, 4, requires_grad=True), labels, boxes)
    loss.backward()
    assert torch.isfinite(loss)
