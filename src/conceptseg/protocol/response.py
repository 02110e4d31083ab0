"""The response grammar T_CoT (Appendix D.1, D.2): one writer, one reader, for the reward, training and inference alike.

    <think>…</think> <rule>…</rule> <check>[x1, y1, x2, y2]</check> <bbox>[x1, y1, x2, y2]</bbox> <answer>…</answer>

`parse_response` is total: any text gives a `Response`. What it could make out is in its fields (the lenient reading
that inference uses), what was wrong is in `problems`, and `is_strict` says whether the text satisfies the grammar to
the letter (R_format of Eq. 7). It runs in linear time: a fixed number of substring searches, numbers read from a
bounded piece of text, nothing evaluated.

Rule and answer are words for people and for SAM 3: no tag of the grammar, whole, mangled or cut off, is ever in them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from itertools import accumulate, islice

from conceptseg.errors import InputError
from conceptseg.geometry import BoxXYXY, box_area, order_box, round_box
from conceptseg.words import usable_words

__all__ = [
    "ANSWER_WORDS",
    "Problem",
    "Response",
    "expected_parts",
    "format_box",
    "format_response",
    "parse_response",
    "what_is_induced",
]

ANSWER_WORDS = 3
"""Words an answer should have at most (D.2)."""


class Problem(str, Enum):
    """Something a response got wrong; the value is a sentence for people."""

    NO_THINK = "there is no <think> part"
    NO_RULE = "there is no <rule> part"
    NO_CHECK = "there is no <check> part"
    NO_BBOX = "there is no <bbox> part"
    NO_ANSWER = "there is no <answer> part"
    NOT_ASKED_FOR = "there is a part that was not asked for"
    REPEATED = "a tag occurs more than once"
    UNCLOSED = "a tag is not closed"
    UNOPENED = "a closing tag has no opening one"
    TAG_CASE = "a tag is not in lower case"
    OUT_OF_ORDER = "the parts are nested or not in the order think, rule, check, bbox, answer"
    STRAY_TEXT = "there is text outside the parts"
    EMPTY_PART = "a part is empty"
    BOX_FORM = "a box is not written as [x1, y1, x2, y2]"
    BOX_UNREADABLE = "a box does not hold four finite numbers"
    BOX_SWAPPED = "a box's corners are swapped"
    BOX_EMPTY = "a box has no area"
    MARKUP = "the rule or the answer holds a tag, or what is left of one"
    LONG_ANSWER = f"the answer has more than {ANSWER_WORDS} words"


_HARMLESS = frozenset({Problem.LONG_ANSWER})
_PARTS = ("think", "rule", "check", "bbox", "answer")
_MISSING = dict(
    zip(
        _PARTS,
        (Problem.NO_THINK, Problem.NO_RULE, Problem.NO_CHECK, Problem.NO_BBOX, Problem.NO_ANSWER),
        strict=True,
    )
)
_OPEN = {part: f"<{part}>".encode() for part in _PARTS}
_CLOSE = {part: f"</{part}>".encode() for part in _PARTS}
_TAGS = (*_OPEN.values(), *_CLOSE.values())

_WORDS_OF = ("rule", "answer")
_SIGNS_OF_TAGS = ("<", "\uff1c", "&lt;", "/")
_SEEN_CHARACTERS, _SEEN_TAGS = 8192, 64  # what lies beyond in a part with tags inside is no words worth looking for
_FOREIGN_TAG = re.compile(r"</?[A-Za-z][^<>]{0,80}>|<\|[^<>]{0,80}\|>")  # of HTML, and control tokens in letters
_EMPHASIS = '*`"\u201c\u201d '
_LT, _GT, _GAP = "(?:[<\uff1c]|&lt;)", "(?:[>\uff1e]|&gt;)", "\\s{0,3}"
_NAME = "|".join(_PARTS)
_BEGUN = "|".join(sorted({begun for part in _PARTS for begun in accumulate(part)}, reverse=True))
_MARKUP = re.compile(
    # a tag, perhaps with blanks, attributes or its end missing; one that lacks its beginning; one that is cut off
    f"{_LT}{_GAP}(?P<slash>/?){_GAP}(?P<name>{_NAME})(?![a-z])(?:\\s[^<>]{{0,80}}{_GT}|[\\s/]{{0,3}}{_GT}?)"
    f"|/{_GAP}(?:{_NAME}){_GAP}{_GT}"
    f"|{_LT}/?(?:{_BEGUN})?{_GAP}(?={_LT}|\\Z)",
    re.IGNORECASE,
)

_BOX_CHARACTERS = 256
_LARGEST_COORDINATE = 1e6
_NUMBER = re.compile(r"(?<![\w.])[-+]?\d{1,30}(?:\.\d{0,30})?(?:e[-+]?\d{1,3})?(?![\w.])", re.ASCII | re.IGNORECASE)
_STRICT_NUMBER = re.compile(r"\s*-?\d{1,7}(?:\.\d{1,30})?\s*", re.ASCII)


@dataclass(frozen=True)
class Response:
    """What a response says. Boxes are in the frame the model was shown; texts are stripped of outer whitespace."""

    text: str
    """The response as it came."""
    think: str | None
    """The reasoning."""
    rule: str | None
    """The induced rule in words."""
    check: BoxXYXY | None
    """P_check of Eq. 2: the proxy's box, in mosaic pixels."""
    box: BoxXYXY | None
    """P_box of Eq. 2: the target's box, in the pixels of the target image as shown to the model."""
    answer: str | None
    """The short noun phrase for SAM 3."""
    problems: tuple[Problem, ...]
    """Everything wrong with the text, each kind once, in the order of `Problem`."""

    @property
    def is_strict(self) -> bool:
        """Whether the text satisfies T_CoT (R_format of Eq. 7).

        Exactly the expected tags, each once, in order, with nothing but whitespace between them; no part empty; boxes
        as [x1, y1, x2, y2] with x1 < x2 and y1 < y2. The answer's word limit (D.2) is a problem but no violation: the
        paper rewards the template, and cutting a reward for a fourth word would punish honest answers.
        """
        return _HARMLESS.issuperset(self.problems)

    @property
    def words(self) -> str | None:
        """The answer as SAM 3 is given it: without tags of any other language, control tokens, and quotation marks or
        Markdown's emphasis around it; blanks are put in order.

        None where it says nothing that could be read.
        """
        return usable_words(self.answer and _FOREIGN_TAG.sub(" ", self.answer).strip(_EMPHASIS))


def expected_parts(*, check: bool = True, rule: bool = True) -> tuple[str, ...]:
    """The parts that a response in strict form has, in order, with or without `<check>` and `<rule>`."""
    left_out = {name for name, wanted in (("check", check), ("rule", rule)) if not wanted}
    return tuple(part for part in _PARTS if part not in left_out)


def parse_response(text: str, *, expect_check: bool = True, expect_rule: bool = True, unit_px: float = 1.0) -> Response:
    """Read any text as a response.

    Leniently read are: tags in any case, missing closing tags (a part ends where the next begins), a missing opening
    `<think>`, parts out of order or repeated (the first that follows the part before it counts), boxes in any notation
    with four numbers, swapped corners (put in order). Where tags stand inside a rule or an answer, it is its first
    words that belong to no other part. A part that cannot be made out is None.

    Args:
        text: What the model wrote.
        expect_check: Whether the prompt asked for `<check>`, i.e. whether the mosaic had a proxy.
        expect_rule: Whether the prompt asked for `<rule>`; False for the "direct" template.
        unit_px: Pixels of the frame in one unit of the text's boxes; a `Response` has them in pixels.
    """
    wanted = expected_parts(check=expect_check, rule=expect_rule)
    expected = {part: part in wanted for part in _PARTS}
    raw = text.encode("utf-8", "surrogatepass")
    lowered = raw.lower()  # of bytes: changes ASCII letters only, so that positions stay
    counts = {tag: lowered.count(tag) for tag in _TAGS}
    found = _locate_parts(lowered, counts)
    problems = set(_tag_problems(counts, expected)) | set(_layout_problems(lowered, found))
    if raw != lowered and any(raw.count(tag) != count for tag, count in counts.items()):
        problems.add(Problem.TAG_CASE)
    contents = {part: raw[start:end].decode("utf-8", "surrogatepass").strip() for part, (start, end) in found.items()}
    problems |= {Problem.EMPTY_PART for content in contents.values() if not content}
    for part in (part for part in _WORDS_OF if _has_markup(contents.get(part, ""))):
        problems.add(Problem.MARKUP)
        contents[part] = _own_words(part, contents[part][:_SEEN_CHARACTERS])
    boxes = {
        part: _in_pixels(_read_box(contents[part], problems), unit_px)
        for part in ("check", "bbox")
        if contents.get(part)
    }
    answer = contents.get("answer") or None
    if answer and len(answer.split(None, ANSWER_WORDS)) > ANSWER_WORDS:
        problems.add(Problem.LONG_ANSWER)
    return Response(
        text=text,
        think=contents.get("think") or None,
        rule=contents.get("rule") or None,
        check=boxes.get("check"),
        box=boxes.get("bbox"),
        answer=answer,
        problems=tuple(problem for problem in Problem if problem in problems),
    )


def format_response(
    think: str | None,
    rule: str | None,
    check: BoxXYXY | None,
    box: BoxXYXY | None,
    answer: str | None,
    *,
    unit_px: float = 1.0,
) -> str:
    """Write a response in strict form: the inverse of `parse_response`.

    Parts that are None are left out. What it returns is strict under the expectations that its parts imply, provided
    think, box and answer are given.

    Raises:
        InputError: a text is blank or contains one of the grammar's tags, or a box has no area or swapped corners.
    """
    texts = {
        "think": _checked_text("think", think),
        "rule": _checked_text("rule", rule),
        "check": None if check is None else format_box(check, unit_px),
        "bbox": None if box is None else format_box(box, unit_px),
        "answer": _checked_text("answer", answer),
    }
    return "\n".join(f"<{part}>{content}</{part}>" for part, content in texts.items() if content is not None)


def what_is_induced(text: str) -> str:
    """The part of a response that is about the references: all before its `<bbox>`, blanks included.

    Box and answer, which follow, are about the target. Nothing where there is no `<bbox>`, or nothing before it.
    """
    lowered = text.encode("utf-8", "surrogatepass").lower()  # of bytes: positions stay
    place = lowered.find(_OPEN["bbox"])
    before = text.encode("utf-8", "surrogatepass")[: max(0, place)].decode("utf-8", "surrogatepass")
    return before if before.strip() else ""


def format_box(box_xyxy: BoxXYXY, unit_px: float = 1.0) -> str:
    """A box as the model reads and writes it: "[x1, y1, x2, y2]" in whole pixels, at least one wide and high.

    Args:
        box_xyxy: The box in pixels of the frame.
        unit_px: Pixels in one unit, if it is not a pixel that the model counts in.

    Raises:
        InputError: the box has no area, swapped corners or coordinates that are not finite or beyond a million.
    """
    if not (box_area(box_xyxy) > 0 and all(abs(value) <= _LARGEST_COORDINATE for value in box_xyxy)):
        raise InputError(
            f"A box must be (x1, y1, x2, y2) with x1 < x2 and y1 < y2, within a million pixels, got {box_xyxy}."
        )
    x1, y1, x2, y2 = box_xyxy
    return str(list(round_box((x1 / unit_px, y1 / unit_px, x2 / unit_px, y2 / unit_px))))


def _in_pixels(box: BoxXYXY | None, unit_px: float) -> BoxXYXY | None:
    if box is None or unit_px == 1:
        return box
    x1, y1, x2, y2 = box
    return (x1 * unit_px, y1 * unit_px, x2 * unit_px, y2 * unit_px)


def _checked_text(part: str, content: str | None) -> str | None:
    if content is None:
        return None
    lowered = content.encode("utf-8", "surrogatepass").lower()
    if not content.strip():
        raise InputError(f"The part <{part}> must not be blank; pass None to leave it out.")
    if any(tag in lowered for tag in _TAGS):
        raise InputError(f"The part <{part}> must not contain a tag of the response grammar, got {content[:80]!r}.")
    return content.strip()


def _locate_parts(lowered: bytes, counts: Mapping[bytes, int]) -> dict[str, tuple[int, int]]:
    """Where each part's content starts and ends; parts are sought after the one before them, then anywhere."""
    spans: dict[str, tuple[int, int]] = {}
    cursor = 0
    for part in _PARTS:
        if counts[_OPEN[part]]:
            later = lowered.find(_OPEN[part], cursor)
            start = (later if later >= 0 else lowered.find(_OPEN[part])) + len(_OPEN[part])
            spans[part] = (start, _end_of_part(lowered, part, start))
        elif part == "think" and counts[_CLOSE["think"]]:
            spans[part] = (0, lowered.find(_CLOSE["think"]))  # chat templates often put the <think> into the prompt
        if part in spans:
            cursor = max(cursor, spans[part][1])
    return spans


def _has_markup(content: str) -> bool:
    if not any(sign in content for sign in _SIGNS_OF_TAGS):
        return False
    return len(content) > _SEEN_CHARACTERS or _MARKUP.search(content) is not None


def _own_words(part: str, content: str) -> str:
    """The first words of a part's content that stand neither in a tag nor between those of another part."""
    start, is_own = 0, True
    for tag in islice(_MARKUP.finditer(content), _SEEN_TAGS):
        words = content[start : tag.start()].strip()
        if is_own and words:
            return words
        opens = tag["name"] is not None and not tag["slash"]
        start, is_own = tag.end(), not opens or tag["name"].lower() == part
    rest = content[start:].strip()
    return rest if is_own and not _has_markup(rest) else ""


def _end_of_part(lowered: bytes, part: str, start: int) -> int:
    """The own closing tag, or without one the next tag of another part, or the end of the text."""
    end = lowered.find(_CLOSE[part], start)
    if end >= 0:
        return end
    others = (tag for tag in _TAGS if tag != _OPEN[part])
    return min((at for tag in others if (at := lowered.find(tag, start)) >= 0), default=len(lowered))


def _tag_problems(counts: Mapping[bytes, int], expected: Mapping[str, bool]) -> Iterator[Problem]:
    """Tags missing, unexpected, repeated or unpaired."""
    for part in _PARTS:
        opened, closed = counts[_OPEN[part]], counts[_CLOSE[part]]
        if expected[part] and opened + closed == 0:
            yield _MISSING[part]
        if not expected[part] and opened + closed:
            yield Problem.NOT_ASKED_FOR
        if max(opened, closed) > 1:
            yield Problem.REPEATED
        if opened > closed:
            yield Problem.UNCLOSED
        if closed > opened:
            yield Problem.UNOPENED


def _layout_problems(lowered: bytes, found: dict[str, tuple[int, int]]) -> Iterator[Problem]:
    """Parts nested or out of order, and text between them."""
    tags = [tag for part in _PARTS if part in found for tag in (_OPEN[part], _CLOSE[part])]
    positions = [at for tag in tags if (at := lowered.find(tag)) >= 0]
    if positions != sorted(positions):
        yield Problem.OUT_OF_ORDER
    cursor = 0
    for part, (start, end) in sorted(found.items(), key=lambda item: item[1]):
        if lowered[cursor : max(cursor, start - len(_OPEN[part]))].strip():
            yield Problem.STRAY_TEXT
        closed = lowered.startswith(_CLOSE[part], end)
        cursor = max(cursor, end + len(_CLOSE[part]) if closed else end)
    if lowered[cursor:].strip():
        yield Problem.STRAY_TEXT


def _read_box(content: str, problems: set[Problem]) -> BoxXYXY | None:
    """The box a part holds, noting in `problems` what is wrong with it."""
    if not _is_strict_box(content):
        problems.add(Problem.BOX_FORM)
    numbers = [float(number) for number in _NUMBER.findall(_innermost_brackets(content[:_BOX_CHARACTERS]))]
    if len(numbers) != 4 or not all(abs(number) <= _LARGEST_COORDINATE for number in numbers):
        problems.add(Problem.BOX_UNREADABLE)
        return None
    box = (numbers[0], numbers[1], numbers[2], numbers[3])
    if box != order_box(box):
        problems.add(Problem.BOX_SWAPPED)
    if box_area(order_box(box)) == 0:
        problems.add(Problem.BOX_EMPTY)
        return None
    return order_box(box)


def _is_strict_box(content: str) -> bool:
    if len(content) > _BOX_CHARACTERS or not (content.startswith("[") and content.endswith("]")):
        return False
    numbers = content[1:-1].split(",")
    return len(numbers) == 4 and all(_STRICT_NUMBER.fullmatch(number) for number in numbers)


def _innermost_brackets(content: str) -> str:
    """What stands in the first innermost pair of brackets, or the whole content when there is none."""
    closing = content.find("]")
    opening = content.rfind("[", 0, closing) if closing >= 0 else content.rfind("[")
    return content[opening + 1 : closing if closing >= 0 else None]
