"""One picture asked about: what the page learns of the answer, moment by moment."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from conceptseg.data import Reference
from conceptseg.errors import InputError
from conceptseg.inference import ConceptSegmenter, Query, SegmentationResult
from conceptseg.interfaces.app.beside import beside
from conceptseg.interfaces.app.marks import parse_entries, read_reference
from conceptseg.interfaces.app.uploads import Uploads
from conceptseg.interfaces.server.pictures import PixelBudget
from conceptseg.models.listening import overheard
from conceptseg.protocol import Mosaic
from conceptseg.words import check_words

__all__ = ["Ask", "Moment", "ask", "read_references", "telling_seldom"]

_PAUSE_S = 0.06
"""Between two looks at a response that is being written: faster than that nobody reads."""


@dataclass(frozen=True)
class Ask:
    """What the form holds, as it came from the browser."""

    concept: Any
    target: Any
    """The board's value: one picture."""
    references: Any
    """The other board's value."""
    route: Any = "auto"
    always: bool = False


@dataclass(frozen=True, eq=False)
class Moment:
    """What is new: the stage that begins, the mosaic once laid out, the response so far, the answer at the end."""

    stage: str
    mosaic: Mosaic | None = None
    response: str | None = None
    result: SegmentationResult | None = None


def ask(segmenter: ConceptSegmenter, uploads: Uploads, form: Ask) -> Iterator[Moment]:
    """Answer a form; the last moment has the result, whose notes tell of the drawing too.

    Raises:
        InputError: the concept says nothing, the picture is missing, a mark or a picture cannot be used.
        Refusal: there are too many references or pixels.
    """
    yield Moment("Reading the pictures")
    words, budget = check_words(form.concept), uploads.budget()
    targets = parse_entries(form.target)
    if len(targets) != 1:
        raise InputError("There is no picture to look at: add one under “Picture”.")
    name = targets[0].name or "The picture"
    read = uploads.read(targets[0].path, name, budget)
    references, told = read_references(form.references, uploads, budget, uploads.options.max_references)
    yield Moment("Laying out the references" if references else "Looking at the picture")
    prepared = segmenter.prepare(references)
    query = Query(read.image, words, prepared, source=name, notes=(*read.notes, *told))
    yield Moment("Looking at the picture", mosaic=query.mosaic)

    def work(tell: Callable[[Moment], None]) -> SegmentationResult:
        return _answer(segmenter, query, form, tell)

    result = yield from beside(work)
    yield Moment("Done", mosaic=query.mosaic, result=result)


def read_references(
    board: Any, uploads: Uploads, budget: PixelBudget, most: int
) -> tuple[list[Reference], tuple[str, ...]]:
    """A board's references in memory, and what should be known of them.

    Raises:
        InputError: there are more than `most`, or one cannot be used.
        Refusal: they have too many pixels.
    """
    entries = parse_entries(board)
    if len(entries) > most:
        raise InputError(f"{len(entries)} references are more than the {most} that can be used. Remove some.")
    read = [read_reference(entry, number, uploads, budget) for number, entry in enumerate(entries, start=1)]
    return [reference for reference, _ in read], tuple(note for _, notes in read for note in notes)


def _answer(segmenter: ConceptSegmenter, query: Query, form: Ask, tell: Callable[[Moment], None]) -> SegmentationResult:
    """The engine's answer, its response told while it is written."""
    hear = telling_seldom(lambda text: tell(Moment("Reasoning", response=text)))
    with overheard(segmenter.model.reasoner, hear):
        result = segmenter.segment_batch([query], route=form.route, always=form.always)[0]
    if result.mask is None:
        raise InputError(result.error or "Nothing was computed.")
    return result


def telling_seldom(tell: Callable[[str], None], pause_s: float = _PAUSE_S) -> Callable[[str], None]:
    """`tell`, passing over what comes within `pause_s` of what was told."""
    last = -pause_s

    def seldom(text: str) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= pause_s:
            last = now
            tell(text)

    return seldom
