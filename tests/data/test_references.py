"""Which references a sample is shown with, and that they change from draw to draw and with nothing else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from conceptseg.data import ConceptSample, Reference
from conceptseg.data.references import ReferenceDrawer, is_same_picture

PICTURES = [np.full((4, 4, 3), value, dtype=np.uint8) for value in range(20)]
MASK = np.ones((4, 4), dtype=bool)


def sample(number, *, task="saliency", concept="thing", group=None, references=()):
    return ConceptSample(f"s{number}", task, concept, PICTURES[number], MASK, references, group=group)


def pictures_of(references):
    return {int(reference.image[0, 0, 0]) for reference in references}


def test_references_are_other_samples_of_the_same_kind():
    others = [sample(k) for k in range(6)] + [sample(6, concept="other"), sample(7, task="camouflage")]
    drawer = ReferenceDrawer(others, seed=0, count=4)
    for target in others[:6]:
        drawn = pictures_of(drawer.references_of(target))
        assert len(drawn) == 4
        assert drawn <= set(range(6)) - {int(target.image[0, 0, 0])}


def test_groups_keep_apart():
    others = [sample(k, group="ab"[k % 2]) for k in range(8)]
    drawer = ReferenceDrawer(others, seed=0, count=4)
    assert pictures_of(drawer.references_of(others[0])) == {2, 4, 6}  # fewer than four are there


def test_a_draw_is_the_same_in_any_company():
    others = [sample(k) for k in range(8)]
    first, second = (ReferenceDrawer(others, seed=5, count=4) for _ in range(2))
    expected = [pictures_of(first.references_of(s)) for s in others]
    assert [pictures_of(second.references_of(s)) for s in reversed(others)] == expected[::-1]
    other_seed = ReferenceDrawer(others, seed=6, count=4)
    assert [pictures_of(other_seed.references_of(s)) for s in others] != expected


def test_own_references_are_thinned_but_keep_their_order():
    own = tuple(Reference(PICTURES[k], MASK) for k in range(1, 6))
    target = sample(0, references=own)
    thinned = ReferenceDrawer([], seed=0, count=2).references_of(target)
    shown = [int(reference.image[0, 0, 0]) for reference in thinned]
    assert len(shown) == 2
    assert shown == sorted(shown)
    assert ReferenceDrawer([], seed=0, count=0).references_of(target) == ()


def test_context_reasoning_keeps_all_its_references():
    own = tuple(Reference(PICTURES[k], MASK) for k in range(1, 4))
    target = sample(0, task="cross_frame", references=own)
    assert ReferenceDrawer([], seed=0, count=1).references_of(target) == own


def test_a_file_is_the_same_picture_under_another_name(tmp_path):
    (tmp_path / "a.png").write_bytes(b"picture")
    (tmp_path / "b.png").write_bytes(b"picture")
    (tmp_path / "c.png").write_bytes(b"another")
    assert is_same_picture(tmp_path / "a.png", str(tmp_path / "b.png"))
    assert not is_same_picture(tmp_path / "a.png", tmp_path / "c.png")
    assert not is_same_picture(tmp_path / "a.png", PICTURES[0])


def test_a_sample_without_a_mask_is_nobodys_reference():
    others = [sample(0), replace(sample(1), mask=None), sample(2)]
    assert pictures_of(ReferenceDrawer(others, seed=0, count=4).references_of(others[0])) == {2}


def test_every_draw_is_another_choice():
    others = [sample(k) for k in range(20)]
    drawer = ReferenceDrawer(others, seed=0, count=4)
    drawn = [pictures_of(drawer.references_of(others[0], draw)) for draw in range(8)]
    assert drawn[0] == pictures_of(drawer.references_of(others[0]))
    assert len({frozenset(names) for names in drawn}) == 8
    assert all(len(names) == 4 and 0 not in names for names in drawn)
    again = ReferenceDrawer(others, seed=0, count=4)
    assert [pictures_of(again.references_of(others[0], draw)) for draw in reversed(range(8))] == drawn[::-1]


def test_own_references_vary_only_where_there_is_a_choice():
    own = tuple(Reference(PICTURES[k], MASK) for k in range(1, 9))
    many, few = sample(0, references=own), sample(0, references=own[:3])
    drawer = ReferenceDrawer([], seed=0, count=4)
    assert len({frozenset(pictures_of(drawer.references_of(many, draw))) for draw in range(8)}) > 4
    assert all(drawer.references_of(few, draw) == own[:3] for draw in range(8))
    belongs = sample(0, task="cross_frame", references=own)
    assert all(drawer.references_of(belongs, draw) == own for draw in range(8))
