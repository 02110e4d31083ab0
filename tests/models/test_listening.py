"""Hearing a response while it is written: all of it, by the thread that asks, and nothing afterwards."""

from __future__ import annotations

import threading
from itertools import pairwise

import pytest
from PIL import Image

from conceptseg.inference import ConceptSegmenter, Query
from conceptseg.models.listening import overheard
from tests.training.tiny import tiny_model


@pytest.fixture(scope="module")
def segmenter() -> ConceptSegmenter:
    return ConceptSegmenter(tiny_model(max_new_tokens=5))


def ask(segmenter) -> str:
    return segmenter(Image.new("RGB", (56, 56), "teal"), "bright square", route="reason").response.text


def test_the_response_grows_to_all_of_it(segmenter):
    heard: list[str] = []
    with overheard(segmenter.model.reasoner, heard.append):
        text = ask(segmenter)
    assert heard[-1] == text and len(heard) > 1
    assert all(later.startswith(earlier.rstrip("�")) for earlier, later in pairwise(heard))


def test_nothing_is_heard_afterwards_or_of_other_threads(segmenter):
    heard: list[str] = []
    with overheard(segmenter.model.reasoner, heard.append):
        other = threading.Thread(target=ask, args=(segmenter,))
        other.start()
        other.join()
    ask(segmenter)
    assert heard == []


def test_of_a_batch_nothing_is_heard(segmenter):
    heard: list[str] = []
    queries = [Query(Image.new("RGB", (56, 56), colour), "bright square") for colour in ("teal", "red")]
    with overheard(segmenter.model.reasoner, heard.append):
        segmenter.segment_batch(queries, route="reason")
    assert heard == []


def test_the_response_is_the_same_with_and_without_a_listener(segmenter):
    with overheard(segmenter.model.reasoner, lambda text: None):
        heard = ask(segmenter)
    assert heard == ask(segmenter)


def test_a_listener_may_end_the_generation(segmenter):
    def stop(text: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), overheard(segmenter.model.reasoner, stop):
        ask(segmenter)
    assert ask(segmenter), "and the next one runs"
