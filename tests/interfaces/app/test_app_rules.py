"""Rules on the page: learned, saved, read again, applied; the saved one gives the masks of the unsaved one."""

from __future__ import annotations

import numpy as np
import pytest

from conceptseg.errors import InputError
from conceptseg.inference import Rule
from conceptseg.interfaces.app.files import write_rule
from conceptseg.interfaces.app.rules import apply_rule, learn_rule, load_rule
from conceptseg.interfaces.app.uploads import Uploads
from conceptseg.interfaces.server.options import ServerOptions


@pytest.fixture
def rule(segmenter, uploads, squares) -> Rule:
    return list(learn_rule(segmenter, uploads, "bright square", squares[:2], []))[-1].rule


def test_learning_tells_how_far_it_is_and_ends_with_the_rule(segmenter, uploads, squares, put):
    steps = list(learn_rule(segmenter, uploads, "bright square", squares[:2], [put("absent.png")["path"]]))
    assert steps[0].rule is None and all(step.rule is None for step in steps[:-1])
    assert len(steps) > 2 and any(step.planned > 0 for step in steps[:-1])
    rule = steps[-1].rule
    assert rule.concept == "bright square" and [one.name for one in rule.pictures] == ["square-0.png", "square-1.png"]


def test_a_saved_rule_gives_the_masks_of_the_unsaved_one(segmenter, uploads, folder, rule, put):
    picture = put("target.png")["path"]
    unsaved = list(apply_rule(segmenter, uploads, rule, [picture]))[-1].results[0]
    path = write_rule(rule, folder)
    saved = list(apply_rule(segmenter, uploads, load_rule(uploads, str(path)), [picture]))[-1].results[0]
    assert path.name == "bright-square.rule" and np.array_equal(saved.mask, unsaved.mask)
    assert saved.confidence == unsaved.confidence


def test_a_picture_that_cannot_be_read_stops_nothing(segmenter, folder, rule, put):
    (folder / "broken.jpg").write_bytes(b"hello")
    uploads = Uploads([folder], ServerOptions(batch_size=2))
    pictures = [put("a.png")["path"], str(folder / "broken.jpg"), put("b.png")["path"]]
    steps = list(apply_rule(segmenter, uploads, rule, pictures))
    assert [len(step.results) for step in steps] == [0, 2, 3] and all(step.count == 3 for step in steps)
    names = [(one.source, one.error is None) for one in steps[-1].results]
    assert names == [("a.png", True), ("broken.jpg", False), ("b.png", True)]


def test_bad_requests_are_errors_of_ours(segmenter, uploads, folder, rule, squares):
    with pytest.raises(InputError, match="There is nothing to learn from"):
        list(learn_rule(segmenter, uploads, "square", [], []))
    with pytest.raises(InputError, match="There is no picture to apply the rule to"):
        list(apply_rule(segmenter, uploads, rule, []))
    with pytest.raises(InputError, match="5 references are more than the 3"):
        few = Uploads([folder], ServerOptions(max_learned_references=4))
        list(learn_rule(segmenter, few, "square", [*squares, squares[0]], [squares[0]["path"]]))
    unmarked = [{**one, "mask": None} for one in squares]
    with pytest.raises(InputError, match="A rule is learned from marked references"):
        list(learn_rule(segmenter, uploads, "square", unmarked, []))


def test_learning_that_takes_too_long_is_given_up(segmenter, folder, squares):
    uploads = Uploads([folder], ServerOptions(learning_limit_s=1e-9))
    with pytest.raises(InputError, match="Learning was given up after 0 s"):
        list(learn_rule(segmenter, uploads, "square", squares[:2], []))


def test_a_file_that_is_no_rule_is_told_by_its_name_alone(uploads, folder):
    (folder / "x.rule").write_bytes(b"no zip")
    with pytest.raises(InputError, match=r"^x\.rule is no rule, or is damaged"):
        load_rule(uploads, str(folder / "x.rule"))
