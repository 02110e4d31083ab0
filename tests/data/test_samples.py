from __future__ import annotations

import math

import numpy as np
import pytest

from conceptseg.data import ConceptSample, Reference
from conceptseg.data.samples import _checked_box
from conceptseg.errors import SampleError
from conceptseg.taxonomy import Level

PICTURE = np.zeros((4, 6, 3), np.uint8)


def test_the_level_follows_from_the_task():
    assert ConceptSample("a", "polyp_lesion", "polyp", PICTURE).level is Level.CD
    assert ConceptSample("a", "other_cr", "polyp", PICTURE).level is Level.CR


def test_references_become_a_tuple_and_boxes_floats():
    reference = Reference(PICTURE, box=(1, 2, 3, 4))
    assert reference.box == (1.0, 2.0, 3.0, 4.0) and all(isinstance(value, float) for value in reference.box)
    assert ConceptSample("a", "saliency", "cat", PICTURE, references=(reference,)).references == (reference,)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"id": " "}, "id must not be blank"),
        ({"concept": ""}, "Sample 'a': The concept is empty"),
        ({"task": "saliencey"}, r"Sample 'a': Unknown task 'saliencey'. Known tasks: living, "),
    ],
)
def test_a_sample_must_make_sense(changes: dict, message: str):
    with pytest.raises(SampleError, match=message):
        ConceptSample(**({"id": "a", "task": "saliency", "concept": "cat", "image": PICTURE} | changes))


@pytest.mark.parametrize("box", [(3, 2, 1, 4), (1, 4, 3, 2), (1, 2, 1, 4), (0, 0, math.inf, 1), (math.nan, 0, 1, 1)])
def test_a_box_must_be_one(box: tuple):
    with pytest.raises(SampleError, match="x1 < x2 and y1 < y2, all finite, got"):
        Reference(PICTURE, box=box)


def test_boxes_of_callers_who_do_not_check_types():
    """What `Reference` does without the run-time type checks of the tests."""
    assert _checked_box([1, 2, 3, 4]) == _checked_box(np.array([1, 2, 3, 4])) == (1.0, 2.0, 3.0, 4.0)
    for box in ((1, 2, 3), "abcd", 5, None):
        with pytest.raises(SampleError, match=r"four numbers \(x1, y1, x2, y2\), got"):
            _checked_box(box)
