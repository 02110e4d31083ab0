"""Without a concept translation the response's box prompts SAM 3; a folder in two passes. Tiny models, real code."""

from __future__ import annotations

from itertools import cycle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from conceptseg.inference import ConceptSegmenter, Route
from conceptseg.models.reasoner import Generation
from conceptseg.models.released import import_checkpoint
from tests.models.tiny import WIDTH, write_released, write_sam


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    root = tmp_path_factory.mktemp("pair")
    write_released(root / "released")
    write_sam(root / "sam")
    return import_checkpoint(root / "released", root / "ours") / "mllm", root / "sam"


@pytest.fixture
def segmenter(folders: tuple[Path, Path]) -> ConceptSegmenter:
    return ConceptSegmenter.from_pretrained(f"{folders[0]}+{folders[1]}", device="cpu")


def answering(text: str):
    """A stand-in for the MLLM that always says the same."""

    def reason(prompts, **_) -> Generation:
        count = len(prompts)
        mask = torch.ones(count, 2, dtype=torch.bool)
        return Generation([text] * count, mask.long(), torch.zeros(count, 2, WIDTH), mask)

    return reason


def test_the_box_reaches_sam_3_in_fractions_of_the_image(segmenter: ConceptSegmenter, monkeypatch: pytest.MonkeyPatch):
    asked = []
    embed = segmenter.model.segmenter.embed_text_and_boxes
    monkeypatch.setattr(
        segmenter.model.segmenter,
        "embed_text_and_boxes",
        lambda f, boxes, texts: asked.append((boxes, texts)) or embed(f, boxes, texts),
    )
    said = "<think>t</think><rule>r</rule><bbox>[147, 294, 441, 700]</bbox><answer>red cat</answer>"
    monkeypatch.setattr(segmenter.model, "reason", answering(said))
    result = segmenter(Image.new("RGB", (80, 40), "red"), "cat", route="reason")
    ((boxes, texts),) = asked
    assert boxes == [(0.25, 0.5, 0.75, 1.0)]  # of a frame of 588, cut off at its edge
    assert list(texts) == ["red cat"]
    assert result.mask.shape == (40, 80)
    assert result.notes == ("No concept translation: SAM 3 was prompted with the box.",)


def test_without_a_box_the_words_are_left_and_it_says_so(segmenter: ConceptSegmenter, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(segmenter.model, "reason", answering("<answer>cat</answer>"))
    result = segmenter(Image.new("RGB", (80, 40), "red"), "cat", route="reason")
    assert result.notes == (
        "No concept translation: SAM 3 was prompted with words alone, for the response had no box.",
    )
    assert np.array_equal(result.mask, segmenter(Image.new("RGB", (80, 40), "red"), "cat", route="direct").mask)


def test_two_passes_give_what_one_gives(folders: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    paths = [tmp_path / f"{number}.png" for number in range(5)]
    for number, path in enumerate(paths):
        Image.new("RGB", (30 + number, 20), (50 * number, 90, 10)).save(path)
    paths.insert(2, tmp_path / "missing.png")
    segmenter = ConceptSegmenter.from_pretrained(f"{folders[0]}+{folders[1]}", device="cpu")
    monkeypatch.setattr(segmenter.model, "reason", answering("<bbox>[10, 10, 300, 300]</bbox><answer>cat</answer>"))
    sure = cycle([False, True, False, True, True])  # of the five images that can be read, in their order
    monkeypatch.setattr("conceptseg.inference.answers.takes_shortcut", lambda presence, concept: next(sure))
    together = list(segmenter.stream(paths, "cat", batch_size=2))
    passes = dict(segmenter.stream_in_two_passes(paths, "cat", batch_size=2))
    assert list(passes) == [1, 2, 4, 5, 0, 3]  # direct ones and the unreadable one first
    for index, result in enumerate(together):
        other = passes[index]
        assert (other.route, other.error, other.source) == (result.route, result.error, result.source)
        assert other.presence == pytest.approx(result.presence)
        assert result.mask is None or np.array_equal(other.mask, result.mask)
    assert [result.route for result in together].count(Route.DIRECT) == 3


def test_the_second_pass_alone_reads_the_mllm_and_lets_it_go(segmenter: ConceptSegmenter, tmp_path: Path):
    Image.new("RGB", (30, 20)).save(tmp_path / "a.png")
    protocol = segmenter.model.config.protocol.model_copy(update={"max_new_tokens": 2})
    segmenter.model.config = segmenter.model.config.model_copy(update={"protocol": protocol})
    list(segmenter.stream_in_two_passes([tmp_path / "a.png"], "cat", route="direct"))
    assert not segmenter.model.reasoner.is_loaded
    ((index, result),) = segmenter.stream_in_two_passes([tmp_path / "a.png"], "cat", route="reason")
    assert (index, result.route) == (0, Route.REASONED)
    assert not segmenter.model.reasoner.is_loaded
