from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import conceptseg.protocol
from conceptseg.errors import InputError
from conceptseg.protocol import Mosaic, build_mosaic, render_prompt, template_names

VARIANTS = ("with_proxy", "with_references", "without_references")
FOLDER = Path(conceptseg.protocol.__file__).parent / "templates"


def mosaic_of(count: int, *, boxes: bool = True, proxy: bool = True) -> Mosaic:
    images = [Image.new("RGB", (10, 10))] * count
    return build_mosaic(images, [(1, 2, 3, 5) if boxes else None] * count, canvas_px=200, proxy=proxy)


def test_the_templates_are_those_documented():
    assert template_names() == ("compact", "direct", "paper", "released")


@pytest.mark.parametrize("template", template_names())
@pytest.mark.parametrize("variant", VARIANTS)
def test_every_template_has_its_texts_with_the_right_placeholders(template: str, variant: str):
    text = (FOLDER / template / f"{variant}.txt").read_text(encoding="utf-8")
    expected = {"{problem}"} if variant == "without_references" else {"{problem}", "{reference_boxes}"}
    assert set(re.findall(r"\{.*?\}", text)) == expected


def tags(prompt: str) -> list[str]:
    return re.findall(r"<(\w+)>", prompt)


@pytest.mark.parametrize(
    ("mosaic", "paper", "direct"),
    [
        (mosaic_of(4), ["think", "rule", "check", "bbox", "answer"], ["think", "bbox", "answer"]),
        (mosaic_of(4, proxy=False), ["think", "rule", "bbox", "answer"], ["think", "bbox", "answer"]),
        (mosaic_of(1), ["think", "rule", "bbox", "answer"], ["think", "bbox", "answer"]),
        (None, ["think", "rule", "bbox", "answer"], ["think", "bbox", "answer"]),
    ],
)
def test_only_what_can_be_answered_is_asked_for(mosaic: Mosaic | None, paper: list[str], direct: list[str]):
    assert tags(render_prompt("cat", mosaic, template="paper")) == paper
    assert tags(render_prompt("cat", mosaic, template="released")) == paper
    assert tags(render_prompt("cat", mosaic, template="direct")) == direct


def test_the_shown_boxes_are_listed_and_the_withheld_one_is_not():
    prompt = render_prompt("cat", mosaic_of(4))
    # 10×10 → 100×100 cells: (10, 20, 30, 50) plus the cell's corner
    assert "[[110, 20, 130, 50], [10, 120, 30, 150], [110, 120, 130, 150]]" in prompt
    assert "[10, 20, 30, 50]" not in prompt
    assert "[10, 20, 30, 50]" in render_prompt("cat", mosaic_of(4, proxy=False))


def test_compact_is_a_few_words():
    assert render_prompt("cat", None, template="compact") == "find : cat ."
    assert render_prompt("cat", mosaic_of(1), template="compact") == "find : cat . boxes [[20, 40, 60, 100]] ."
    assert render_prompt("cat", mosaic_of(2), template="compact") == "find : cat . boxes [[110, 20, 130, 50]] . check ."


def test_references_without_boxes_say_so():
    assert "drawn in red: none." in render_prompt("cat", mosaic_of(2, boxes=False))


@given(st.text(min_size=1).filter(str.strip), st.sampled_from(template_names()))
def test_the_concept_is_inserted_literally(concept: str, template: str):
    rendered = render_prompt(concept, None, template=template)
    frame = render_prompt("\N{SNOWMAN}", None, template=template)
    before, after = frame.split("\N{SNOWMAN}")
    assert rendered == before + concept + after


@pytest.mark.parametrize("concept", ["{problem}", "{reference_boxes}", "{0} {} %s {{x}}", r"\1 \g<0>", "<check>"])
def test_no_concept_is_mistaken_for_a_placeholder(concept: str):
    prompt = render_prompt(concept, mosaic_of(4))
    assert f'"{concept}"' in prompt
    assert prompt.count("[110, 20, 130, 50]") == 1


@pytest.mark.parametrize("concept", ["", " \n"])
def test_an_empty_concept_is_refused(concept: str):
    with pytest.raises(InputError, match="concept is empty"):
        render_prompt(concept, None)


@pytest.mark.parametrize("template", ["papper", "", " ", "paper/../direct"])
def test_an_unknown_template_is_refused_with_the_known_ones(template: str):
    with pytest.raises(InputError, match="Known templates: compact, direct, paper, released"):
        render_prompt("cat", None, template=template)
