"""Rules on the page: learned from the board, saved as a file, and applied to many pictures."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from conceptseg.errors import InputError
from conceptseg.inference import ConceptSegmenter, Query, Route, Rule, SegmentationResult
from conceptseg.inference.inputs import Question
from conceptseg.interfaces.app.asking import read_references
from conceptseg.interfaces.app.beside import beside
from conceptseg.interfaces.app.marks import parse_entries
from conceptseg.interfaces.app.uploads import FAILURES, Uploads, one_line
from conceptseg.words import check_words

__all__ = ["Applied", "Learned", "apply_rule", "learn_rule", "load_rule"]


@dataclass(frozen=True, eq=False)
class Learned:
    """How far learning is; at the end the rule."""

    done: int
    planned: int
    rule: Rule | None = None


@dataclass(frozen=True, eq=False)
class Applied:
    """What a rule has said of pictures so far."""

    results: tuple[SegmentationResult, ...]
    count: int
    """Of all pictures."""


def learn_rule(
    segmenter: ConceptSegmenter, uploads: Uploads, concept: Any, board: Any, absent: Sequence[str]
) -> Iterator[Learned]:
    """Learn a rule from the board's references; the last step has it.

    Args:
        segmenter: learns it.
        uploads: where the pictures lie.
        concept: what it is about.
        board: the references with their marks.
        absent: uploads in which the concept is not.

    Raises:
        InputError: the concept says nothing, there is no marked reference, a picture cannot be used, there are too
            many, or it takes too long.
        Refusal: there are too many pixels.
    """
    words, budget, options = check_words(concept), uploads.budget(), uploads.options
    references, told = read_references(board, uploads, budget, options.max_learned_references - len(absent))
    if not references:
        raise InputError("There is nothing to learn from: add references and mark the concept in two or more.")
    yield Learned(0, 0)
    pictures = [uploads.read(path, Path(path).name, budget).image for path in absent]
    until = time.monotonic() + options.learning_limit_s

    def work(tell: Callable[[Learned], None]) -> Rule:
        def progress(done: int, planned: int) -> None:
            if time.monotonic() > until:
                raise InputError(f"Learning was given up after {options.learning_limit_s:.0f} s: use fewer references.")
            tell(Learned(done, planned))

        return segmenter.learn(words, references, absent=pictures, progress=progress)

    rule = yield from beside(work)
    names = [entry.name for entry in parse_entries(board)]
    yield Learned(rule.calls, rule.calls, _with_names(rule, names, told))


def load_rule(uploads: Uploads, path: str) -> Rule:
    """A rule's file as it was uploaded.

    Raises:
        InputError: it is no rule; its name is told, not where it lies.
    """
    name = Path(path).name
    uploads.content(path, name)
    try:
        return Rule.load(path)
    except InputError as error:
        raise InputError(str(error).replace(str(path), name)) from error


def apply_rule(
    segmenter: ConceptSegmenter, uploads: Uploads, rule: Rule, pictures: Sequence[str], *, always: bool = False
) -> Iterator[Applied]:
    """What a rule says of uploads, batch by batch; one that cannot be read is a result with an error.

    Raises:
        InputError: there is no picture.
    """
    if not pictures:
        raise InputError("There is no picture to apply the rule to: add some.")
    yield Applied((), len(pictures))
    question, size = segmenter.put(rule), uploads.options.batch_size
    route = "direct" if rule.route is Route.DIRECT else "reason"
    done: list[SegmentationResult] = []
    for start in range(0, len(pictures), size):
        asked = [_ask_about(path, question, uploads) for path in pictures[start : start + size]]
        queries = [one for one in asked if isinstance(one, Query)]
        answers = iter(segmenter.segment_batch(queries, route=route, always=always) if queries else ())
        done += [next(answers) if isinstance(one, Query) else one for one in asked]
        yield Applied(tuple(done), len(pictures))


def _ask_about(path: str, question: Question, uploads: Uploads) -> Query | SegmentationResult:
    """The question about an upload, or the result that says why it cannot be read."""
    name = Path(path).name
    try:
        read = uploads.read(path, name, uploads.budget())
    except FAILURES as error:
        return SegmentationResult(question.concept, name, error=one_line(error))
    return Query(read.image, question.concept, question.references, source=name, notes=read.notes, rule=question.rule)


def _with_names(rule: Rule, names: Sequence[str], told: Sequence[str]) -> Rule:
    """The rule with its pictures' names, and what was said of their marks; what it says by itself is not said twice."""
    pictures = tuple(replace(one, name=name or one.name) for one, name in zip(rule.pictures, names, strict=True))
    return replace(rule, pictures=pictures, notes=(*rule.notes, *(note for note in told if note not in rule.notes)))
