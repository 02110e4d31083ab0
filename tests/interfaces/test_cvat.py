"""CVAT's side is played by a stand-in of cvat-sdk with the few names that are used."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from conceptseg.errors import InputError, MissingExtraError
from conceptseg.inference import ConceptSegmenter
from conceptseg.interfaces import cvat
from conceptseg.shapes import fill_polygon
from tests.interfaces.fakes import FakeSegmenter


def encode_mask(mask, box):
    """CVAT's run lengths of a box: rows one after the other, background first, then the box's inclusive corners."""
    x1, y1, x2, y2 = box
    flat = mask[y1:y2, x1:x2].ravel()
    edges = [0, *(np.flatnonzero(np.diff(flat)) + 1).tolist(), flat.size]
    runs = np.diff(edges).tolist()
    return [*([0] if flat[0] else []), *runs, x1, y1, x2 - 1, y2 - 1]


@pytest.fixture
def sdk(monkeypatch):
    annotation = ModuleType("cvat_sdk.auto_annotation")
    annotation.DetectionFunctionSpec = SimpleNamespace
    annotation.label_spec = lambda name, id: (name, id)
    annotation.mask = lambda label_id, points: ("mask", label_id, points)
    annotation.polygon = lambda label_id, points: ("polygon", label_id, points)
    masks = ModuleType("cvat_sdk.masks")
    masks.encode_mask = encode_mask
    root = ModuleType("cvat_sdk")
    root.auto_annotation, root.masks = annotation, masks
    for module in (root, annotation, masks):
        monkeypatch.setitem(sys.modules, module.__name__, module)


@pytest.fixture
def fake(monkeypatch) -> FakeSegmenter:
    fake = FakeSegmenter()
    monkeypatch.setattr(ConceptSegmenter, "from_pretrained", lambda source, **options: fake)
    return fake


def context(**fields) -> SimpleNamespace:
    return SimpleNamespace(**{"conf_threshold": None, "conv_mask_to_poly": False, **fields})


PICTURE = Image.new("RGB", (6, 4))


def test_a_concept_becomes_a_label_and_its_mask(sdk, fake):
    detector = cvat.create(concept=" surface   defect ")
    assert detector.spec.labels == [("surface defect", 0)]
    assert detector.detect(context(), PICTURE) == [("mask", 0, [0, 12, 0, 0, 2, 3])]


def test_polygons_where_they_are_asked_for(sdk, fake):
    ((kind, label, points),) = cvat.create(concept="defect", label="crack").detect(
        context(conv_mask_to_poly=True), PICTURE
    )
    assert (kind, label) == ("polygon", 0) and fill_polygon(points, (4, 6)).sum() == 12


def test_what_is_unsure_or_absent_is_left_out(sdk, fake):
    def answer(**fields):
        mask = np.ones((4, 6), bool)
        return cvat.Detector(None, lambda image: SimpleNamespace(**{"mask": mask, "error": None, **fields}))

    assert answer(confidence=0.4).detect(context(conf_threshold=0.5), PICTURE) == []
    assert len(answer(confidence=0.5).detect(context(conf_threshold=0.5), PICTURE)) == 1
    assert len(answer().detect(context(conf_threshold=0.5), PICTURE)) == 1
    assert answer(found=False).detect(context(), PICTURE) == []
    assert answer(mask=np.zeros((4, 6), bool)).detect(context(), PICTURE) == []


@pytest.mark.parametrize("given", [{}, {"rule": "a.rule", "concept": "b"}])
def test_either_a_rule_or_a_concept(given):
    with pytest.raises(InputError, match="either a rule or a concept"):
        cvat.create(**given)


def test_without_the_sdk_it_says_what_to_install(fake, monkeypatch):
    monkeypatch.setitem(sys.modules, "cvat_sdk", None)
    monkeypatch.setitem(sys.modules, "cvat_sdk.auto_annotation", None)
    with pytest.raises(MissingExtraError, match="pip install cvat-sdk"):
        cvat.create(concept="defect")
