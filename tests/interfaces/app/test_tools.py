"""What programs may ask: pictures in base64, never addresses."""

from __future__ import annotations

import json

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
    assert [tool.__name__ for tool in tools.all()] == ["segment", "learn_rule", "apply_rule"]
    assert all("Args:" in tool.__doc__ and "Returns:" in tool.__doc__ for tool in tools.all())


def test_a_rule_is_learned_and_applied(tools):
    segment, learn_rule, apply_rule = tools.all()
    references = [{"image": b64(png(colour=one)), "mask": b64(mask_png())} for one in ("teal", "olive")]
    told = json.loads(learn_rule("square", references))
    assert told["concept"] == "square" and "Expected IoU" in told["description"]
    applied = json.loads(apply_rule(b64(png()), told["rule"]))
    assert applied["mask"]["size"] == [16, 24] and applied["concept"] == "square"
    assert json.loads(segment(b64(png()), "square", []))["mask"]["size"] == [16, 24]


@pytest.mark.parametrize(
    ("rule", "told"), [(None, "rule must be the file"), ("*", "rule is no base64"), ("aGVsbG8=", "is no rule")]
)
def test_what_is_no_rule_is_told(tools, rule, told):
    with pytest.raises(InputError, match=told):
        tools.apply(b64(png()), rule)
