"""What the model is asked: the instruction texts of Appendix D.1, kept as files, filled in literally."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from conceptseg.errors import InputError
from conceptseg.geometry import BoxXYXY
from conceptseg.protocol.mosaic import Mosaic
from conceptseg.protocol.response import format_box

__all__ = ["SYSTEM_PROMPT", "render_prompt", "template_names"]

SYSTEM_PROMPT = "You are a helpful assistant."
"""The system turn of every conversation."""

_TEMPLATES = Path(__file__).parent / "templates"
_PLACEHOLDER = re.compile(r"\{(problem|reference_boxes)\}")


def render_prompt(concept: str, mosaic: Mosaic | None, *, template: str = "paper") -> str:
    """The text of the user turn, which follows the mosaic and the target image (Appendix D.1).

    A template is a folder with three texts: `with_proxy` when a box is withheld, `with_references` when all known
    boxes are shown, `without_references`. "paper" asks for think, rule, check, bbox and answer, with `<check>` only
    where there is a proxy and `<rule>` always; "compact" is the same in as few words as possible, for small models;
    "direct" is the ablation without meta reasoning (think, bbox, answer); "released" words it as the released weights
    are used to. Boxes are integers in the mosaic's pixels, where D.3 speaks of normalised ones: the released model was
    trained on pixels.

    Args:
        concept: What to look for, in words (`[problem]` of D.2); inserted as it is, braces and all.
        mosaic: The references, or None without any.
        template: One of `template_names()`.

    Raises:
        InputError: the concept is blank, or no such template.
    """
    if not concept.strip():
        raise InputError("The concept is empty: say in words what to segment.")
    if mosaic is None:
        variant = "without_references"
    else:
        variant = "with_references" if mosaic.proxy_index is None else "with_proxy"
    boxes = mosaic.shown_boxes if mosaic else ()
    values = {"problem": concept, "reference_boxes": _format_boxes(boxes)}
    return _PLACEHOLDER.sub(lambda match: values[match[1]], _read_template(template, variant))


@cache
def template_names() -> tuple[str, ...]:
    """The names that `render_prompt` takes, in alphabetical order."""
    return tuple(sorted(entry.name for entry in _TEMPLATES.iterdir() if entry.is_dir()))


@cache
def _read_template(name: str, variant: str) -> str:
    if name not in template_names():
        raise InputError(f"Unknown template {name!r}. Known templates: {', '.join(template_names())}.")
    return (_TEMPLATES / name / f"{variant}.txt").read_text(encoding="utf-8").strip()


def _format_boxes(boxes: Sequence[BoxXYXY]) -> str:
    return "[" + ", ".join(format_box(box) for box in boxes) + "]" if boxes else "none"
