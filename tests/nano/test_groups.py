"""The segmenter's lessons: whom a question refers to, what is there and what is not, and that a batch teaches."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from conceptseg.models.prior import PriorConfig, ReferencePrior
from conceptseg.models.segmenter import Instances
from nano.group_data import GroupData, rough_box
from nano.groups import Group, Question
from nano.instance_loss import instance_loss
from nano.mixture import Mixture
from nano.photographs import Photographs
from nano.segmenter_stage import SegmenterLearner
from tests.nano.test_photographs import write_set
from tests.training.tiny import FRAME_PX, tiny_model

SIDE = 64
TASKS = ("living", "camouflage", "common_consistency", "static_difference")


@pytest.fixture(scope="module")
def groups() -> list[Group]:
    data = GroupData(TASKS, seed=0, size_px=SIDE)
    return [data[index] for index in range(30)]


def questions(groups: list[Group]) -> list[tuple[Group, Question]]:
    return [(group, question) for group in groups for question in group.questions]


def test_an_item_is_the_same_whoever_asks() -> None:
    one, other = (GroupData(TASKS, seed=0, size_px=SIDE)[7] for _ in range(2))
    assert np.array_equal(one.images, other.images)
    assert [question.text for question in one.questions] == [question.text for question in other.questions]


def test_a_target_is_never_its_own_reference(groups: list[Group]) -> None:
    for group, question in questions(groups):
        assert question.target not in question.references
        assert all(group.marks[index].any() for index in question.references)
        assert len(question.references) <= 4


def test_what_is_there_has_a_mask_and_what_is_not_has_none(groups: list[Group]) -> None:
    for _, question in questions(groups):
        assert question.present == bool(question.mask.any())
        if not question.present:
            assert not question.box


def test_a_good_share_of_questions_asks_for_what_is_not_there(groups: list[Group]) -> None:
    present = [question.present for _, question in questions(groups)]
    assert 0.15 < 1 - np.mean(present) < 0.5


def test_rival_references_ask_for_another_part_of_the_same_picture() -> None:
    data = GroupData(("common_consistency",), seed=1, size_px=SIDE)
    rivals = 0
    for index in range(16):
        group = data[index]
        asked = [q for q in group.questions if q.target == 0 and q.references and q.present and q.things is None]
        if len(asked) == 2:
            rivals += 1
            assert not np.array_equal(asked[0].mask, asked[1].mask)
            assert not set(asked[0].references) & set(asked[1].references)
    assert rivals >= 2


def test_scenes_know_their_single_objects(groups: list[Group]) -> None:
    scenes = [group for group in groups if len(group.images) == 1]
    assert scenes
    ways = set()
    for group in scenes:
        *by_name, absent, place = group.questions
        assert by_name and len({question.text for question in by_name}) == len(by_name)
        for question in by_name:
            assert question.things and np.array_equal(np.any(question.things, axis=0), question.mask)
        assert not absent.present and absent.things == ()
        ways.add("box" if place.box else "region")
        assert place.box or (place.text.startswith("[") and place.things is not None)
    assert ways == {"box", "region"}


def test_photographs_ask_with_references_and_for_strangers(tmp_path: Path) -> None:
    write_set(tmp_path, "animals", ["cat"] * 4)
    write_set(tmp_path, "skins", ["skin lesion"] * 3, level="CD")
    beside = Mixture(SIDE, Photographs(tmp_path, SIDE), photograph_share=1.0)
    data = GroupData(("living",), seed=0, size_px=SIDE, beside=beside)
    shown = [(group, question) for index in range(80) for group in [data[index]] for question in group.questions]
    assert "cat" in data.names and "skin lesion" not in data.names
    assert any(question.references for _, question in shown)
    strangers = [question for group, question in shown if not group.marks[question.target].any()]
    assert strangers and not any(question.present for question in strangers)
    alone = {
        question.text for _, question in shown if question.present and not question.references and not question.box
    }
    assert "cat" in alone and "skin lesion" not in alone  # left to the reasoner, as everything context-dependent


def test_rough_boxes_lie_about_the_mask() -> None:
    mask = np.zeros((40, 40), dtype=bool)
    mask[10:30, 5:25] = True
    rng = np.random.default_rng(0)
    boxes = np.array([rough_box(mask, rng) for _ in range(200)])
    assert np.abs(np.median(boxes, axis=0) - (5, 10, 25, 30)).max() < 1.5
    assert (boxes[:, 2] > boxes[:, 0]).all() and (boxes[:, 3] > boxes[:, 1]).all()


def learner() -> SegmenterLearner:
    segmenter = tiny_model().segmenter
    width = segmenter.glance(torch.zeros(1, 3, FRAME_PX, FRAME_PX)).tokens.shape[-1]
    segmenter.prior = ReferencePrior(PriorConfig(width=width, hidden=4))
    return SegmenterLearner(segmenter)


def test_a_batch_teaches_the_prior_and_the_objects() -> None:
    torch.manual_seed(0)
    taught = learner()
    data = GroupData(TASKS, seed=0, size_px=FRAME_PX)
    loss, numbers, count = taught.loss([data[index] for index in range(8)])
    loss.backward()
    prior = taught.segmenter.prior
    assert prior is not None and prior.say.weight.grad is not None and prior.say.weight.grad.abs().sum() > 0
    assert {"iou_references", "presence_absent", "instance_loss"} <= set(numbers)
    assert count == sum(len(data[index].questions) for index in range(8))


def found(masks: np.ndarray, logits: list[float], boxes: list[list[float]]) -> Instances:
    drawn = torch.from_numpy(np.where(masks, 9.0, -9.0)).float()[None]
    return Instances(drawn, torch.tensor([logits]), torch.tensor([9.0]), torch.tensor([boxes]))


def two_things() -> tuple[np.ndarray, np.ndarray]:
    left, right = np.zeros((8, 8), dtype=bool), np.zeros((8, 8), dtype=bool)
    left[2:6, 0:3] = True
    right[2:6, 5:8] = True
    return left, right


def test_the_instance_loss_pairs_what_belongs_together() -> None:
    left, right = two_things()
    places = [[0, 0.25, 0.375, 0.75], [0.625, 0.25, 1, 0.75]]
    right_way = instance_loss(found(np.stack([left, right]), [9.0, 9.0], places), [(left, right)])
    other_order = instance_loss(found(np.stack([right, left]), [9.0, 9.0], places[::-1]), [(left, right)])
    torch.testing.assert_close(right_way, other_order)
    assert float(right_way) < 0.1
    one_missed = instance_loss(found(np.stack([left, left]), [9.0, 9.0], [places[0]] * 2), [(left, right)])
    assert float(one_missed) > 1.0


def test_objects_where_there_are_none_cost_their_scores_alone() -> None:
    left, right = two_things()
    boxes = [[0.0, 0.0, 1.0, 1.0]] * 2
    silent = instance_loss(found(np.stack([left, right]), [-9.0, -9.0], boxes), [()])
    loud = instance_loss(found(np.stack([left, right]), [9.0, 9.0], boxes), [()])
    assert float(silent) == pytest.approx(0.0, abs=1e-3)
    assert float(loud) == pytest.approx(0.2 * 9.0, abs=1e-2)
