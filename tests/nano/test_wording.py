import pytest

from conceptseg.data.samples import ConceptSample
from conceptseg.protocol import parse_response
from nano.wording import ideal_response

SAMPLE = ConceptSample("a", "saliency", "salient object", "a.png", rule="Segment what stands out.", answer="red kite")


def test_the_ideal_response_is_strict_and_says_what_it_was_given():
    text = ideal_response(SAMPLE, (10, 20, 60, 80), (1, 2, 30, 40), 168)
    response = parse_response(text)
    assert response.is_strict
    assert (response.rule, response.answer) == ("Segment what stands out.", "red kite")
    assert (response.box, response.check) == ((10, 20, 60, 80), (1, 2, 30, 40))


@pytest.mark.parametrize(
    ("box", "place"),
    [
        ((0, 0, 20, 20), "small upper left"),
        ((60, 60, 120, 120), "medium middle centre"),
        ((80, 90, 168, 168), "large lower right"),
    ],
)
def test_the_thought_says_roughly_where(box, place):
    assert parse_response(ideal_response(SAMPLE, box, None, 168)).think == f"red kite target {place}"


def test_nothing_there_is_the_whole_frame_and_no_rule_is_no_rule():
    text = ideal_response(SAMPLE, None, None, 168, has_rule=False)
    response = parse_response(text, expect_check=False, expect_rule=False)
    assert response.is_strict
    assert response.box == (0, 0, 168, 168)
