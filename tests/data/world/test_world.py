"""ConceptWorld as its users see it: determinism, exact masks, splits, words."""

import re
from dataclasses import replace

import numpy as np
import pytest

from conceptseg.data import ConceptSample
from conceptseg.data.world import SPLITS, TRAINED_TASKS, WORLD_TASKS, ConceptWorld, vocabulary_texts
from conceptseg.data.world.tasks import Picture
from conceptseg.data.world.world import _NothingFitsError
from conceptseg.errors import InputError, SampleError
from conceptseg.taxonomy import LEAF_TASKS


@pytest.fixture(scope="module")
def worlds() -> dict[str, ConceptWorld]:
    return {split: ConceptWorld(split=split, seed=3, size_px=96, references=2) for split in SPLITS}


def assert_same(one: ConceptSample, two: ConceptSample) -> None:
    assert (one.id, one.concept, one.rule, one.answer, one.group) == (
        two.id,
        two.concept,
        two.rule,
        two.answer,
        two.group,
    )
    assert np.array_equal(one.image, two.image) and np.array_equal(one.mask, two.mask)


def test_every_leaf_task_is_made_in_the_papers_order():
    assert tuple(WORLD_TASKS) == LEAF_TASKS
    assert set(TRAINED_TASKS) < set(LEAF_TASKS)


@pytest.mark.parametrize("task", LEAF_TASKS)
def test_a_sample_depends_on_its_key_alone(task: str):
    first = ConceptWorld(seed=5, size_px=80, references=1)
    other = ConceptWorld([task], seed=5, size_px=80, references=1)
    for index in (9, 0, 4):
        other.sample(task, index)
    assert_same(first.sample(task, 4), other.sample(task, 4))


@pytest.mark.parametrize("task", ["living", "static_difference", "cross_frame"])
def test_fewer_references_change_no_picture(task: str):
    four = ConceptWorld(task, seed=5, size_px=80).sample(task, 2)
    one = ConceptWorld(task, seed=5, size_px=80, references=1).sample(task, 2)
    assert_same(four, one)
    assert np.array_equal(four.references[0].image, one.references[0].image)
    assert np.array_equal(four.references[0].mask, one.references[0].mask)


@pytest.mark.parametrize("task", ["living", "static_difference", "cross_view"])
def test_another_reference_seed_changes_the_references_alone(task: str):
    first, second, again = (
        ConceptWorld(task, seed=5, size_px=80, references=2, reference_seed=seed).sample(task, 2) for seed in (0, 1, 1)
    )
    assert_same(first, second)
    for one, two, same in zip(first.references, second.references, again.references, strict=True):
        assert not np.array_equal(one.image, two.image) and np.array_equal(two.image, same.image)


def test_a_reference_that_another_seed_cannot_draw_is_that_of_seed_0(monkeypatch):
    world = ConceptWorld("living", seed=5, size_px=64, references=1, reference_seed=1)
    draw = ConceptWorld._picture

    def only_seed_0(self, task, index, theme, reference, reference_seed=0):
        if reference_seed:
            raise _NothingFitsError
        return draw(self, task, index, theme, reference)

    monkeypatch.setattr(ConceptWorld, "_picture", only_seed_0)
    plain = ConceptWorld("living", seed=5, size_px=64, references=1)
    assert np.array_equal(world.sample("living", 0).references[0].image, plain.sample("living", 0).references[0].image)


def test_seed_split_and_index_each_make_another_picture():
    base = ConceptWorld("saliency", "train", 0, 80, 0)
    images = [base.sample("saliency", 0).image, base.sample("saliency", 1).image]
    images += [
        ConceptWorld("saliency", "train", 1, 80, 0)[0].image,
        ConceptWorld("saliency", "seen_test", 0, 80, 0)[0].image,
    ]
    assert len({image.tobytes() for image in images}) == 4


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("task", LEAF_TASKS)
def test_pictures_and_masks_have_the_promised_form(worlds: dict[str, ConceptWorld], split: str, task: str):
    for index in range(3):
        sample = worlds[split].sample(task, index)
        assert sample.id == f"world/{split}/{task}/{index:06d}"
        assert (sample.task, sample.split, len(sample.references)) == (task, split, 2)
        pictures = [(sample.image, sample.mask, 96), *((r.image, r.mask, 64) for r in sample.references)]
        for image, mask, side in pictures:
            assert image.shape == (side, side, 3) and image.dtype == np.uint8
            assert mask.shape == (side, side) and mask.dtype == np.bool_
            assert 0.01 <= mask.mean() <= 0.6
        assert 1 <= len(sample.answer.split()) <= 3
        assert sample.rule.startswith("Segment ") and sample.rule.endswith(".")
        assert sample.group


def test_every_word_that_is_said_is_in_the_vocabulary(worlds: dict[str, ConceptWorld]):
    texts = set(vocabulary_texts())
    for world in worlds.values():
        for task in LEAF_TASKS:
            for index in range(8):
                theme = world._theme(task, index)
                assert {theme.concept, theme.rule, theme.answer} <= texts
            sample = world.sample(task, 0)
            assert {sample.concept, sample.rule, sample.answer} <= texts
        assert set(world.names) <= texts
    assert len({word for text in texts for word in re.findall(r"[a-z-]+", text.lower())}) < 700


def test_the_unseen_split_shares_no_name_with_the_others():
    assert ConceptWorld.names_of("train") == ConceptWorld.names_of("seen_test")
    train, unseen = set(ConceptWorld.names_of("train")), set(ConceptWorld.names_of("unseen_test"))
    assert len(train) >= 100 and len(unseen) >= 40 and not train & unseen
    assert ConceptWorld().names == tuple(sorted(train))


def test_indexing_takes_the_tasks_in_turn():
    world = ConceptWorld(["shadow", "living"], seed=1, size_px=64, references=0)
    assert [world[i].id for i in range(4)] == [
        "world/train/shadow/000000",
        "world/train/living/000000",
        "world/train/shadow/000001",
        "world/train/living/000001",
    ]


@pytest.mark.parametrize("task", ["common_consistency", "correspondence_consistency"])
def test_rivals_share_the_target_but_neither_references_nor_mask(task: str):
    world = ConceptWorld(task, seed=2, size_px=96, references=2)
    for index in range(6):
        sample, rival = world.sample(task, index), world.rival(task, index)
        assert np.array_equal(sample.image, rival.image)
        overlap = (sample.mask & rival.mask).sum() / min(sample.mask.sum(), rival.mask.sum())
        assert overlap < 0.5
        assert sample.rule != rival.rule and rival.id == f"{sample.id}/rival"
        one, two = sample.references[0], rival.references[0]
        assert not (np.array_equal(one.image, two.image) and np.array_equal(one.mask, two.mask))


def test_tasks_without_rivals_say_so():
    with pytest.raises(InputError, match="'shadow' has no rival rules"):
        ConceptWorld(size_px=64).rival("shadow", 0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"tasks": ["living", "juggling"]}, "no tasks \\['juggling'\\]"),
        ({"tasks": []}, "Choose from: living"),
        ({"split": "test"}, "Unknown ConceptWorld split 'test'. Splits: train"),
        ({"size_px": 16}, "size_px must be at least 32, got 16"),
        ({"references": -1}, "references must be at least 0, got -1"),
        ({"reference_px": 8}, "reference_px must be at least 16, got 8"),
    ],
)
def test_wrong_requests_are_named(arguments: dict, message: str):
    with pytest.raises(InputError, match=message):
        ConceptWorld(**arguments)


def test_wrong_keys_are_named():
    world = ConceptWorld(size_px=64)
    with pytest.raises(InputError, match="index must be at least 0, got -1"):
        world[-1]
    with pytest.raises(InputError, match="no task 'juggling'"):
        world.sample("juggling", 0)


def test_photographs_stand_behind_some_scenes(tmp_path):
    from PIL import Image

    Image.new("RGB", (90, 70), (255, 0, 255)).save(tmp_path / "magenta.png")
    world = ConceptWorld("living", seed=0, size_px=64, references=0, backgrounds=tmp_path)
    share = [np.mean(np.abs(world[i].image.astype(int) - (255, 0, 255)).max(-1) < 90) for i in range(12)]
    assert 2 <= sum(part > 0.3 for part in share) <= 11
    assert not np.array_equal(world[0].image, world[1].image)


def test_a_folder_without_photographs_is_refused(tmp_path):
    with pytest.raises(InputError, match="No photographs"):
        ConceptWorld(backgrounds=tmp_path)


def test_a_task_that_never_succeeds_is_named(monkeypatch):
    empty = Picture(np.zeros((64, 64, 3), np.uint8), np.zeros((64, 64), bool))
    broken = replace(WORLD_TASKS["living"], draw=lambda *args: empty)
    monkeypatch.setattr("conceptseg.data.world.world.WORLD_TASKS", {"living": broken})
    with pytest.raises(
        SampleError, match="train/living/3 of seed 0: no picture in 8 × 50 attempts has a mask of 1% to 60%"
    ):
        ConceptWorld("living", size_px=64).sample("living", 3)


def test_a_theme_that_fits_no_picture_gives_way_to_another():
    # The first theme of this key is a thing so thin that none of its pictures covers one per cent.
    sample = ConceptWorld(["cross_frame"], split="seen_test", seed=101, references=1).sample("cross_frame", 26)
    assert 0.01 <= np.asarray(sample.mask).mean() <= 0.6
