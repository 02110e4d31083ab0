from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from conceptseg.data import ConceptSample, Reference
from conceptseg.data.states import SampleStates
from conceptseg.images import select_label

LABELS = np.arange(16, dtype=np.uint8).reshape(4, 4) % 3


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    Image.fromarray(LABELS).save(tmp_path / "labels.png")
    return tmp_path / "labels.png"


def sample(image: Path, mask: object, *references: Reference) -> ConceptSample:
    return ConceptSample(id="a", task="other_cd", concept="dent", image=image, mask=mask, references=references)


def test_a_selected_mask_is_the_file_and_the_selection(labels: Path):
    first = sample(labels, select_label(labels, 1, None))
    state = SampleStates().of(first)
    assert state.stamp is not None  # the file's, though it is read later
    again = replace(first, mask=select_label(labels, 1, None))
    assert SampleStates().of(again) == state
    for label, ignore in ((2, None), (1, 2), ("any", None)):
        other = SampleStates().of(replace(first, mask=select_label(labels, label, ignore)))
        assert other.digest != state.digest and other.stamp != state.stamp
    Image.fromarray(LABELS[::-1]).save(labels)
    assert not SampleStates().is_same(first, state.to_dict())


@pytest.mark.parametrize(
    "changed",
    [
        Reference(LABELS, mask=LABELS, label=2),
        Reference(LABELS, mask=LABELS, label=1, ignore=2),
        Reference(LABELS, mask=LABELS[::-1], label=1),
    ],
)
def test_what_is_selected_in_a_reference_counts(labels: Path, changed: Reference):
    given = Reference(LABELS, mask=LABELS, label=1)
    state = SampleStates().of(sample(labels, labels, given))
    assert SampleStates().is_same(sample(labels, labels, replace(given)), state.to_dict())
    assert not SampleStates().is_same(sample(labels, labels, changed), state.to_dict())
