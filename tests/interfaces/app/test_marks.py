"""What is drawn on the board becomes boxes and masks, at the picture's own pixels."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from conceptseg.errors import ImageError, InputError
from conceptseg.interfaces.app.marks import Entry, parse_entries, read_reference


def read(entry, uploads, number=1):
    return read_reference(Entry.model_validate(entry), number, uploads, uploads.budget())


def test_one_box_is_a_box_whichever_corner_it_was_drawn_from(put, uploads):
    reference, notes = read(put(marks=[{"kind": "box", "box": [30, 20, 10, 5]}]), uploads)
    assert (reference.box, reference.mask, notes) == ((10, 5, 30, 20), None, ())


def test_a_box_is_cut_to_its_picture(put, uploads):
    reference, _ = read(put(marks=[{"kind": "box", "box": [-5, -5, 20, 500]}]), uploads)
    assert reference.box == (0, 0, 20, 30)


def test_several_boxes_are_a_mask_of_what_they_cover_and_that_is_told(put, uploads):
    boxes = [{"kind": "box", "box": [0, 0, 10, 10]}, {"kind": "box", "box": [20, 10, 30, 20]}]
    reference, notes = read(put(marks=boxes), uploads, number=3)
    expected = np.zeros((30, 40), dtype=bool)
    expected[0:10, 0:10] = expected[10:20, 20:30] = True
    assert reference.box is None and np.array_equal(reference.mask, expected)
    assert notes == ("Reference 3: its 2 boxes count as one mask of what they cover.",)


def test_strokes_are_a_mask_and_the_eraser_takes_away(put, uploads):
    brush = {"kind": "brush", "points": [[5, 15], [35, 15]], "radius": 4}
    erase = {"kind": "erase", "points": [[20, 15]], "radius": 5}
    painted, _ = read(put(marks=[brush]), uploads)
    assert painted.mask[15, 5] and painted.mask[15, 34] and painted.mask[12, 20] and not painted.mask[3, 20]
    assert painted.mask[:, 20].sum() in (8, 9)
    erased, _ = read(put(marks=[brush, erase]), uploads)
    assert not erased.mask[15, 20] and erased.mask[15, 6]
    again, _ = read(put(marks=[erase, brush]), uploads)
    assert again.mask[15, 20], "what is painted after the eraser stays"


def test_a_dot_is_a_disc(put, uploads):
    reference, _ = read(put(marks=[{"kind": "brush", "points": [[20, 15]], "radius": 5}]), uploads)
    assert reference.mask[15, 20] and reference.mask[15, 24] and not reference.mask[11, 16]


def test_a_box_beside_strokes_stays_a_box(put, uploads):
    marks = [{"kind": "box", "box": [0, 0, 20, 20]}, {"kind": "brush", "points": [[10, 10]], "radius": 3}]
    reference, _ = read(put(marks=marks), uploads)
    assert reference.box == (0, 0, 20, 20) and reference.mask.sum() < 60


def test_strokes_add_to_a_masks_file(put, folder, uploads):
    mask = np.zeros((30, 40), dtype=np.uint8)
    mask[:, :10] = 255
    Image.fromarray(mask).save(folder / "m.png")
    entry = put(mask=str(folder / "m.png"), marks=[{"kind": "brush", "points": [[30, 15]], "radius": 2}])
    reference, _ = read(entry, uploads)
    assert reference.mask[0, 9] and reference.mask[15, 30] and not reference.mask[15, 20]


def test_without_marks_a_reference_is_unmarked(put, uploads):
    reference, _ = read(put(), uploads)
    assert reference.box is None and reference.mask is None


def test_marks_fit_the_picture_as_it_is_seen_not_as_it_is_stored(folder, uploads):
    exif = Image.Exif()
    exif[274] = 6  # to be turned by a quarter
    Image.new("RGB", (40, 30), "teal").save(folder / "lying.jpg", exif=exif)
    entry = {"path": str(folder / "lying.jpg"), "marks": [{"kind": "brush", "points": [[25, 35]], "radius": 2}]}
    reference, _ = read(entry, uploads)
    assert reference.mask.shape == (40, 30) and reference.mask[35, 25]


@pytest.mark.parametrize("box", [[10, 10, 10.4, 20], [50, 5, 60, 20]])
def test_a_box_that_covers_nothing_is_refused(put, uploads, box):
    with pytest.raises(InputError, match="A box on reference 2 is smaller than a pixel of its picture"):
        read(put(marks=[{"kind": "box", "box": box}]), uploads, number=2)


@pytest.mark.parametrize(
    "told",
    [
        "x", 3, [3], [{}], [{"path": "a", "marks": [{"kind": "star"}]}], [{"path": "a", "marks": [{"kind": "box"}]}],
        [{"path": "a", "marks": [{"kind": "box", "box": [1, 2, 3, float("nan")]}]}],
        [{"path": "a", "marks": [{"kind": "brush", "points": [], "radius": 2}]}],
        [{"path": "a", "marks": [{"kind": "brush", "points": [[1, 1]], "radius": -2}]}],
        [{"path": "a", "marks": [{"kind": "brush", "points": [[1e300, 1]], "radius": 2}]}],
    ],
)  # fmt: skip
def test_a_board_made_by_hand_is_refused_in_a_line(told):
    with pytest.raises(InputError, match="What is drawn cannot be read"):
        parse_entries(told)


def test_an_empty_board_is_no_references():
    assert parse_entries(None) == parse_entries("") == parse_entries([]) == []


def test_a_mask_of_another_size_is_refused(put, folder, uploads):
    Image.new("L", (5, 5)).save(folder / "m.png")
    with pytest.raises(ImageError, match="5×5 pixels"):
        read(put(mask=str(folder / "m.png")), uploads)
