from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conceptseg.data import write_samples
from conceptseg.errors import SampleError
from conceptseg.training.config import DataSection, WorldSection
from conceptseg.training.drawing import SampleOrder, Turn, collect_samples
from tests.training.tiny import square_sample


@settings(deadline=None)
@given(st.integers(1, 30), st.integers(0, 90), st.integers(0, 5))
def test_every_epoch_shows_every_sample_once_with_references_of_its_own(samples, length, seed):
    shown = list(SampleOrder(samples, length, seed))
    assert len(shown) == length
    for start in range(0, length - samples + 1, samples):
        assert sorted(shown[start : start + samples]) == [Turn(k, start // samples) for k in range(samples)]


def test_draws_of_references_come_round():
    drawn = {count: [turn.draw for turn in SampleOrder(2, 10, seed=0, draws=count)] for count in (1, 2, None)}
    assert drawn == {1: [0] * 10, 2: [0, 0, 1, 1] * 2 + [0, 0], None: [k // 2 for k in range(10)]}
    places = [[turn.place for turn in SampleOrder(2, 10, seed=0, draws=count)] for count in (1, None)]
    assert places[0] == places[1]


def test_the_order_depends_on_seed_and_position_alone():
    order = SampleOrder(10, 50, seed=3)
    assert [order[k] for k in (49, 0, 12)] == [SampleOrder(10, 50, seed=3)[k] for k in (49, 0, 12)]
    assert list(order) != list(SampleOrder(10, 50, seed=4))
    epochs = [[turn.place for turn in order[k : k + 10]] for k in (0, 10)]
    assert epochs[0] != epochs[1]  # shuffled anew


def test_an_order_ends():
    with pytest.raises(IndexError, match="has 3 turns, asked for 3"):
        SampleOrder(2, 3, 0)[3]
    with pytest.raises(SampleError, match="no samples to train on"):
        SampleOrder(0, 3, 0)


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
