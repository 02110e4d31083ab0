"""Learning and applying rules: a tiny model where the parts have to fit, a made-up one where the choice matters."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from conceptseg.data import Reference, load_reference
from conceptseg.errors import InputError
from conceptseg.inference import ConceptSegmenter, PreparedReferences, Rule
from conceptseg.inference.learning import Learner
from conceptseg.inference.results import SegmentationResult
from conceptseg.inference.router import Route
from conceptseg.models.calibration import Signals
from conceptseg.models.reasoner import Generation
from conceptseg.protocol import build_mosaic, parse_response
from tests.training.tiny import square_sample, tiny_model

INDUCED = "<think>t</think>\n<rule>Number {}.</rule>\n<check>[1, 2, 3, 4]</check>\n"
REST = "<bbox>[1, 2, 30, 40]</bbox>\n<answer>square</answer>"


class Oracle:
    """A segmenter whose masks are as good as its supports: each spoilt one among them costs its IoU."""

    def __init__(self, spoilt: Sequence[int] = (), direct: float = 0.0, good: float = 0.8) -> None:
        self.spoilt, self.direct, self.good = set(spoilt), direct, good
        self.asked: list[int] = []
        self.model = SimpleNamespace(
            segmenter=SimpleNamespace(image_px=64),
            config=SimpleNamespace(protocol=SimpleNamespace(frame_px=64), name="oracle"),
            calibration=None,
            digest=lambda: "abc",
        )

    def prepare(self, references):
        loaded = tuple(map(load_reference, references))
        return PreparedReferences(
            build_mosaic([r.image for r in loaded], [r.box for r in loaded], canvas_px=64), loaded
        )

    def respond(self, queries, *, temperature=0.0, seed=None):
        empty = torch.zeros(len(queries), 1, 4), torch.ones(len(queries), 1, dtype=torch.bool)
        generation = Generation([""] * len(queries), empty[1].long(), *empty)
        return generation, [parse_response(INDUCED.format(seed or 0) + REST) for _ in queries]

    def compare(self, references):
        return np.ones((len(references), len(references)))

    def segment_batch(self, queries, *, route, always):
        return [self._answer(query, route) for query in queries]

    def _answer(self, query, route):
        number, shown = _number(query.image), {_number(one.image) for one in query.references.loaded}
        assert number not in shown, "a rule was judged on what it was shown"
        self.asked.append(number)
        quality = self.direct if route == "direct" else self.good - 0.3 * len(shown & self.spoilt)
        return SegmentationResult("square", mask=_mask(number, quality), signals=Signals(0.9, 0.9), confidence=0.9)


def _number(image: Image.Image) -> int:
    return image.getpixel((0, 0))[0]


def _mask(number: int, quality: float) -> np.ndarray:
    """Of IoU `quality` with the true one, which covers the upper half."""
    mask = np.zeros((20, 20), dtype=bool)
    mask[: round(10 * quality)] = True
    return mask


def _references(count: int, spoilt: Sequence[int] = ()) -> list[Reference]:
    made = []
    for number in range(count):
        mask = np.zeros((20, 20), dtype=bool)
        mask[slice(18, 20) if number in spoilt else slice(10)] = True
        made.append(Reference(Image.new("RGB", (20, 20), (number, 0, 0)), mask=mask))
    return made


def learn(oracle: Oracle, references: Sequence[Reference], absent: Sequence[Image.Image] = (), **options) -> Rule:
    return Learner(oracle, "square", **options).learn(references, absent)


def test_clean_supports_win_and_spoilt_ones_are_suspects():
    spoilt = (1, 6, 9, 12)
    rule = learn(Oracle(spoilt), _references(16, spoilt))
    assert set(rule.suspects) == set(spoilt)
    assert not set(rule.supports) & set(spoilt) and len(rule.supports) == 4
    assert rule.route is Route.REASONED and rule.begun.startswith("<think>") and "<bbox>" not in rule.begun
    assert any("Every rule disagrees with references 2, 7, 10, 13" in note for note in rule.notes)


def test_what_to_expect_is_what_unseen_references_say():
    rule = learn(Oracle(), _references(8))
    assert rule.expected_iou == pytest.approx(0.8) and rule.judged == 8 and rule.suspects == ()
    assert rule.scores == pytest.approx([0.8] * 8)
    assert rule.interval[0] < 0.8 < rule.interval[1]


def test_sam_3_alone_wins_where_it_verifies_as_well():
    rule = learn(Oracle(direct=0.8), _references(6))
    assert rule.route is Route.DIRECT and rule.begun == "" and rule.text == ""
    assert learn(Oracle(direct=0.7), _references(6)).route is Route.REASONED


@pytest.mark.parametrize("count", [2, 3, 5])
def test_with_few_references_each_is_withheld_once(count):
    rule = learn(Oracle(), _references(count))
    assert len(rule.supports) == count - 1 and rule.judged == count
    assert ("this is a guess" in rule.describe()) == (count < 3)


def test_one_reference_is_not_verified_and_that_is_said():
    oracle = Oracle()
    rule = learn(oracle, _references(1))
    assert rule.expected_iou is None and rule.supports == (0,) and "Not verified" in rule.describe()
    assert oracle.asked == [] and rule.presence_threshold is None


def test_sifted_references_support_nothing_and_are_suspects_where_rules_agree():
    spoilt = (1, 6)
    references = _references(8, spoilt)

    class Sifting(Oracle):
        def compare(self, references):
            wrong = [int(np.asarray(one.mask)[0, 0]) == 0 for one in references]
            return np.where(np.logical_or.outer(wrong, wrong), 0.1, 0.9)

    rule = learn(Sifting(spoilt), references)
    assert rule.suspects == spoilt and not set(rule.supports) & set(spoilt)
    few = learn(Sifting(spoilt), references[:4])  # too few to say
    assert len(few.supports) == 3


def test_absent_pictures_that_may_show_the_concept_are_told():
    absent = [Image.new("RGB", (20, 20), (number, 0, 0)) for number in (100, 101)]
    rule = learn(Oracle(), _references(4), absent)
    assert rule.presence_threshold <= 0.9
    assert any("In 2 of 2 pictures that were said to lack" in note and "pictures 1, 2" in note for note in rule.notes)


def test_unmarked_references_are_left_out_and_told():
    references = [*_references(4), Reference(Image.new("RGB", (20, 20), (9, 0, 0)))]
    rule = learn(Oracle(), references)
    assert 4 not in rule.supports and rule.scores[4] is None
    assert any("nothing is marked in them: references 5" in note for note in rule.notes)
    with pytest.raises(InputError, match="of which there are none among 1"):
        learn(Oracle(), references[4:])
    empty = Reference(Image.new("RGB", (20, 20)), mask=np.zeros((20, 20), dtype=bool))
    with pytest.raises(InputError, match="An empty mask marks nothing"):
        learn(Oracle(), [empty])


def test_what_was_guessed_in_reading_a_reference_is_told():
    references = _references(3)
    grey = np.asarray(references[0].mask).astype(np.uint16) * 4095
    told = load_reference(Reference(references[0].image, mask=grey)).notes
    rule = learn(Oracle(), [Reference(references[0].image, mask=grey), *references[1:]])
    assert told and f"Reference 1: {told[0]}" in rule.notes


def test_a_budget_bounds_the_calls_and_is_told():
    done = []
    rule = learn(Oracle(), _references(16), budget=20, progress=lambda now, planned: done.append((now, planned)))
    assert rule.calls <= 20 and done[-1][0] == rule.calls
    assert all(now <= planned for now, planned in done)
    assert any("budget of 20 pictures" in note for note in rule.notes)
    with pytest.raises(InputError, match="a budget of 2"):
        learn(Oracle(), _references(2), budget=1)


def test_learning_again_gives_the_same_rule_and_another_seed_another_one():
    one, same, other = (learn(Oracle((3,)), _references(9, (3,)), seed=seed) for seed in (0, 0, 5))
    assert one.supports == same.supports and one.begun == same.begun
    assert one.supports != other.supports


def test_absent_pictures_part_what_is_there_from_what_is_not():
    class Sober(Oracle):
        def _answer(self, query, route):
            there = _number(query.image) < 100
            answer = super()._answer(query, route)
            return SegmentationResult("square", mask=answer.mask, signals=Signals(0.8 if there else 0.3, 0.9))

    absent = [Image.new("RGB", (20, 20), (100 + n, 0, 0)) for n in range(3)]
    rule = learn(Sober(), _references(6), absent)
    assert 0.3 < rule.presence_threshold <= 0.8
    assert learn(Sober(), _references(6)).presence_threshold == pytest.approx(0.4)


# With the real parts, tiny and untrained.


@pytest.fixture(scope="module")
def segmenter() -> ConceptSegmenter:
    return ConceptSegmenter(tiny_model(max_new_tokens=4))


@pytest.fixture(scope="module")
def squares():
    return [square_sample(number, references=0) for number in range(5)]


@pytest.fixture(scope="module")
def learned(segmenter, squares) -> Rule:
    rule = segmenter.learn(
        "bright square", [Reference(s.image, mask=s.mask) for s in squares], absent=[squares[0].image], samples=2
    )
    return _reasoned(rule)


def _reasoned(rule: Rule) -> Rule:
    """An untrained model writes nothing that could be parted, so that what it is to go on from is put in here."""
    return replace(rule, begun=INDUCED.format(1), route=Route.REASONED, presence_threshold=None)


def test_a_rule_is_learned_with_the_real_parts(learned):
    assert learned.judged == 5 and 0 <= learned.expected_iou <= 1 and len(learned.supports) == 4
    assert learned.calls > 0 and learned.model == "tiny"


def test_a_rule_is_gone_on_from(segmenter, learned, squares):
    results = list(segmenter.apply(learned, [s.image for s in squares[:2]]))
    for result in results:
        assert result.route is Route.REASONED and result.rule == "Number 1." and result.check_iou is not None
        assert result.expected_iou == learned.expected_iou and 0 <= result.confidence <= 1
        assert result.response.text.startswith(INDUCED.format(1).strip())
    again = segmenter(squares[0].image, learned)
    assert np.array_equal(again.mask, results[0].mask)


def test_a_rule_brings_its_own_references(segmenter, learned, squares):
    with pytest.raises(InputError, match="A rule brings its own references"):
        segmenter(squares[0].image, learned, [Reference(squares[1].image)])


def test_a_saved_rule_gives_the_same_masks_in_another_process(segmenter, learned, squares, tmp_path):
    path = learned.save(tmp_path / "square.rule")
    here = np.stack([r.mask for r in segmenter.apply(learned, [s.image for s in squares])])
    script = (
        "import sys, numpy as np\n"
        "from conceptseg.inference import ConceptSegmenter, Rule\n"
        "from tests.training.tiny import square_sample, tiny_model\n"
        "segmenter = ConceptSegmenter(tiny_model(max_new_tokens=4))\n"
        "pictures = [square_sample(n, references=0).image for n in range(5)]\n"
        "masks = [r.mask for r in segmenter.apply(Rule.load(sys.argv[1]), pictures)]\n"
        "np.save(sys.argv[2], np.stack(masks))\n"
    )
    out = tmp_path / "masks.npy"
    subprocess.run([sys.executable, "-W", "error::UserWarning", "-c", script, str(path), str(out)], check=True)
    assert np.array_equal(np.load(out), here) and here.any()


def test_another_checkpoints_rule_is_told_of(learned, squares):
    other = ConceptSegmenter(tiny_model(seed=1, max_new_tokens=4))
    with pytest.warns(UserWarning, match="learned by another checkpoint"):
        result = other(squares[0].image, learned)
    assert "learned by another checkpoint" in result.notes[0]


def test_what_is_not_found_is_empty_unless_it_is_kept(segmenter, learned, squares):
    never = replace(learned, presence_threshold=1.0)
    empty, kept = segmenter(squares[0].image, never), segmenter(squares[0].image, never, always=True)
    assert not empty.found and not empty.mask.any() and empty.instances == ()
    assert any("the mask is empty" in note for note in empty.notes)
    assert not kept.found and np.array_equal(kept.mask, segmenter(squares[0].image, learned).mask)
    assert any("is kept" in note for note in kept.notes)


@torch.no_grad()
def test_withheld_references_reach_neither_mosaic_nor_prior(segmenter, squares, monkeypatch):
    seen = []
    prepare = segmenter._prepare

    def watched(references):
        seen.append(len(references))
        return prepare(references)

    monkeypatch.setattr(segmenter, "_prepare", watched)
    segmenter.learn("bright square", [Reference(s.image, mask=s.mask) for s in squares[:3]], samples=1)
    assert seen and max(seen) == 2


def test_a_rule_may_be_applied_by_several_threads(segmenter, learned, squares):
    alone = [segmenter(sample.image, learned).mask for sample in squares]
    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(lambda sample: segmenter(sample.image, learned).mask, squares))
    assert all(np.array_equal(one, other) for one, other in zip(alone, together, strict=True))
