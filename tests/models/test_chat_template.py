"""The chat template: the first one that shows images is taken, and what was passed over is told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from conceptseg.errors import CheckpointError
from conceptseg.models.chat_template import BUILT_IN, pick_chat_template, shows_images
from conceptseg.models.reasoner import Prompt
from conceptseg.models.small_tokenizer import build_tokenizer
from tests.fixtures.chat_templates import TAKES_PARTS_BUT_DROPS_IMAGES, TEXT_ONLY, WITH_IMAGES


@pytest.fixture
def tokenizer():
    made = build_tokenizer(["find the cat"])
    made.chat_template = TEXT_ONLY
    return made


def write(folder: Path, *, jinja: str | None = None, as_json: object = None) -> Path:
    if jinja is not None:
        (folder / "chat_template.jinja").write_text(jinja)
    if as_json is not None:
        (folder / "chat_template.json").write_text(json.dumps({"chat_template": as_json}))
    return folder


@pytest.mark.parametrize(
    ("template", "shows"),
    [
        (WITH_IMAGES, True),
        (BUILT_IN, True),
        (TEXT_ONLY, False),
        (TAKES_PARTS_BUT_DROPS_IMAGES, False),
        ("{% for m in messages %}{% for p in m.content %}{{ p.text }}<|image_pad|>{% endfor %}{% endfor %}", False),
        ("<|image_pad|><|image_pad|>", False),
        ("{% for m in messages %}{{ raise_exception('no') }}{% endfor %}", False),
        ("{% if %}", False),
    ],
)
def test_a_template_is_tried_on_a_question_with_images(tokenizer, template: str, shows: bool):
    assert shows_images(template, tokenizer) is shows


def test_files_go_before_the_tokenizer_and_jinja_before_json(tokenizer, tmp_path: Path):
    other = WITH_IMAGES + "{# another #}"
    assert pick_chat_template(write(tmp_path, as_json=WITH_IMAGES), tokenizer).origin == "chat_template.json"
    chosen = pick_chat_template(write(tmp_path, jinja=other), tokenizer)
    assert (chosen.text, chosen.origin, chosen.note) == (other, "chat_template.jinja", None)


def test_a_tokenizer_that_shows_images_is_enough(tokenizer, tmp_path: Path):
    tokenizer.chat_template = WITH_IMAGES
    chosen = pick_chat_template(tmp_path, tokenizer)
    assert (chosen.origin, chosen.note) == ("the tokenizer", None)


@pytest.mark.parametrize(
    "several", [{"tool_use": TEXT_ONLY, "default": WITH_IMAGES}, [{"name": "default", "template": WITH_IMAGES}]]
)
def test_of_several_templates_by_name_the_default_counts(tokenizer, tmp_path: Path, several: object):
    assert pick_chat_template(write(tmp_path, as_json=several), tokenizer).text == WITH_IMAGES


def test_what_shows_no_images_is_passed_over_and_told(tokenizer, tmp_path: Path):
    chosen = pick_chat_template(write(tmp_path, jinja=TAKES_PARTS_BUT_DROPS_IMAGES, as_json=WITH_IMAGES), tokenizer)
    assert chosen.note == "Chat template: chat_template.json, for that of chat_template.jinja shows no images."


def test_where_none_shows_images_the_form_of_qwen_serves(tokenizer, tmp_path: Path):
    chosen = pick_chat_template(tmp_path, tokenizer)
    assert chosen.text == BUILT_IN
    assert chosen.note == "Chat template: the form of Qwen2.5-VL, for that of the tokenizer shows no images."
    tokenizer.chat_template = None
    assert "the checkpoint has none" in (pick_chat_template(tmp_path, tokenizer).note or "")


def test_the_built_in_one_writes_what_the_published_one_does(tokenizer):
    prompts = [
        Prompt((Image.new("RGB", (4, 4)),) * 2, "find the cat", "be brief"),
        Prompt((Image.new("RGB", (4, 4)),), "find the cat", text_first=True),
    ]
    for prompt in prompts:
        ours, theirs = (
            tokenizer.apply_chat_template(
                prompt.messages(), chat_template=text, tokenize=False, add_generation_prompt=True
            )
            for text in (BUILT_IN, WITH_IMAGES)
        )
        assert ours == theirs


def test_a_damaged_file_is_told(tokenizer, tmp_path: Path):
    (tmp_path / "chat_template.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"chat_template\.json is not valid JSON"):
        pick_chat_template(tmp_path, tokenizer)
    (tmp_path / "chat_template.json").unlink()
    (tmp_path / "chat_template.jinja").write_bytes(b"\xff\xfe")
    with pytest.raises(CheckpointError, match="is not UTF-8 text"):
        pick_chat_template(tmp_path, tokenizer)
