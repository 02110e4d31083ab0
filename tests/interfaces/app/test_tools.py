"""What programs may ask: pictures in base64, never addresses."""

from __future__ import annotations

import pytest

from conceptseg.errors import InputError
from conceptseg.interfaces.app.tools import Tools
from tests.interfaces.server.fakes import b64, mask_png, png


@pytest.fixture
def tools(segmenter, uploads) -> Tools:
    return Tools(segmenter, uploads)


def test_a_program_gets_the_mask_and_the_reasons(tools):
    references = [{"image": b64(png()), "mask": b64(mask_png())}, {"image": b64(png()), "box": [1, 1, 9, 9]}]
    told = tools.segment(b64(png()), "square", references, "reason")
    assert told["route"] == "reasoned" and told["mask"]["size"] == [16, 24] and isinstance(told["mask"]["counts"], str)


def test_addresses_are_refused(tools):
    with pytest.raises(InputError, match="addresses and files are never fetched"):
        tools.segment("http://example.org/a.png", "square", [])


@pytest.mark.parametrize("references", [[{}], [{"image": "x", "box": [1]}], ["x"]])
def test_references_that_are_none_are_told(tools, references):
    with pytest.raises(InputError, match="reference"):
        tools.segment(b64(png()), "square", references)


def test_each_tool_says_what_it_is_for(tools):
    assert [tool.__name__ for tool in tools.all()] == ["segment"]
    assert all("Args:" in tool.__doc__ and "Returns:" in tool.__doc__ for tool in tools.all())
