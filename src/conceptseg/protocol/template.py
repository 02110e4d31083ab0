"""What the model is asked: the instruction texts of Appendix D.1, kept as files, filled in literally."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from conceptseg.errors import InputError
from conceptseg.geometry import BoxXYXY
from conceptseg.protocol.mosaic import Mosaic
from conceptseg.protocol.response import format_box

__all__ = ["SYSTEM_PROMPT", "Template", "read_template", "render_prompt", "template_names"]

SYSTEM_PROMPT = "You are a helpful assistant."
"""The system turn of every conversation."""

_TEMPLATES = Path(__file__).parent / "templates"
_VARIANTS = ("with_proxy", "with_references", "without_references")
_UNLIKE = "unlike.txt"
_PLACEHOLDER = re.compile(r"\{(problem|reference_boxes|unlike_boxes)\}")
_KNOWN = ("problem", "reference_boxes", "unlike_boxes")
_LOOKS_LIKE_ONE = re.compile(r"\{\s*(\w+)\s*\}")


@dataclass(frozen=True)
class Template:
    """The three texts of a template."""

    name: str
    with_proxy: str
    """Where a box is withheld, to be asked for in `<check>`."""
    with_references: str
    """Where all known boxes are shown."""
    without_references: str
    unlike: str = ""
    """What goes on the line of the reference boxes where boxes of what the target is not are known, which
    `{unlike_boxes}` stands for; nothing where the model is not to be told of them."""

    @property
    def expects_rule(self) -> bool:
        """Whether a response to it has a `<rule>`: it asks for one, or it asks for no part by its tag (as "compact"
        does not) and leaves the form to the model's training."""
        texts = [getattr(self, variant) for variant in _VARIANTS]
        return any("<rule>" in text for text in texts) or not any("<bbox>" in text for text in texts)


def render_prompt(
    concept: str, mosaic: Mosaic | None, *, template: str | Path | Template = "paper", unit_px: float = 1.0
) -> str:
    """The text of the user turn, which follows the mosaic and the target image (Appendix D.1).

    A template has three texts: `with_proxy` when a box is withheld, `with_references` when all known boxes are shown,
    `without_references`. "paper" asks for think, rule, check, bbox and answer, with `<check>` only where there is a
    proxy and `<rule>` always; "compact" is the same in as few words as possible, for small models; "direct" is the
    ablation without meta reasoning (think, bbox, answer); "released" words it as the released weights are used to.
    Boxes are integers, by default in the mosaic's pixels, where D.3 speaks of normalised ones: the released model was
    trained on pixels.

    Args:
        concept: What to look for, in words (`[problem]` of D.2); inserted as it is, braces and all.
        mosaic: The references, or None without any.
        template: One of `template_names()`, or one's own: see `read_template`.
        unit_px: Pixels of the mosaic in one unit of the boxes.

    Raises:
        InputError: the concept is blank, or no such template.
    """
    if not concept.strip():
        raise InputError("The concept is empty: say in words what to segment.")
    if not isinstance(template, Template):
        template = read_template(template)
    if mosaic is None:
        text = template.without_references
    else:
        text = template.with_references if mosaic.proxy_index is None else template.with_proxy
    boxes, others = (mosaic.shown_boxes, mosaic.unlike_boxes) if mosaic else ((), ())
    if others and template.unlike:
        text = _with_unlike(text, template.unlike)
    values = {
        "problem": concept,
        "reference_boxes": _format_boxes(boxes, unit_px),
        "unlike_boxes": _format_boxes(others, unit_px),
    }
    return _PLACEHOLDER.sub(lambda match: values[match[1]], text)


@cache
def template_names() -> tuple[str, ...]:
    """The names of the package's own templates, in alphabetical order."""
    return tuple(sorted(entry.name for entry in _TEMPLATES.iterdir() if entry.is_dir()))


def read_template(source: str | Path) -> Template:
    """A template of the package by its name, or one's own from a folder.

    Such a folder holds `with_proxy.txt`, `with_references.txt` and `without_references.txt`, in which `{problem}`
    stands for the concept and `{reference_boxes}` for the list of boxes; other braces than around one word are text.
    Where there is an `unlike.txt` too, it goes on the line of the boxes (see `Template.unlike`), and need not name the
    concept.

    Raises:
        InputError: neither a name nor a folder, or the folder's texts cannot be used; all that is wrong is told.
    """
    if str(source) in template_names():
        return _read_own(str(source))
    folder = Path(source).expanduser()
    if not (str(source).strip() and folder.is_dir()):
        raise InputError(
            f"Unknown template {str(source)!r}. Known templates: {', '.join(template_names())}; or name a folder with "
            f"{', '.join(f'{variant}.txt' for variant in _VARIANTS)}."
        )
    texts = {variant: _read_text(folder / f"{variant}.txt") for variant in _VARIANTS}
    problems = [f"{variant}.txt {problem}" for variant, text in texts.items() if (problem := _problem_of(text))]
    if problems:
        raise InputError(f"Template {folder}: {'; '.join(problems)}.")
    unlike = _read_text(folder / _UNLIKE) or ""
    if unlike and "{unlike_boxes}" not in unlike:
        raise InputError(f"Template {folder}: {_UNLIKE} lacks {{unlike_boxes}}, which stands for the boxes.")
    return Template(folder.resolve().name, **{variant: str(text) for variant, text in texts.items()}, unlike=unlike)


@cache
def _read_own(name: str) -> Template:
    texts = {variant: _read_text(_TEMPLATES / name / f"{variant}.txt") or "" for variant in _VARIANTS}
    return Template(name, **texts, unlike=_read_text(_TEMPLATES / name / _UNLIKE) or "")


def _read_text(path: Path) -> str | None:
    """A text without the blanks around it; None where there is none."""
    try:
        return path.read_text(encoding="utf-8-sig").strip()
    except FileNotFoundError:
        return None
    except (UnicodeDecodeError, OSError) as error:
        raise InputError(f"Template {path} cannot be read as UTF-8 text: {error}.") from error


def _problem_of(text: str | None) -> str | None:
    if text is None:
        return "is missing"
    if "{problem}" not in text:
        return "lacks {problem}, which stands for the concept"
    unknown = {name for name in _LOOKS_LIKE_ONE.findall(text) if name not in _KNOWN[:2]}
    if unknown:
        return f"has {', '.join(f'{{{name}}}' for name in sorted(unknown))}; known are {{problem}}, {{reference_boxes}}"
    return None


def _with_unlike(text: str, unlike: str) -> str:
    """The text with more at the end of the line that holds the reference boxes, or of the last one."""
    lines = text.split("\n")
    place = next((n for n, line in enumerate(lines) if "{reference_boxes}" in line), len(lines) - 1)
    lines[place] = f"{lines[place]} {unlike}"
    return "\n".join(lines)


def _format_boxes(boxes: Sequence[BoxXYXY], unit_px: float) -> str:
    return "[" + ", ".join(format_box(box, unit_px) for box in boxes) + "]" if boxes else "none"
