"""Which chat template an MLLM is asked in: the first one beside its weights that shows images.

A Qwen2.5-VL repository has two. The one for images stands in `chat_template.json`, which only a processor reads; the
tokenizer's own is for text and tools, and fails at a turn that has parts, or leaves its images out without a word. So
every candidate is tried on a question with two images before it is taken.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from conceptseg.errors import CheckpointError
from conceptseg.models.config import read_json

__all__ = ["BUILT_IN", "IMAGE_TOKEN", "ChatTemplate", "pick_chat_template", "shows_images"]

IMAGE_TOKEN = "<|image_pad|>"

BUILT_IN = (
    "{% for message in messages %}"
    "{% if loop.first and message.role != 'system' %}"
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
    "{% endif %}"
    "<|im_start|>{{ message.role }}\n"
    "{% if message.content is string %}{{ message.content }}{% else %}"
    "{% for part in message.content %}"
    "{% if part.type == 'image' %}<|vision_start|>" + IMAGE_TOKEN + "<|vision_end|>"
    "{% else %}{{ part.text }}{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""Qwen2.5-VL's form of a conversation, for checkpoints that come without a template that shows images."""

_BUILT_IN_ORIGIN = "the form of Qwen2.5-VL"
_JINJA_FILE, _JSON_FILE = "chat_template.jinja", "chat_template.json"
_SYSTEM, _QUESTION = "Be brief.", "Which of them is it?"
_PROBE: list[dict[str, Any]] = [
    {"role": "system", "content": [{"type": "text", "text": _SYSTEM}]},
    {"role": "user", "content": [{"type": "image"}, {"type": "image"}, {"type": "text", "text": _QUESTION}]},
]
_FAILURES = (TemplateError, TypeError, ValueError, KeyError, AttributeError, IndexError)


@dataclass(frozen=True)
class ChatTemplate:
    """A chat template and where it comes from."""

    text: str
    origin: str
    """A file's name, "the tokenizer", or what the built-in one is called."""
    passed_over: tuple[str, ...] = ()
    """Those that would have gone before it, and show no images."""

    @property
    def note(self) -> str | None:
        """What a person should know of the choice; None where the first candidate served."""
        if self.passed_over:
            return f"Chat template: {self.origin}, for that of {' and '.join(self.passed_over)} shows no images."
        return f"Chat template: {self.origin}, for the checkpoint has none." if self.text == BUILT_IN else None


def pick_chat_template(folder: Path, tokenizer: PreTrainedTokenizerBase) -> ChatTemplate:
    """The first of `chat_template.jinja`, `chat_template.json`, the tokenizer's and a built-in one that shows images.

    Args:
        folder: of the MLLM.
        tokenizer: of the same.

    Raises:
        CheckpointError: `chat_template.json` is damaged.
    """
    passed_over: list[str] = []
    for origin, text in _candidates(folder, tokenizer):
        if shows_images(text, tokenizer):
            return ChatTemplate(text, origin, tuple(passed_over))
        passed_over.append(origin)
    return ChatTemplate(BUILT_IN, _BUILT_IN_ORIGIN, tuple(passed_over))


def shows_images(template: str, tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether a template renders a turn of two images and a text as such: two placeholders, then the text."""
    try:
        rendered = str(
            tokenizer.apply_chat_template(_PROBE, chat_template=template, tokenize=False, add_generation_prompt=True)
        )
    except _FAILURES:
        return False
    before, asked, _ = rendered.partition(_QUESTION)
    return bool(asked) and _SYSTEM in before and before.count(IMAGE_TOKEN) == rendered.count(IMAGE_TOKEN) == 2


def _candidates(folder: Path, tokenizer: PreTrainedTokenizerBase) -> Iterator[tuple[str, str]]:
    """Where a template may be, and its text; the same text is tried once."""
    seen = set()
    for origin, found in (
        (_JINJA_FILE, _read_jinja(folder / _JINJA_FILE)),
        (_JSON_FILE, _read_json(folder / _JSON_FILE)),
        ("the tokenizer", _default_of(tokenizer.chat_template)),
    ):
        if found and found not in seen:
            seen.add(found)
            yield origin, found


def _read_jinja(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8") if path.is_file() else None
    except UnicodeDecodeError as error:
        raise CheckpointError(f"{path} is not UTF-8 text: download it again.") from error


def _read_json(path: Path) -> str | None:
    return _default_of(read_json(path).get("chat_template")) if path.is_file() else None


def _default_of(template: object) -> str | None:
    """A template as it stands, or of several by name (as a mapping or a list of entries) the default one."""
    if isinstance(template, list):
        template = {entry.get("name"): entry.get("template") for entry in template if isinstance(entry, Mapping)}
    if isinstance(template, Mapping):
        template = template.get("default")
    return template if isinstance(template, str) else None
