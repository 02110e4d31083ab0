"""Marks on what the concept is not: read, laid out, seen, learned with, kept in a rule's file."""

from __future__ import annotations

import json
import zipfile
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from conceptseg.data import ConceptSample, Reference, load_reference, read_samples, write_samples
from conceptseg.data.loading import lay_out
from conceptseg.errors import InputError, SampleError
from conceptseg.inference import ConceptSegmenter, Query, Rule
from conceptseg.inference.learning import score_of
from conceptseg.inference.pool import Pool
from conceptseg.inference.references import turned_query
from conceptseg.inference.results import SegmentationResult
from conceptseg.inference.rules import keep_picture
from conceptseg.models.prior import PriorConfig, ReferencePrior
from conceptseg.protocol import format_box
from tests.inference.test_learning import Oracle, learn
from tests.training.tiny import square_sample, tiny_model

BLUE, RED = (0, 0, 255), (255, 0, 0)


def picture(number: int, rows: slice, unlike: bool = False) -> Reference:
    mask = np.zeros((20, 20), dtype=bool)
    mask[rows] = True
    return Reference(Image.new("RGB", (20, 20), (number, 0, 0)), mask=mask, unlike=unlike)


@pytest.fixture(scope="module")
def segmenter() -> ConceptSegmenter:
    model = tiny_model(max_new_tokens=3)
    model.segmenter.prior = ReferencePrior(PriorConfig(width=32, hidden=4))
    torch.nn.init.constant_(model.segmenter.prior.vote.weight, 0.1)
    return ConceptSegmenter(model.eval())


@pytest.fixture(scope="module")
def shown() -> tuple[Reference, ...]:
    sample = square_sample(0, references=3)
    return (*sample.references[:2], replace(sample.references[2], unlike=True))


def told_of_unlike(segmenter: ConceptSegmenter) -> ConceptSegmenter:
    model = segmenter.model
    wording = model.config.protocol.wording
    template = replace(wording, name="own", unlike="{unlike_boxes}")
    protocol = model.config.protocol.model_copy(update={"template": "own", "instructions": template})
    changed = tiny_model(max_new_tokens=3)
    changed.config = model.config.model_copy(update={"protocol": protocol})
    return ConceptSegmenter(changed)


def test_a_mark_is_needed():
    with pytest.raises(SampleError, match="unlike the concept needs a mark"):
        Reference(Image.new("RGB", (4, 4)), unlike=True)


def test_a_sample_keeps_it_on_disk(tmp_path):
    sample = square_sample(0, references=2)
    other = replace(sample.references[1], unlike=True)
    write_samples([replace(sample, references=(sample.references[0], other))], tmp_path)
    (again,) = read_samples(tmp_path)
    assert [one.unlike for one in again.references] == [False, True]
    rows = [json.loads(line) for line in (tmp_path / "samples.jsonl").read_text().splitlines()]
    assert [one.get("unlike") for one in rows[0]["references"]] == [None, True]
    rows[0]["references"][1]["unlike"] = "yes"
    (tmp_path / "samples.jsonl").write_text(json.dumps(rows[0]))
    with pytest.raises(SampleError, match="unlike must be true or false, got 'yes'"):
        list(read_samples(tmp_path))


def test_in_the_mosaic_it_is_blue_comes_last_and_is_never_withheld():
    loaded = [load_reference(picture(n, slice(4, 12), unlike=n == 0)) for n in range(3)]
    mosaic = lay_out(loaded, canvas_px=80)
    assert mosaic.proxy_index == 0 and mosaic.image.getpixel((5, 5))[0] == 1  # the first that shows the concept
    assert mosaic.boxes_xyxy == ((0, 8, 40, 24), (40, 8, 80, 24), None) and len(mosaic.shown_boxes) == 1
    assert mosaic.unlike_boxes == ((0, 48, 40, 64),)
    assert mosaic.image.getpixel((0, 48)) == BLUE and mosaic.image.getpixel((40, 8)) == RED
    one = lay_out(loaded[:2], canvas_px=80)
    assert one.proxy_index is None and len(one.shown_boxes) == 1  # nothing is left to induce a rule from


def test_a_model_is_shown_it_where_its_template_has_words_for_it(segmenter, shown):
    prepared = segmenter.prepare(shown)
    assert prepared.mosaic.unlike_boxes == () and len(prepared.mosaic.boxes_xyxy) == 2
    assert any("not shown to the MLLM" in note for note in prepared.mosaic.notes)
    told = told_of_unlike(segmenter)
    mosaic = told.prepare(shown).mosaic
    assert len(mosaic.unlike_boxes) == 1 and not any("not shown to the MLLM" in note for note in mosaic.notes)
    assert any("does not reach SAM 3" in note for note in mosaic.notes)  # this model has no prior
    text = told.model.build_prompt("square", Image.new("RGB", (8, 8)), mosaic).text
    assert text.endswith(f". [{format_box(mosaic.unlike_boxes[0])}]")
    plain = segmenter.model.build_prompt("square", Image.new("RGB", (8, 8)), prepared.mosaic).text
    assert text.startswith(plain)


def test_it_alone_is_refused(segmenter, shown):
    with pytest.raises(InputError, match="say little without one that shows it"):
        segmenter(Image.new("RGB", (8, 8)), "square", shown[2:])


def test_the_prior_takes_it_for_background(segmenter, shown):
    target = Image.fromarray(square_sample(0).image)
    with_it, without = (segmenter.prepare(references) for references in (shown, shown[:2]))
    assert len(with_it.seen.covers) == 2 and len(with_it.seen.unlike.covers) == 1 and without.seen.unlike is None
    sight = segmenter.model.segmenter.glance(segmenter.model.segmenter.preprocess([target])).sight
    told, plain = (one.seen.evidence_for(sight).margin for one in (with_it, without))
    assert (told <= plain + 1e-6).all() and float(told.sum()) < float(plain.sum())
    queries = [Query(target, "bright square", one) for one in (with_it, without)]
    results = segmenter.segment_batch(queries, route="direct", always=True)
    assert results[0].signals.sharpness != results[1].signals.sharpness


def test_another_order_leaves_it_last(segmenter, shown):
    query = Query(Image.new("RGB", (8, 8)), "square", segmenter.prepare(shown))
    turned = turned_query(query, 1, segmenter.model).references
    assert [one.unlike for one in turned.loaded] == [False, False, True]
    assert turned.loaded[0] is query.references.loaded[1]
    assert turned_query(query, 2, segmenter.model) is query


def test_an_empty_mask_says_nothing(segmenter, shown):
    empty = Reference(Image.new("RGB", (20, 20)), mask=np.zeros((20, 20), dtype=bool), unlike=True)
    notes = segmenter.prepare((*shown[:2], empty)).mosaic.notes
    assert "Reference 3 says nothing: its mask is empty." in notes and len(notes) == 1


def test_rules_are_judged_by_what_they_keep_clear_of():
    kept = keep_picture(load_reference(picture(1, slice(0, 10), unlike=True)), 64)
    mask = np.zeros((20, 20), dtype=bool)
    mask[:4] = True

    assert score_of(SegmentationResult("square", mask=mask), kept) == pytest.approx(1 - 4 / 10)
    assert score_of(SegmentationResult("square", mask=~mask[::-1]), kept) == 0.0


def test_learning_shows_it_to_every_candidate_but_not_beside_its_own_picture():
    references = [
        *(picture(n, slice(10)) for n in range(4)),
        picture(9, slice(10), True),
        picture(2, slice(15, 20), True),
    ]
    oracle = Oracle()
    rule = learn(oracle, references)
    assert (
        rule.unlike == (4, 5)
        and not set(rule.supports) & {4, 5}
        and rule.withheld == (tuple(place for place in range(4) if place not in rule.supports))
    )
    assert [one.unlike for one in rule.references()] == [False] * 3 + [True] * 2
    assert rule.judged == 4 and rule.expected_iou == pytest.approx(0.8)  # not of what it is not
    assert rule.scores[4] == pytest.approx(0.2)  # the made-up masks cover eight of its ten rows
    assert any("masks keep clear of" in note for note in rule.notes)
    with pytest.raises(InputError, match="none among 2"):
        learn(Oracle(), references[4:])


def test_a_rules_file_keeps_it_and_only_where_there_is_some(tmp_path):
    references = [*(picture(n, slice(10)) for n in range(4)), picture(9, slice(10), True)]
    for told, name in ((references, "with.rule"), (references[:4], "without.rule")):
        rule = learn(Oracle(), told)
        path = rule.save(tmp_path / name)
        assert Rule.load(path).unlike == rule.unlike
        with zipfile.ZipFile(path) as archive:
            pictures = json.loads(archive.read("rule.json"))["pictures"]
        assert [one.get("unlike") for one in pictures] == [None] * 4 + [True] * (len(told) - 4)


def test_repeated_references_count_once_and_a_shown_picture_judges_nothing():
    alike = [picture(1, slice(10)), picture(1, slice(10)), picture(1, slice(5)), picture(2, slice(10))]
    pool = Pool(alike, 64)
    assert pool.like == [0, 2, 3] and pool.unseen([0]) == [3]
    assert any("they repeat others: references 2" in note for note in pool.notes)
    rule = learn(Oracle(), alike[:2])
    assert rule.expected_iou is None and rule.supports == (0,)


def test_training_and_evaluation_know_it(segmenter, shown):
    from conceptseg.training.episodes import EpisodeBuilder

    sample = square_sample(0, references=0)
    episode = EpisodeBuilder(segmenter.model)(ConceptSample(**{**vars(sample), "references": shown}))
    assert episode.truth.check is not None
