from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conceptseg.data import ConceptSample, Reference, write_samples
from conceptseg.errors import SampleError
from conceptseg.training.config import DataSection, ReferenceSection, WorldSection
from conceptseg.training.drawing import ReferenceDrawer, SampleOrder, collect_samples, is_same_picture
from tests.training.tiny import square_sample

PICTURES = [np.full((4, 4, 3), value, dtype=np.uint8) for value in range(20)]
MASK = np.ones((4, 4), dtype=bool)


def sample(number, *, task="saliency", concept="thing", group=None, references=()):
    return ConceptSample(f"s{number}", task, concept, PICTURES[number], MASK, references, group=group)


def pictures_of(references):
    return {int(reference.image[0, 0, 0]) for reference in references}


@settings(deadline=None)
@given(st.integers(1, 30), st.integers(0, 90), st.integers(0, 5))
def test_every_epoch_shows_every_sample_once(samples, draws, seed):
    order = SampleOrder(samples, draws, seed)
    shown = list(order)
    assert len(shown) == draws
    for start in range(0, draws - samples + 1, samples):
        assert sorted(shown[start : start + samples]) == list(range(samples))


def test_the_order_depends_on_seed_and_position_alone():
    order = SampleOrder(10, 50, seed=3)
    assert [order[k] for k in (49, 0, 12)] == [SampleOrder(10, 50, seed=3)[k] for k in (49, 0, 12)]
    assert list(order) != list(SampleOrder(10, 50, seed=4))
    assert order[:10] != order[10:20]  # epochs are shuffled anew


def test_an_order_ends():
    with pytest.raises(IndexError, match="has 3 draws, asked for 3"):
        SampleOrder(2, 3, 0)[3]
    with pytest.raises(SampleError, match="no samples to train on"):
        SampleOrder(0, 3, 0)


def test_references_are_other_samples_of_the_same_kind():
    others = [sample(k) for k in range(6)] + [sample(6, concept="other"), sample(7, task="camouflage")]
    drawer = ReferenceDrawer(ReferenceSection(count=4), others, seed=0)
    for target in others[:6]:
        drawn = pictures_of(drawer.references_of(target))
        assert len(drawn) == 4
        assert drawn <= set(range(6)) - {int(target.image[0, 0, 0])}


def test_groups_keep_apart():
    others = [sample(k, group="ab"[k % 2]) for k in range(8)]
    drawer = ReferenceDrawer(ReferenceSection(count=4), others, seed=0)
    assert pictures_of(drawer.references_of(others[0])) == {2, 4, 6}  # fewer than four are there


def test_a_draw_is_the_same_in_any_company():
    others = [sample(k) for k in range(8)]
    first, second = (ReferenceDrawer(ReferenceSection(), others, seed=5) for _ in range(2))
    expected = [pictures_of(first.references_of(s)) for s in others]
    assert [pictures_of(second.references_of(s)) for s in reversed(others)] == expected[::-1]
    other_seed = ReferenceDrawer(ReferenceSection(seed=6), others, seed=5)
    assert [pictures_of(other_seed.references_of(s)) for s in others] != expected


def test_own_references_are_thinned_but_keep_their_order():
    own = tuple(Reference(PICTURES[k], MASK) for k in range(1, 6))
    target = sample(0, references=own)
    thinned = ReferenceDrawer(ReferenceSection(count=2), [], seed=0).references_of(target)
    shown = [int(reference.image[0, 0, 0]) for reference in thinned]
    assert len(shown) == 2
    assert shown == sorted(shown)
    assert ReferenceDrawer(ReferenceSection(count=0), [], seed=0).references_of(target) == ()


def test_context_reasoning_keeps_all_its_references():
    own = tuple(Reference(PICTURES[k], MASK) for k in range(1, 4))
    target = sample(0, task="cross_frame", references=own)
    assert ReferenceDrawer(ReferenceSection(count=1), [], seed=0).references_of(target) == own


def test_a_file_is_the_same_picture_under_another_name(tmp_path):
    (tmp_path / "a.png").write_bytes(b"picture")
    (tmp_path / "b.png").write_bytes(b"picture")
    (tmp_path / "c.png").write_bytes(b"another")
    assert is_same_picture(tmp_path / "a.png", str(tmp_path / "b.png"))
    assert not is_same_picture(tmp_path / "a.png", tmp_path / "c.png")
    assert not is_same_picture(tmp_path / "a.png", PICTURES[0])


def test_held_out_samples_are_not_trained_on(squares):
    data = DataSection(folders=(squares,), held_out=3, limit=4)
    train, held_out = collect_samples(data, seed=1)
    names = [s.id for s in train], [s.id for s in held_out]
    assert [len(part) for part in names] == [4, 3]
    assert not set(names[0]) & set(names[1])
    again = collect_samples(data, seed=1)
    assert [s.id for s in again[0]] == names[0]
    assert [s.id for s in collect_samples(data, seed=2)[1]] != names[1]


def test_folders_and_world_come_together(squares):
    world = WorldSection(tasks=("saliency",), count=5, first=7, size_px=32)
    train, _ = collect_samples(DataSection(folders=(squares,), world=world), seed=0)
    kinds = Counter(s.id.split("/")[0] for s in train)
    assert kinds == {"square": 8, "world": 5}
    assert {s.id for s in train if s.id.startswith("world")} == {f"world/train/saliency/{k:06d}" for k in range(7, 12)}
    assert len(list(train.stored())) == 8
    assert [s.id for s in train.pick([0, 2])] == [train[0].id, train[2].id]


def test_sets_that_cannot_be_trained_on(squares, tmp_path):
    with pytest.raises(
        SampleError, match=r"Nothing is left to train on: 8 samples in all, data.held_out=8 sets 8 of them aside"
    ):
        collect_samples(DataSection(folders=(squares,), held_out=8), seed=0)
    with pytest.raises(SampleError, match=r"Several folders hold samples of the same id: square/000"):
        collect_samples(DataSection(folders=(squares, squares)), seed=0)


def test_a_sample_without_a_mask_is_nobodys_reference():
    others = [sample(0), replace(sample(1), mask=None), sample(2)]
    assert pictures_of(ReferenceDrawer(ReferenceSection(), others, seed=0).references_of(others[0])) == {2}


def folder_with_splits(folder, splits):
    write_samples((square_sample(n, references=0, split=split) for n, split in enumerate(splits)), folder)
    return folder


def test_rows_of_the_validation_split_are_held_out_and_not_learned_from(tmp_path):
    folder = folder_with_splits(tmp_path / "set", ["train", "val", "train", "test", "val"])
    data = DataSection(folders=(folder,), split="train", validation="val", held_out=0.5)
    train, held_out = collect_samples(data, 1)
    assert [sample.id for sample in train] == ["square/000", "square/002"]
    assert [sample.id for sample in held_out] == ["square/001", "square/004"]


def test_without_rows_of_that_split_a_share_is_set_aside(tmp_path):
    folder = folder_with_splits(tmp_path / "set", ["train"] * 8)
    train, held_out = collect_samples(DataSection(folders=(folder,), split="train", validation="val", held_out=0.25), 1)
    assert (len(train), len(held_out)) == (6, 2)
    assert not {sample.id for sample in train} & {sample.id for sample in held_out}


def test_a_split_that_selects_nothing_is_told_with_the_key(tmp_path):
    folder = folder_with_splits(tmp_path / "set", [None, "val", None])
    with pytest.raises(
        SampleError, match=r"data.split=train was asked for, there are 1 val, 2 without a split; 'val' is"
    ):
        collect_samples(DataSection(folders=(folder,), split="train", validation="val"), 1)


def test_to_set_everything_aside_names_the_key(tmp_path):
    folder = folder_with_splits(tmp_path / "set", ["train"] * 4)
    with pytest.raises(
        SampleError, match=r"4 samples in all, data.held_out=64 sets 64 of them aside. Lower it; a share"
    ):
        collect_samples(DataSection(folders=(folder,), held_out=64), 1)
