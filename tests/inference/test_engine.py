"""The engine with the bundled checkpoint; where only the way matters, SAM 3 and the MLLM say what the test wants."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from PIL import Image

from conceptseg.data import Reference, load_sample
from conceptseg.data.world import ConceptWorld
from conceptseg.errors import ImageError, InputError, ResourceError
from conceptseg.geometry import box_iou
from conceptseg.inference import ConceptSegmenter, Query, Route, SegmentationResult
from conceptseg.inference.answers import UNTOLD, merit_of
from conceptseg.models.reasoner import Generation
from conceptseg.models.segmenter import Instances, SegmentationLogits
from conceptseg.protocol import format_response

FRAME_OF_NANO = 168


def picture(width: int = 40, height: int = 30, shade: int = 90) -> Image.Image:
    return Image.new("RGB", (width, height), (shade, shade // 2, 200))


def four_references() -> list[Reference]:
    return [Reference(picture(60, 60, 40 * n), box=(5.0 + n, 10.0, 35.0, 50.0)) for n in range(4)]


@pytest.fixture
def presence(nano, monkeypatch) -> dict[str, float]:
    """SAM 3 as a stub: sets the presence it reports ("score"), counts how often it is asked for a mask ("asked")."""
    says = {"score": 0.5, "asked": 0}

    def decode(features, prompt):
        says["asked"] += 1
        count, logit = len(features), math.log(says["score"] / (1 - says["score"]))
        presence = torch.full((count,), logit)
        found = Instances(torch.ones(count, 1, 8, 8), torch.zeros(count, 1), presence, torch.zeros(count, 1, 4))
        return SegmentationLogits(torch.ones(count, 8, 8), presence), found

    monkeypatch.setattr(nano.model.segmenter, "decode_with_instances", decode)
    return says


@pytest.fixture
def replies(nano, monkeypatch) -> list[str]:
    """The MLLM as a stub: answers every prompt with the last of these texts, or fails the test if there is none."""
    texts: list[str] = []

    def reason(prompts: Sequence[object], **_: object) -> Generation:
        assert texts, "the MLLM was asked"
        count, width = len(prompts), nano.model.translation.config.hidden_size
        mask = torch.ones(count, 3, dtype=torch.bool)
        return Generation([texts[-1]] * count, mask.long(), torch.zeros(count, 3, width), mask)

    monkeypatch.setattr(nano.model, "reason", reason)
    return texts


def reply(answer: str | None = "spot", box=(42, 0, 126, 168), check=None) -> str:
    return format_response("Looking.", "Segment the spot.", check, box, answer)


@pytest.mark.parametrize(
    ("concept", "score", "route"),
    [
        ("cat", 0.1001, Route.DIRECT),
        ("cat", 0.0999, Route.REASONED),
        ("black cat", 0.1999, Route.REASONED),
        ("black cat", 0.2001, Route.DIRECT),
        ("the small black cat", 0.81, Route.DIRECT),
        ("the small black cat", 0.79, Route.REASONED),
        ("the very small black cat", 0.9999, Route.REASONED),
    ],
)
def test_the_router_decides_by_presence_and_length(nano, presence, replies, concept, score, route):
    presence["score"] = score
    replies.append(reply())
    assert nano(picture(), concept).route is route


def test_an_accepted_picture_never_touches_the_mllm(nano, presence, replies):
    presence["score"] = 0.95
    result = nano(picture(), "black cat", four_references())
    assert result.route is Route.DIRECT and result.presence == pytest.approx(0.95) and result.threshold == 0.2
    assert result.response is None and result.mask.all()
    assert set(result.timings) == {"encode", "screen", "decode"}  # the last, with what the references say
    assert set(nano(picture(), "black cat").timings) == {"encode", "screen"}


def test_where_the_shortcut_is_enough_the_mllm_is_not_even_read(nano):
    fresh = ConceptSegmenter.from_pretrained("nano", device="cpu")
    fresh(picture(), "cat", route="direct")
    assert not fresh.model.reasoner.is_loaded


@pytest.mark.parametrize("concept", ["cat", "the very small black cat"])
@pytest.mark.parametrize("route", ["auto", "direct", "reason"])
def test_scores_that_are_no_numbers_are_no_answer(nano, presence, replies, releases, concept, route):
    replies.append(reply())
    presence["score"] = math.nan
    results = [nano(picture(), concept, route=route), nano(picture(), concept, route=route, samples=2)]
    results += [result for _, result in nano.stream_in_two_passes([picture()], concept, route=route)]
    for result in results:
        assert result.mask is None and "no numbers (presence" in result.error
        json.dumps(result.to_dict(), allow_nan=False)


def test_of_several_answers_one_with_numbers_goes_first():
    sound = SegmentationResult("cat", check_iou=None)
    assert merit_of(sound) > merit_of(replace(sound, error="no numbers", check_iou=1.0))


def test_memory_that_runs_out_anywhere_is_told_with_advice(nano, monkeypatch):
    fail = Mock(side_effect=torch.OutOfMemoryError())
    monkeypatch.setattr(nano.model.segmenter, "glance", fail)
    with pytest.raises(ResourceError, match="Out of memory while looking at 1 references"):
        nano.prepare([Reference(picture(shade=3), box=(1.0, 2.0, 9.0, 9.0))])
    with pytest.raises(ResourceError, match="Out of memory while screening 1 images"):
        list(nano.stream_in_two_passes([picture(shade=5)], "cat"))
    monkeypatch.setattr(nano.model, "reason", fail)
    with pytest.raises(ResourceError, match="Out of memory while asking the MLLM about 1 images"):
        nano.respond([Query(picture(), "cat")])


@pytest.mark.parametrize(("prior", "marked"), [(False, True), (True, False)])
def test_references_that_play_no_part_are_told(nano, presence, monkeypatch, prior, marked):
    presence["score"] = 0.9
    if not prior:
        monkeypatch.setattr(type(nano.model), "has_prior", False)
    box = (1.0, 2.0, 9.0, 9.0) if marked else None
    result = nano(picture(shade=7), "cat", [Reference(picture(shade=8), box=box)])
    assert result.route is Route.DIRECT and UNTOLD in result.notes
    assert UNTOLD not in nano(picture(), "cat").notes


def test_long_concepts_never_ask_sam_but_share_its_features(nano, presence, replies, monkeypatch):
    encoded = []
    glance = nano.model.segmenter.glance
    monkeypatch.setattr(nano.model.segmenter, "glance", lambda pixels: encoded.append(len(pixels)) or glance(pixels))
    replies.append(reply())
    result = nano(picture(), "the very small black cat")
    assert result.presence is None and result.threshold == 1.0
    assert presence["asked"] == 1 and encoded == [1]  # asked for the final mask only
    assert set(result.timings) == {"encode", "reason", "decode"}


def test_features_are_computed_once_for_both_routes(nano, presence, replies, monkeypatch):
    encoded = []
    glance = nano.model.segmenter.glance
    monkeypatch.setattr(nano.model.segmenter, "glance", lambda pixels: encoded.append(len(pixels)) or glance(pixels))
    presence["score"] = 0.05
    replies.append(reply())
    result = nano(picture(), "cat")
    assert result.route is Route.REASONED and result.presence == pytest.approx(0.05)
    assert presence["asked"] == 2 and encoded == [1]


def test_questions_about_one_picture_share_its_encoding(nano, presence, monkeypatch):
    encoded = []
    glance = nano.model.segmenter.glance
    monkeypatch.setattr(nano.model.segmenter, "glance", lambda pixels: encoded.append(len(pixels)) or glance(pixels))
    one, other = picture(), picture(shade=20)
    results = nano.segment_batch([Query(image, "cat") for image in (one, other, one)], route="direct")
    assert encoded == [2] and [result.image is one for result in results] == [True, False, True]
    nano.segment_batch([Query(one, "cat"), Query(one, "dog")], route="direct")
    nano.segment_batch([Query(one, "sheep")], route="direct")  # the next batch about the same picture
    assert encoded == [2, 1]
    nano.segment_batch([Query(picture(), "cat")], route="direct")  # looks the same, but need not be
    nano.segment_batch([Query(one, "cat")], route="direct")
    assert encoded == [2, 1, 1, 1]


def test_shared_features_give_the_masks_of_pictures_asked_alone(nano):
    sample = load_sample(ConceptWorld("living", seed=3).sample("living", 0))
    other = picture()
    images, words = [other, sample.image, sample.image], ["cat", "dog", "cat"]
    together = nano.segment_batch([Query(i, w) for i, w in zip(images, words, strict=True)], route="direct")
    for image, word, result in zip(images, words, together, strict=True):
        alone = nano(image, word, route="direct")
        assert result.presence == pytest.approx(alone.presence, abs=1e-4)
        assert np.mean(result.mask != alone.mask) < 1e-3


def test_a_forced_route_is_taken(nano, presence, replies):
    presence["score"] = 0.001
    assert nano(picture(), "one two three four five", route="direct").route is Route.DIRECT
    replies.append(reply())
    presence["score"] = 0.999
    result = nano(picture(), "cat", route="reason")
    assert result.route is Route.REASONED and result.presence is None


def test_the_box_comes_back_in_the_pictures_own_pixels(nano, presence, replies):
    assert nano.model.config.protocol.frame_px == FRAME_OF_NANO
    replies.append(reply(box=(42, 84, 126, 168)))
    result = nano(picture(400, 100), "cat", route="reason")
    assert result.box == pytest.approx((100, 50, 300, 100))
    assert result.mask.shape == (100, 400)


def test_a_box_beyond_the_picture_is_cut_or_dropped(nano, presence, replies):
    replies.append(reply(box=(84, 84, 900, 900)))
    assert nano(picture(168, 168), "cat", route="reason").box == (84, 84, 168, 168)
    replies.append(reply(box=(500, 500, 900, 900)))
    assert nano(picture(168, 168), "cat", route="reason").box is None


def test_the_check_is_held_against_the_withheld_box(nano, presence, replies):
    references = four_references()
    truth = nano.build_mosaic(references).boxes_xyxy[0]
    replies.append(reply(check=truth))
    assert nano(picture(), "cat", references, route="reason").check_iou == 1.0
    wrong = (truth[0], truth[1], truth[2], truth[1] + 10)
    replies.append(reply(check=wrong))
    assert nano(picture(), "cat", references, route="reason").check_iou == pytest.approx(box_iou(wrong, truth))
    replies.append(reply(check=None))
    assert nano(picture(), "cat", references, route="reason").check_iou == 0.0
    assert nano(picture(), "cat", references[:1], route="reason").check_iou is None  # nothing was withheld


def test_without_an_answer_the_concept_stands_in_and_it_is_said(nano, presence, replies, monkeypatch):
    given = []
    translate = nano.model.translate
    monkeypatch.setattr(nano.model, "translate", lambda h, m, a: given.append(list(a)) or translate(h, m, a))
    replies.append("I cannot tell.")
    result = nano(picture(), "black cat", route="reason")
    assert given == [["black cat"]] and result.answer == "black cat"
    assert "no answer" in result.notes[0] and result.box is None
    replies.append(reply(answer="spot"))
    assert nano(picture(), "black cat", route="reason").answer == "spot" and given[-1] == ["spot"]


def test_a_reference_with_an_empty_mask_is_told_of(nano, presence, replies):
    references = four_references()
    references[2] = Reference(picture(60, 60), mask=np.zeros((60, 60), dtype=bool))
    replies.append(reply())
    result = nano(picture(), "cat", references, route="reason")
    by_boxes = "Known by their boxes alone, not by masks, which say more: references 1, 2, 4."
    assert result.notes == ("Reference 3 counts as unmarked: its mask is empty.", by_boxes)
    references[2] = Reference(picture(60, 60))  # unmarked on purpose
    assert nano(picture(), "cat", references, route="reason").notes == (by_boxes,)


def test_words_that_sam_does_not_read_to_their_end_are_told_of(nano, presence, replies):
    told = f"SAM 3 read only the beginning of its words: it takes {nano.model.segmenter.max_text_tokens} tokens."
    long = "black cat " * 40
    assert nano(picture(), long, route="direct").notes == (told,)
    assert nano(picture(), "black cat", route="direct").notes == ()
    replies.append(reply(answer=long))
    assert nano(picture(), "cat", route="reason").notes == (told,)
    replies.append(reply(answer="cat"))
    assert nano(picture(), long, route="reason").notes == ()  # these words were the MLLM's to read


@pytest.fixture
def releases(nano, monkeypatch) -> list[None]:
    """An entry for every time the MLLM was let go."""
    seen: list[None] = []
    monkeypatch.setattr(nano.model.reasoner, "release", lambda: seen.append(None))
    return seen


def in_two_passes(segmenter: ConceptSegmenter, concept: str, route: str) -> list[tuple[int, SegmentationResult]]:
    return list(segmenter.stream_in_two_passes([picture(20), b"none", picture(30)], concept, batch_size=2, route=route))


@pytest.mark.parametrize(("concept", "route"), [("cat", "reason"), ("the very small black cat", "auto")])
def test_a_pass_that_could_answer_nothing_is_left_out(nano, presence, replies, releases, monkeypatch, concept, route):
    encoded = []
    glance = nano.model.segmenter.glance
    monkeypatch.setattr(nano.model.segmenter, "glance", lambda pixels: encoded.append(len(pixels)) or glance(pixels))
    replies.append(reply())
    results = in_two_passes(nano, concept, route)
    assert sum(encoded) == 2 and [index for index, _ in results] == [0, 1, 2] and len(releases) == 1
    assert [result.route for _, result in results] == [Route.REASONED, None, Route.REASONED]
    assert "not an image" in results[1][1].error


def test_two_passes_keep_the_presence_of_the_first(nano, presence, replies, releases):
    presence["score"] = 0.05
    replies.append(reply())
    results = dict(in_two_passes(nano, "cat", "auto"))
    assert [results[n].presence for n in (0, 2)] == [pytest.approx(0.05)] * 2 and results[0].route is Route.REASONED
    assert results[1].error and len(releases) == 1


def test_the_mllm_is_let_go_however_two_passes_end(nano, presence, replies, releases):
    with pytest.raises(AssertionError, match="the MLLM was asked"):
        in_two_passes(nano, "cat", "reason")
    replies.append(reply())
    stream = nano.stream_in_two_passes([picture()], "cat", route="reason")
    next(stream)
    stream.close()
    assert len(releases) == 2


def test_a_bad_picture_in_a_stream_keeps_its_place(nano, presence, tmp_path):
    presence["score"] = 0.9
    sources = []
    for number in range(7):
        sources.append(tmp_path / f"{number}.png")
        picture(10 + number, 8).save(sources[-1])
    sources[2].write_bytes(b"no picture")
    sources[5].unlink()
    results = list(nano.stream(sources, "cat", batch_size=3))
    assert [result.source for result in results] == [str(source) for source in sources]
    assert [result.error is not None for result in results] == [number in (2, 5) for number in range(7)]
    assert [r.mask.shape for r in results if r.mask is not None] == [(8, 10 + n) for n in (0, 1, 3, 4, 6)]
    assert "2.png" in results[2].error


def test_a_stream_reads_only_as_far_as_it_is_asked(nano, presence):
    drawn = []

    def pictures():
        for number in range(100):
            drawn.append(number)
            yield picture()

    next(iter(nano.stream(pictures(), "cat", batch_size=4, route="direct")))
    assert drawn == [0, 1, 2, 3]


def test_the_mosaic_is_built_once_for_a_set_of_references(nano):
    references = four_references()
    assert nano.build_mosaic(references) is nano.build_mosaic(tuple(references))
    assert nano.build_mosaic(references) is not nano.build_mosaic(references[:3])
    assert nano.build_mosaic([]) is None


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (200, 3)])
def test_a_mask_has_its_pictures_size(nano, size):
    assert nano(picture(*size), "cat", route="direct").mask.shape == size[::-1]


def test_wrong_requests_are_refused(nano, tmp_path):
    with pytest.raises(InputError, match="Unknown route 'quick'"):
        nano(picture(), "cat", route="quick")
    with pytest.raises(InputError, match="The concept is empty"):
        nano(picture(), "  ", route="direct")
    with pytest.raises(InputError, match="needs a non-empty text"):
        nano.model.segmenter.embed_text(["cat", "  "])
    with pytest.raises(InputError, match="Expected at least one image"):
        nano.encode([])
    with pytest.raises(InputError, match="lone surrogate"):
        nano(picture(), "cat\udcff")
    with pytest.raises(InputError, match="The concept is empty"):
        nano(picture(), "  ", route="reason")
    with pytest.raises(InputError, match="batch_size must be at least 1, got 0"):
        next(nano.stream([picture()], "cat", batch_size=0))
    with pytest.raises(ImageError, match="There is no image file"):
        nano(tmp_path / "absent.png", "cat")
    with pytest.raises(ImageError, match="There is no image file"):
        next(nano.stream([picture()], "cat", [Reference(tmp_path / "absent.png")]))


@pytest.mark.parametrize("route", ["direct", "reason"])
def test_how_a_concept_is_typed_does_not_matter(nano, route):
    pictures = [load_sample(ConceptWorld("living", seed=3).sample("living", 0)).image]
    typed = ["black cat", " Black  CAT\n", "black\u200b\u00a0cat"]
    answers = [nano.segment_batch([Query(pictures[0], words)], route=route)[0] for words in typed]
    assert len({(answer.presence, answer.mask.tobytes()) for answer in answers}) == 1


def test_a_picture_that_was_drawn_upon_is_encoded_again(nano, presence, monkeypatch):
    encoded = []
    glance = nano.model.segmenter.glance
    monkeypatch.setattr(nano.model.segmenter, "glance", lambda pixels: encoded.append(len(pixels)) or glance(pixels))
    image = picture()
    for _ in range(2):
        nano.segment_batch([Query(image, "cat")], route="direct")
    image.paste((0, 0, 0), (0, 0, 9, 9))
    nano.segment_batch([Query(image, "cat")], route="direct")
    assert encoded == [1, 1]


def test_a_source_that_fails_costs_nothing_that_it_gave(nano, presence):
    def camera():
        yield from (picture(shade=shade) for shade in range(5))
        raise RuntimeError("the camera is gone")

    got = []
    with pytest.raises(RuntimeError, match="the camera is gone"):
        for result in nano.stream(camera(), "cat", batch_size=3, route="direct"):
            got.append(result)
    assert len(got) == 5 and all(result.mask is not None for result in got)


def test_a_picture_object_that_changes_under_way_is_read_when_it_is_drawn(nano, presence):
    def frames():
        buffer = picture()
        for shade in (10, 20, 30):
            buffer.paste((shade, shade, shade), (0, 0, 40, 30))
            yield buffer

    results = nano.stream(frames(), "cat", batch_size=3, route="direct")
    assert [result.image.getpixel((0, 0)) for result in results] == [(10, 10, 10), (20, 20, 20), (30, 30, 30)]


def test_what_is_wrong_with_a_stream_is_said_when_it_is_asked_for(nano):
    for wrong, message in (
        ({"batch_size": 0}, "batch_size"),
        ({"route": "quick"}, "route"),
        ({"concept": " "}, "empty"),
    ):
        given = {"images": [picture()], "concept": "cat"} | wrong
        for stream in (nano.stream, nano.stream_in_two_passes):
            with pytest.raises(InputError, match=message):
                stream(**given)


def test_threads_get_the_answers_that_they_would_get_alone(nano):
    samples = [load_sample(ConceptWorld("living", seed=3).sample("living", n)).image for n in range(3)]
    questions = [(image, words) for image in samples for words in ("cat", "black dog", "a much longer surface defect")]
    alone = [nano(image, words, route="direct") for image, words in questions]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda question: nano(*question, route="direct"), questions * 2))
    for one, other in zip(alone * 2, together, strict=True):
        assert one.presence == other.presence and np.array_equal(one.mask, other.mask)


def test_two_threads_may_draw_from_one_stream(nano, presence):
    stream = nano.stream([picture(10 + n) for n in range(9)], "cat", batch_size=2, route="direct")
    with ThreadPoolExecutor(2) as pool:
        drawn = list(pool.map(lambda _: [result.mask.shape for result in stream], range(2)))
    assert sorted(drawn[0] + drawn[1]) == [(30, 10 + n) for n in range(9)]


@pytest.fixture(scope="module")
def episodes(nano) -> list[Query]:
    world = ConceptWorld(["saliency", "common_consistency"], split="seen_test", seed=5)
    samples = [world[number] for number in range(7)]
    queries = [Query(load_sample(s).image, s.concept, nano.prepare(s.references)) for s in samples]
    return [*queries, Query(picture(90, 50), "surface defect", None)]


def iou(one: np.ndarray, other: np.ndarray) -> float:
    union = (one | other).sum()
    return 1.0 if union == 0 else float((one & other).sum() / union)


@pytest.fixture(scope="module")
def batch(nano, episodes):
    return nano.segment_batch(episodes, route="reason")


def test_a_batch_gives_what_its_members_give_alone(nano, episodes, batch):
    for query, together in zip(episodes, batch, strict=True):
        alone = nano.segment_batch([query], route="reason")[0]
        assert alone.response.text == together.response.text
        assert iou(alone.mask, together.mask) >= 0.995


def test_greedy_decoding_twice_is_identical(nano, episodes, batch):
    for one, other in zip(batch, nano.segment_batch(episodes, route="reason"), strict=True):
        assert one.response.text == other.response.text
        assert np.array_equal(one.mask, other.mask)


def test_a_direct_batch_gives_what_its_members_give_alone(nano, episodes):
    for query, together in zip(episodes, nano.segment_batch(episodes, route="direct"), strict=True):
        alone = nano.segment_batch([query], route="direct")[0]
        assert alone.presence == pytest.approx(together.presence, abs=1e-4)
        assert iou(alone.mask, together.mask) >= 0.995


def test_many_concepts_of_one_picture_share_its_encoding(nano, presence, replies, monkeypatch):
    encoded = []
    glance = nano.model.segmenter.glance
    monkeypatch.setattr(nano.model.segmenter, "glance", lambda pixels: encoded.append(len(pixels)) or glance(pixels))
    results = nano.concepts(picture(), ["cat", "dog", "cow"], batch_size=2)
    assert encoded == [1] and [result.concept for result in results] == ["cat", "dog", "cow"]
    replies.append(reply())
    results = nano.concepts(picture(shade=3), ["cat", "dog"], route="reason", batch_size=1)
    assert encoded == [1, 1] and [result.route for result in results] == [Route.REASONED] * 2


def test_references_are_compared_once_with_a_picture(nano, presence, monkeypatch):
    compared = []
    evidence = nano.model.segmenter.evidence_for
    monkeypatch.setattr(
        nano.model.segmenter,
        "evidence_for",
        lambda glance, seen: compared.append(len(glance)) or evidence(glance, seen),
    )
    nano.concepts(picture(), ["cat", "dog", "cow"], four_references(), route="direct")
    assert compared == [1]


@pytest.mark.parametrize(("concepts", "told"), [("cat", "Put it into a list"), ([], "no concepts")])
def test_one_concept_is_not_many(nano, concepts, told):
    with pytest.raises(InputError, match=told):
        nano.concepts(picture(), concepts)


def test_concepts_are_answered_as_they_are_one_by_one(nano):
    sample = load_sample(ConceptWorld("saliency", split="seen_test", seed=5).sample("saliency", 0))
    words = ["salient object", "the odd one out in it all", "cat"]
    references = [one.as_reference() for one in sample.references]
    together = nano.concepts(sample.image, words, references, always=True)
    for concept, result in zip(words, together, strict=True):
        alone = nano(sample.image, concept, references, always=True)
        assert (alone.route, alone.answer) == (result.route, result.answer)
        assert (alone.response and alone.response.text) == (result.response and result.response.text)
        assert iou(alone.mask, result.mask) >= 0.995


def test_an_empty_batch_is_empty(nano):
    assert nano.segment_batch([]) == []


def test_a_picture_opened_by_the_caller_keeps_its_name(nano, tmp_path, presence):
    picture().save(tmp_path / "photo.png")
    with Image.open(tmp_path / "photo.png") as opened:
        result = nano(opened, "cat", route="direct")
    assert result.source == str(tmp_path / "photo.png")
    assert result.save(tmp_path / "out").name == "photo.mask.png"


def test_what_was_guessed_of_images_and_references_is_noted(nano, replies):
    dim = np.full((20, 30, 3), 900, np.uint16)
    marked = np.zeros((30, 40), np.uint8)
    marked[5:20, 5:20], marked[25:] = 1, 255
    replies.append(reply())
    result = nano(dim, "cat", [Reference(picture(), mask=marked)], route="reason")
    assert result.notes[0] == "The picture uses 10 of its 16 bits; it was scaled by those."
    assert result.notes[1].startswith("Reference 1: The mask holds 0, 1 and its largest possible value")
    assert nano(dim, "cat", route="direct").notes == result.notes[:1]


def test_references_may_name_their_label(nano):
    labels = np.full((30, 40), 2, np.uint8)
    labels[10:20, 20:35] = 7
    with pytest.raises(ImageError, match="values 2, 7"):
        nano.build_mosaic([Reference(picture(), mask=labels)])
    first, second = (nano.build_mosaic([Reference(picture(), mask=labels, label=k)]) for k in (7, 2))
    plain = nano.build_mosaic([Reference(picture(), mask=labels == 7)])
    assert first.boxes_xyxy == plain.boxes_xyxy != second.boxes_xyxy
