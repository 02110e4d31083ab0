"""Altered parts: that they are there where the mask says, the same in every picture, and said in known words."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from conceptseg.data.world import TRAINED_TASKS, WORLD_TASKS, ConceptWorld
from conceptseg.data.world.stage import Finish
from conceptseg.data.world.studio import Studio
from nano.alterations import ALTERATIONS, Alterations
from nano.architecture import FRAME_PX, build_nano
from nano.episodes import EpisodeData
from nano.group_data import GroupData
from nano.mixture import Mixture

SIDE = 64


@pytest.fixture(scope="module")
def alterations() -> Alterations:
    return Alterations(SIDE)


def test_a_seed_decides_everything(alterations: Alterations) -> None:
    one, again, other = (alterations.sample(np.random.default_rng(seed)) for seed in (3, 3, 4))
    assert one.id == again.id != other.id
    assert np.array_equal(np.asarray(one.image), np.asarray(again.image))
    assert np.array_equal(np.asarray(one.references[2].image), np.asarray(again.references[2].image))
    assert not np.array_equal(np.asarray(one.image), np.asarray(other.image))


def test_targets_and_references_have_parts_of_sensible_size(alterations: Alterations) -> None:
    for seed in range(40):
        sample = alterations.sample(np.random.default_rng(seed))
        assert np.asarray(sample.image).shape == (SIDE, SIDE, 3)
        assert [np.asarray(r.image).shape for r in sample.references] == [(43, 43, 3)] * 4
        masks = [np.asarray(sample.mask), *(np.asarray(reference.mask) for reference in sample.references)]
        assert all(0.01 <= mask.mean() <= 0.6 for mask in masks)


def test_what_is_marked_is_what_is_altered_alike_in_every_picture(monkeypatch, alterations: Alterations) -> None:
    colours = iter([(255, 0, 0), (0, 0, 255), (255, 0, 0)])  # the third may lie over the first

    def painted(rng: np.random.Generator, studio: Studio) -> Callable[[Image.Image], Image.Image]:
        colour = next(colours)
        return lambda picture: Image.new("RGB", picture.size, colour)

    for kind in ALTERATIONS:
        monkeypatch.setitem(ALTERATIONS, kind, painted)
    monkeypatch.setattr("nano.alterations.random_finish", lambda rng, strength: Finish())
    sample = alterations.sample(np.random.default_rng(5))
    for shown in (sample, *sample.references):
        image, mask = np.asarray(shown.image).astype(int), np.asarray(shown.mask)
        redness = image[..., 0] - image[..., 1:].max(axis=2)
        assert np.median(redness[mask]) > 200
        assert np.median(redness[~mask]) < 60


def test_a_part_that_cannot_be_seen_is_drawn_anew(monkeypatch, alterations: Alterations) -> None:
    asked: list[int] = []

    def at_the_third_time(rng: np.random.Generator, studio: Studio) -> Callable[[Image.Image], Image.Image]:
        def change(picture: Image.Image) -> Image.Image:
            asked.append(1)
            return picture.copy() if len(asked) < 3 else Image.new("RGB", picture.size, (255, 0, 0))

        return change

    for kind in ALTERATIONS:
        monkeypatch.setitem(ALTERATIONS, kind, at_the_third_time)
    monkeypatch.setattr("nano.alterations.random_finish", lambda rng, strength: Finish())
    sample = alterations.sample(np.random.default_rng(5), references=0)
    image, mask = np.asarray(sample.image).astype(int), np.asarray(sample.mask)
    assert np.median((image[..., 0] - image[..., 1:].max(axis=2))[mask]) > 200


def test_what_nothing_shows_ends_too(monkeypatch, alterations: Alterations) -> None:
    for kind in ALTERATIONS:
        monkeypatch.setitem(ALTERATIONS, kind, lambda rng, studio: Image.Image.copy)
    assert np.asarray(alterations.sample(np.random.default_rng(5)).mask).shape == (SIDE, SIDE)


@pytest.mark.parametrize("kind", ALTERATIONS)
def test_every_kind_can_be_seen_and_is_the_same_in_every_picture_of_an_episode(kind: str) -> None:
    studio = Studio("train")
    rng = np.random.default_rng(1)
    ground = studio.backdrop(studio.random_backdrop(rng, contrast=1.5), SIDE)
    kept = np.asarray(ground).copy()
    for _ in range(8):
        change = ALTERATIONS[kind](rng, studio)
        altered, again = np.asarray(change(ground)), np.asarray(change(ground.copy()))
        assert altered.shape == kept.shape
        assert np.array_equal(altered, again)
        assert np.abs(altered.astype(int) - kept).mean() > 1
    assert np.array_equal(np.asarray(ground), kept)


@pytest.mark.parametrize("kind", ["lightened", "striped"])
def test_what_adds_light_darkens_nothing(kind: str) -> None:
    grey = Image.new("RGB", (SIDE, SIDE), (90, 100, 110))
    for seed in range(8):
        change = ALTERATIONS[kind](np.random.default_rng(seed), Studio("train"))
        assert (np.asarray(change(grey)) >= np.asarray(grey)).all()


def test_nothing_is_said_that_only_tasks_kept_out_of_training_say(alterations: Alterations) -> None:
    known = {word.strip(".,:") for task in TRAINED_TASKS for text in WORLD_TASKS[task].texts() for word in text.split()}
    for seed in range(30):
        sample = alterations.sample(np.random.default_rng(seed), references=0)
        said = f"{sample.concept} {sample.rule} {sample.answer}"
        assert {word.strip(".") for word in said.split()} <= known


def episodes_of(altered_share: float) -> EpisodeData:
    world = ConceptWorld(tasks=["static_difference"], split="train", seed=0, size_px=FRAME_PX)
    beside = Mixture(FRAME_PX, altered_share=altered_share)
    return EpisodeData(build_nano(["what changed"], ["cat"]), world, seed=0, beside=beside)


def test_the_reasoner_sees_them_with_a_reference_at_least() -> None:
    data = episodes_of(1.0)
    episodes = [data[index] for index in range(12)]
    assert {episode.sample.task for episode in episodes} == {"other_cr"}
    assert all(len(episode.coverage) == 2 for episode in episodes)


def test_their_share_is_kept_to(learner_and_data) -> None:
    _, plain = learner_and_data
    none = episodes_of(0.0)
    assert [none[index].sample.id for index in range(4)] == [plain[index].sample.id for index in range(4)]
    half = episodes_of(0.5)
    shown = [half[index].sample.task for index in range(20)]
    assert 4 <= shown.count("other_cr") <= 16
    assert {*shown} == {"other_cr", "static_difference"}


def test_the_segmenter_is_asked_about_them_by_references() -> None:
    beside = Mixture(SIDE * 2, altered_share=1.0)
    data = GroupData(("living",), seed=0, size_px=SIDE * 2, beside=beside)
    for index in range(8):
        group = data[index]
        first = group.questions[0]
        assert first.references and first.present
        assert np.array_equal(first.mask, group.marks[0])
        assert group.images.shape == (5, SIDE * 2, SIDE * 2, 3)
