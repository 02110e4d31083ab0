from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from conceptseg.data import ConceptSample, Reference, load_reference, load_sample
from conceptseg.errors import ImageError, SampleError

PICTURE = np.full((6, 10, 3), 90, np.uint8)
MASK = np.zeros((6, 10), bool)
MASK[2:4, 5:9] = True


@pytest.mark.parametrize(
    ("reference", "box"),
    [
        (Reference(PICTURE), None),
        (Reference(PICTURE, mask=MASK), (5, 2, 9, 4)),
        (Reference(PICTURE, box=(1, 2, 3, 4)), (1, 2, 3, 4)),
        (Reference(PICTURE, mask=MASK, box=(1, 2, 3, 4)), (1, 2, 3, 4)),
        (Reference(PICTURE, mask=~MASK & MASK), None),
        (Reference(PICTURE, box=(-5, 3, 20, 60)), (0, 3, 10, 6)),
    ],
)
def test_a_references_box_is_its_own_or_its_masks(reference: Reference, box: tuple | None):
    assert load_reference(reference).box == box


def test_ignored_pixels_of_a_reference_are_not_its_target():
    levels = np.where(MASK, 255, 128).astype(np.uint8)
    assert load_reference(Reference(PICTURE, mask=levels)).box == (5, 2, 9, 4)


def test_ignored_pixels_of_a_reference_stay_ignored():
    levels = np.where(MASK, 255, 0).astype(np.uint8)
    levels[5] = 128
    loaded = load_reference(Reference(PICTURE, mask=levels))
    assert loaded.ignore is not None and loaded.ignore[5].all() and loaded.ignore.sum() == 10
    again = load_reference(loaded.as_reference())
    assert np.array_equal(again.mask, MASK) and np.array_equal(again.ignore, loaded.ignore)
    assert load_reference(Reference(PICTURE, mask=MASK)).ignore is None


def test_a_box_outside_its_picture():
    with pytest.raises(SampleError, match=r"\(20\.0, 0\.0, 30\.0, 5\.0\) lies outside its picture of 10×6"):
        load_reference(Reference(PICTURE, box=(20, 0, 30, 5)))


def test_a_sample_without_a_mask():
    loaded = load_sample(ConceptSample("a", "living", "cat", PICTURE))
    assert (loaded.mask, loaded.ignore, loaded.references) == (None, None, ())
    assert loaded.image.size == (10, 6)


def test_mistakes_name_the_sample_and_the_file(tmp_path: Path):
    Image.new("L", (6, 10)).save(tmp_path / "m.png")
    for sample in (
        ConceptSample("set/9", "living", "cat", PICTURE, mask=tmp_path / "m.png"),
        ConceptSample("set/9", "living", "cat", PICTURE, references=(Reference(PICTURE, mask=tmp_path / "m.png"),)),
    ):
        with pytest.raises(ImageError, match=r"Sample 'set/9': The mask '.*m\.png' has 10×6 .* its image has 6×10"):
            load_sample(sample)
    outside = ConceptSample("set/9", "living", "cat", PICTURE, references=(Reference(PICTURE, box=(20, 0, 30, 5)),))
    with pytest.raises(SampleError, match="Sample 'set/9': The box"):
        load_sample(outside)
