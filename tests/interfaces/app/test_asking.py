"""One picture asked about: the moments, what streams, and every bad input as an error of ours."""

from __future__ import annotations

from dataclasses import replace

import pytest
from starlette.exceptions import HTTPException

from conceptseg.errors import ImageError, InputError
from conceptseg.interfaces.app.asking import Ask, ask, telling_seldom
from conceptseg.interfaces.app.uploads import Uploads, one_line
from conceptseg.interfaces.server.options import ServerOptions

BOX = {"kind": "box", "box": [5, 5, 25, 25]}


def test_the_answer_comes_about_moment_by_moment(segmenter, uploads, put, squares):
    moments = list(ask(segmenter, uploads, Ask("bright square", [put()], squares, route="reason")))
    assert moments[0].stage == "Reading the pictures" and moments[-1].stage == "Done"
    first_with_mosaic = next(i for i, one in enumerate(moments) if one.mosaic is not None)
    first_response = next(i for i, one in enumerate(moments) if one.response is not None)
    assert first_with_mosaic < first_response < len(moments) - 1, "mosaic, then the response, then the answer"
    result = moments[-1].result
    assert result.mask.shape == (30, 40) and result.source == "a.png" and moments[-1].mosaic.proxy_index == 0


def test_it_is_what_the_engine_answers(segmenter, uploads, put, squares):
    moments = list(ask(segmenter, uploads, Ask("bright square", [put()], squares, route="reason")))
    references = [(one["path"], one["mask"]) for one in squares]
    alone = segmenter(put()["path"], "bright square", references, route="reason")
    assert (moments[-1].result.mask == alone.mask).all() and moments[-1].result.response.text == alone.response.text


def test_what_was_made_of_the_drawing_is_in_the_notes(segmenter, uploads, put):
    boxes = [BOX, {"kind": "box", "box": [1, 1, 4, 4]}]
    moments = list(ask(segmenter, uploads, Ask("square", [put()], [put("b.png", marks=boxes)], route="direct")))
    assert "Reference 1: its 2 boxes count as one mask of what they cover." in moments[-1].result.notes


@pytest.mark.parametrize(
    ("change", "kind", "told"),
    [
        ({"concept": "  "}, InputError, "The concept is empty"),
        ({"concept": None}, InputError, "The concept must be a text"),
        ({"target": []}, InputError, "There is no picture to look at"),
        ({"target": [{"path": "/etc/passwd", "name": "p"}]}, ImageError, "p is no upload of this page"),
        ({"references": "drawn"}, InputError, "What is drawn cannot be read"),
        ({"references": [{"path": "/nowhere"}]}, ImageError, "reference 1 is no longer there"),
        ({"references": [{"path": "/nowhere"}] * 17}, InputError, "17 references are more than the 16"),
        ({"route": "sideways"}, InputError, "Unknown route 'sideways'"),
    ],
)
def test_bad_input_is_an_error_of_ours(segmenter, uploads, put, change, kind, told):
    with pytest.raises(kind, match=told):
        list(ask(segmenter, uploads, replace(Ask("square", [put()], []), **change)))


def test_pixels_are_counted_over_all_pictures_of_a_question(segmenter, folder, put):
    uploads = Uploads([folder], ServerOptions(max_pixels=2_000))
    with pytest.raises(HTTPException) as refused:
        list(ask(segmenter, uploads, Ask("square", [put()], [put("b.png")])))
    assert "b.png: it has 40×30 pixels; all pictures of a request together may have 2000" in one_line(refused.value)


def test_what_comes_too_fast_is_passed_over():
    told = []
    tell = telling_seldom(told.append, pause_s=60)
    for text in ("a", "ab", "abc"):
        tell(text)
    assert told == ["a"]
