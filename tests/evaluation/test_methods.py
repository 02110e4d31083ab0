"""The methods: all around the bundled checkpoint, and each one's own way where the MLLM says what a test wants."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from conceptseg.data import Reference
from conceptseg.errors import InputError
from conceptseg.evaluation.baselines import METHODS, get_method
from conceptseg.evaluation.baselines.objects import Pointer, draw_object, union_of
from conceptseg.evaluation.baselines.sam3_agent import draw_numbered, read_choice, read_phrase
from conceptseg.evaluation.baselines.seg_zero import read_pointers
from conceptseg.inference import Query, Route, RouteChoice, answers
from conceptseg.models.segmenter import Instances

SHORT = {"sam3-agent": {"max_new_tokens": 4, "rounds": 1}, "seg-zero": {"max_new_tokens": 4, "frame_px": 168}}


def picture(width: int = 40, height: int = 30) -> Image.Image:
    return Image.new("RGB", (width, height), (90, 45, 200))


def queries(nano) -> list[Query]:
    references = [Reference(picture(20, 20), box=(2.0, 2.0, 9.0, 9.0)) for _ in range(2)]
    return [Query(picture(), "cat", nano.prepare(references), "a"), Query(picture(16, 50), "dog", None, "b")]


@pytest.fixture
def short_answers(nano, monkeypatch):
    """Four tokens a response: what an untrained or hurried MLLM says, nobody can read."""
    short = nano.model.config.model_copy(
        update={"protocol": nano.model.config.protocol.model_copy(update={"max_new_tokens": 4})}
    )
    monkeypatch.setattr(nano.model, "config", short)


@pytest.mark.parametrize("name", [name for name in METHODS if name != "lens"])  # which brings its own checkpoint
def test_every_method_answers_every_question(nano, short_answers, name):
    method = get_method(name, nano, **SHORT.get(name, {}))
    results = method.answer(queries(nano), RouteChoice.REASON)
    assert [result.mask.shape for result in results] == [(30, 40), (50, 16)]
    assert [result.source for result in results] == ["a", "b"]
    assert all(result.error is None and sum(result.timings.values()) > 0 for result in results)
    wanted = Route.DIRECT if name in ("sam3", "match") else Route.REASONED
    assert {result.route for result in results} == {wanted}


def test_an_unknown_method_or_setting_is_refused(nano):
    with pytest.raises(InputError, match=r"Unknown method 'magic'\. Known methods: conceptseg, sam3, match, mllm-box"):
        get_method("magic", nano)
    known = r"Method 'seg-zero' does not take these settings: colour\. Its settings: frame_px, max_new_tokens"
    with pytest.raises(InputError, match=known):
        get_method("seg-zero", nano, colour=3)
    with pytest.raises(InputError, match="Method 'sam3-agent': rounds must be of type int, got 'abc'"):
        get_method("sam3-agent", nano, rounds="abc")
    assert get_method("sam3-agent", nano, score_from=1).score_from == 1


def test_no_other_method_is_held_to_what_was_calibrated_on_ours(nano, short_answers, monkeypatch):
    certain = SimpleNamespace(presence_threshold=2.0, confidence=lambda signals: 0.5)  # nothing is ever found
    monkeypatch.setattr(nano.model, "calibration", certain)
    mask = np.ones((30, 40), dtype=bool)
    monkeypatch.setattr(answers, "_mask_of", lambda semantic, size_hw: mask)
    emptied = {
        name: not get_method(name, nano).answer(queries(nano)[:1], RouteChoice.REASON)[0].mask.any()
        for name in ("conceptseg", "sam3", "mllm-box")
    }
    assert emptied == {"conceptseg": True, "sam3": False, "mllm-box": False}


def test_boxes_take_the_place_of_concept_tokens(nano, short_answers):
    method = get_method("mllm-box", nano)
    result = method.answer(queries(nano)[:1], RouteChoice.REASON)[0]
    assert "No concept translation" in " ".join(result.notes)
    assert nano.model.translation is not None  # the model itself stays as it is


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            '<think>two</think><answer>[{"bbox_2d": [84, 0, 168, 42], "point_2d": [100, 20]}, '
            '{"bbox_2d": [0, 0, 42, 42]}]</answer>',
            [Pointer((0.5, 0, 1, 0.25), ((100 / 168, 20 / 168),)), Pointer((0, 0, 0.25, 0.25))],
        ),
        (
            '<answer>{"bbox": [84, 84, 42, 42], "points_1": [50, 50], "points_2": [60, 60]}</answer>',
            [Pointer((0.25, 0.25, 0.5, 0.5), ((50 / 168, 50 / 168), (60 / 168, 60 / 168)))],
        ),
        ('<answer>```json\n[{"bbox_2d": [0, 0, 84, 84], "point_2d": [900, 1]}]\n```', [Pointer((0, 0, 0.5, 0.5))]),
        ('<answer>[{"bbox_2d": [0, 0, 84]}, {"bbox_2d": [1, 1, 1, 9]}, {"bbox_2d": ["a", 0, 1, 1]}, 3]</answer>', []),
        ('<answer>[{"bbox_2d": [0, 0, 84, 84</answer>', []),
        ('[{"bbox_2d": [0, 0, 84, 84]}]', []),
        ("<answer></answer>", []),
        ("", []),
    ],
)
def test_pointers_are_read_from_their_json(text, expected):
    assert read_pointers(text, 168) == expected


@given(st.text(alphabet='<>answer/[]{}":,.0123456789-bboxpint_2d ', max_size=200))
def test_any_text_gives_pointers_inside_the_picture(text):
    for pointer in read_pointers(f"<answer>{text}", 168):
        x1, y1, x2, y2 = pointer.box_xyxy
        assert 0 <= x1 < x2 <= 1 and 0 <= y1 < y2 <= 1
        assert all(0 <= value < 1 for point in pointer.points_xy for value in point)


@pytest.mark.parametrize(
    ("text", "phrase"),
    [
        ("I say <phrase>red moth</phrase>.", "red moth"),
        ("<PHRASE> moth <", "moth"),
        ("<phrase></phrase>", None),
        ("a moth", None),
    ],
)
def test_phrases_are_read(text, phrase):
    assert read_phrase(text) == phrase


@pytest.mark.parametrize(
    ("text", "keep"),
    [
        ("<keep>1, 3</keep>", [1, 3]),
        ("<keep>3 and 3 and 9</keep>", [3]),
        ("<keep></keep>", []),
        ("<again/>", []),
        ("hm", [1, 2, 3]),
    ],
)
def test_choices_are_read(text, keep):
    assert read_choice(text, 3) == keep


@pytest.fixture
def thirds(nano, monkeypatch):
    """SAM 3 finds the left, middle and right third of every picture; what it was asked for is kept in `phrases`."""
    segmenter, embed_text = nano.model.segmenter, nano.model.segmenter.embed_text
    found = SimpleNamespace(segmenter=segmenter, phrases=[], scores=(0.9, 0.8, 0.2))
    found.masks = torch.full((1, 3, 6, 6), -1.0)
    for number in range(3):
        found.masks[0, number, :, 2 * number : 2 * number + 2] = 1.0

    def find_instances(features, prompt):
        return Instances(found.masks, torch.tensor([found.scores]).logit(), torch.tensor([99.0]), torch.zeros(1, 3, 4))

    monkeypatch.setattr(segmenter, "embed_text", lambda texts: found.phrases.extend(texts) or embed_text(texts))
    monkeypatch.setattr(segmenter, "find_instances", find_instances)
    found.features = segmenter.encode(segmenter.preprocess([picture(12, 12)]))
    return found


def test_of_all_objects_the_one_in_the_box_is_drawn(thirds):
    drawn = draw_object(thirds.segmenter, thirds.features, Pointer((0.3, 0.0, 0.7, 1.0)), (12, 12))
    assert drawn.mask[:, 4:8].all() and drawn.mask.sum() == 12 * 4
    assert drawn.confidence == pytest.approx(0.8) and drawn.box_iou == pytest.approx((1 / 3) / 0.4)


def test_a_point_goes_before_the_box(thirds):
    drawn = draw_object(thirds.segmenter, thirds.features, Pointer((0.3, 0.0, 0.75, 1.0), ((0.7, 0.5),)), (12, 12))
    assert drawn.mask[:, 8:].all() and drawn.mask.sum() == 12 * 4


def test_nothing_is_drawn_where_nothing_is_found(thirds):
    thirds.masks[:] = -1.0
    assert draw_object(thirds.segmenter, thirds.features, Pointer((0.3, 0.0, 0.7, 1.0)), (12, 12)) is None
    assert not union_of([], (2, 3)).any() and union_of([], (2, 3)).shape == (2, 3)


@pytest.fixture
def staged(nano, thirds, monkeypatch):
    """The MLLM reads its lines from a script, and what it was asked is kept."""
    asked, script = [], []

    def generate(prompts, max_new_tokens):
        asked.extend(prompts)
        return SimpleNamespace(texts=[script.pop(0) for _ in prompts])

    monkeypatch.setattr(nano.model.reasoner, "generate", generate)
    return SimpleNamespace(nano=nano, segmenter=thirds, asked=asked, script=script)


def test_the_agent_proposes_looks_and_keeps(staged):
    staged.script += ["<phrase>thirds</phrase>", "<keep>2</keep>"]
    result = get_method("sam3-agent", staged.nano).answer(
        [Query(picture(12, 12), "the middle", None, "a")], RouteChoice.AUTO
    )[0]
    assert result.mask[:, 4:8].all() and result.mask.sum() == 48
    assert result.answer == "thirds" and staged.segmenter.phrases == ["thirds"]
    assert result.notes == ("proposed 'thirds': 2 objects", "kept 2")  # the third one's score is too low to be shown
    assert len(staged.asked[0].images) == 1 and len(staged.asked[1].images) == 2
    assert '"the middle"' in staged.asked[1].text and "numbered 1 to 2" in staged.asked[1].text


def test_the_agent_tries_again_and_gives_up(staged):
    staged.script += ["<phrase>a</phrase>", "<again/>", "<phrase>b</phrase>", "<again/>"]
    result = get_method("sam3-agent", staged.nano, rounds=2).answer(
        [Query(picture(12, 12), "the middle", None, "a")], RouteChoice.AUTO
    )[0]
    assert not result.mask.any() and result.presence == 0 and staged.segmenter.phrases == ["a", "b"]
    assert "These were no use: a." in staged.asked[2].text


def test_the_agent_goes_on_when_nothing_was_drawn_and_falls_back_to_the_concept(staged):
    staged.segmenter.scores = (0.1, 0.1, 0.1)
    staged.script += ["nonsense", "<phrase>b</phrase>"]
    method = get_method("sam3-agent", staged.nano, rounds=2)
    assert not method.answer([Query(picture(12, 12), "middle", None, "a")], RouteChoice.AUTO)[0].mask.any()
    assert staged.segmenter.phrases == ["middle", "b"] and staged.script == []


def test_seg_zero_draws_every_object_it_points_at(staged):
    staged.script.append(
        '<think>…</think><answer>[{"bbox_2d": [0, 0, 280, 840], "point_2d": [10, 10]}, {"bbox_2d": [560, 0, 840, 840]}]'
        "</answer>"
    )
    result = get_method("seg-zero", staged.nano).answer([Query(picture(12, 12), "ends", None, "a")], RouteChoice.AUTO)[
        0
    ]
    assert result.mask[:, :4].all() and result.mask[:, 8:].all() and result.mask.sum() == 96
    assert result.box == pytest.approx((0, 0, 12, 12)) and "2 objects named" in result.notes[0]
    assert staged.asked[0].images[0].size == (840, 840)


def test_masks_are_numbered_where_they_are():
    mask = np.zeros((40, 60), dtype=bool)
    mask[10:30, 10:30] = True
    drawn = np.asarray(draw_numbered(Image.new("RGB", (60, 40)), [mask]))
    assert not drawn[:, 40:].any() and (drawn[12, 12] == (115, 30, 30)).all()
    assert drawn[15:25, 15:25].min(axis=-1).max() > 150  # the number: white strokes, smoothed


def test_match_marks_what_resembles_the_mark(nano):
    """Red in one corner of every picture, marked in the references: no word is needed."""

    def corner(left, top):
        image = np.zeros((64, 64, 3), dtype=np.uint8)
        image[...] = (20, 60, 200)
        mask = np.zeros((64, 64), dtype=bool)
        mask[top : top + 32, left : left + 32] = True
        image[mask] = (230, 30, 20)
        return Image.fromarray(image), mask

    references = [Reference(image, mask=mask) for image, mask in (corner(0, 0), corner(32, 0))]
    target, truth = corner(0, 32)
    query = Query(target, "whatever", nano.prepare(references))
    (result,) = get_method("match", nano).answer([query], RouteChoice.AUTO)
    assert (result.mask & truth).sum() / (result.mask | truth).sum() > 0.6
    alone = get_method("match", nano).answer([Query(target, "whatever")], RouteChoice.AUTO)[0]
    assert not alone.mask.any() and alone.notes == ("Nothing to match with: no reference is marked.",)
