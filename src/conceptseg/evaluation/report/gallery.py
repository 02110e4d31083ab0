"""Answers to look at: the worst, the best, the least certain and where runs differ most, all runs side by side."""

from __future__ import annotations

import base64
import io
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from statistics import fmean
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from conceptseg.data.loading import lay_out, load_reference, load_sample
from conceptseg.data.samples import ConceptSample
from conceptseg.errors import ConceptSegError, InputError
from conceptseg.evaluation.records import mask_path
from conceptseg.evaluation.runs import Run
from conceptseg.evaluation.sources import DataSource, open_sources
from conceptseg.geometry import round_box
from conceptseg.images import load_mask
from conceptseg.inference import SegmentationResult

__all__ = ["KINDS", "Question", "choose_questions", "draw_questions", "questions_of"]

KINDS = ("worst", "best", "uncertain", "differing", "random")
"""What a question can be shown for, in the order of the page's filter."""

_SIDE_PX = 240
_WITHHELD = (0, 170, 0)


@dataclass(frozen=True)
class Question:
    """One question and the answers that runs gave to it."""

    answers: Mapping[int, Mapping[str, Any]]
    """Number of the run → its row."""

    @property
    def row(self) -> Mapping[str, Any]:
        """Any of the rows: data, index, id, task and concept are the same in all."""
        return next(iter(self.answers.values()))

    @property
    def iou(self) -> float:
        """The mean over the runs."""
        return fmean(row["iou"] for row in self.answers.values())

    @property
    def confidence(self) -> float | None:
        """The mean over the runs that say how sure they are."""
        known = [row["confidence"] for row in self.answers.values() if row.get("confidence") is not None]
        return fmean(known) if known else None

    @property
    def spread(self) -> float:
        """How far the runs' IoUs are apart."""
        values = [row["iou"] for row in self.answers.values()]
        return max(values) - min(values)


def questions_of(runs: Sequence[Run]) -> list[Question]:
    """The questions that at least one run has answered, each once; a run that failed on one is left out of it."""
    together: dict[tuple[str, str], dict[int, Mapping[str, Any]]] = {}
    for number, run in enumerate(runs):
        for row in run.rows:
            if row["error"] is None:
                together.setdefault((row["data"], row["id"]), {})[number] = row
    return [Question(answers) for answers in together.values()]


def choose_questions(questions: Sequence[Question], each: int, seed: int = 0) -> dict[str, list[Question]]:
    """Kind → the questions to show for it, at most `each`; kinds that have none are left out.

    Args:
        questions: of `questions_of`.
        each: how many of each kind, at most.
        seed: of the draw by chance.
    """
    by_iou = sorted(questions, key=lambda one: (one.iou, one.row["id"]))
    unsure = sorted((one for one in questions if one.confidence is not None), key=lambda one: (one.confidence, one.iou))
    apart = sorted((one for one in questions if one.spread > 0), key=lambda one: (-one.spread, one.row["id"]))
    drawn = random.Random(seed).sample(by_iou, min(each, len(by_iou)))
    found = (by_iou[:each], by_iou[::-1][:each], unsure[:each], apart[:each], drawn)
    return {kind: list(chosen) for kind, chosen in zip(KINDS, found, strict=True) if chosen}


def draw_questions(runs: Sequence[Run], *, each: int = 6, seed: int = 0) -> tuple[str, list[str]]:
    """The gallery as HTML: an article a question, marked with the kinds that it is shown for.

    Every question stands with its picture, the mosaic of its references with the withheld one marked, the true mask,
    and each run's mask with its predicted box. Pictures are read from the data again.

    Args:
        runs: whose predictions were kept.
        each: how many questions of each kind.
        seed: of those drawn by chance.

    Returns:
        The articles, and the kinds among them in the order of `KINDS`.

    Raises:
        InputError: the data are not where they were, or not what they were.
    """
    chosen = choose_questions(questions_of(runs), each, seed)
    kinds: dict[int, list[str]] = {}
    for kind, some in chosen.items():
        for one in some:
            kinds.setdefault(id(one), []).append(kind)
    shown = {id(one): one for some in chosen.values() for one in some}
    sources = _sources(runs)
    articles = [_article(runs, one, sources, kinds[key]) for key, one in shown.items()]
    return "".join(articles), list(chosen)


def _sources(runs: Sequence[Run]) -> dict[str, tuple[Run, DataSource]]:
    """Name of a set → the set, with the run whose settings opened it."""
    found: dict[str, tuple[Run, DataSource]] = {}
    for run in runs:
        config = run.config
        if not set(run.questions) <= found.keys():
            opened = open_sources(
                config.data, references=config.references, seed=config.seed, label=config.label, ignore=config.ignore
            )
            found |= {source.name: (run, source) for source in opened if source.name not in found}
    return found


def _article(
    runs: Sequence[Run], one: Question, sources: Mapping[str, tuple[Run, DataSource]], kinds: list[str]
) -> str:
    row = one.row
    sample = _sample_of(row, sources)
    try:
        figures = "".join(_figures(runs, one, sample))
    except ConceptSegError as error:
        figures = f'<p class="wrong">{escape(str(error))}</p>'
    facts = "".join(f"<p><b>{escape(name)}</b> {escape(text)}</p>" for name, text in _facts(runs, one))
    return (
        f'<article class="{" ".join(kinds)}"><h3>{escape(row["concept"])} '
        f"<small>{escape(row['id'])} · {escape(row['task'])} · {escape(row['data'])}</small></h3>"
        f'<div class="row">{figures}</div>{facts}</article>'
    )


def _sample_of(row: Mapping[str, Any], sources: Mapping[str, tuple[Run, DataSource]]) -> ConceptSample:
    _, source = sources.get(row["data"], (None, None))
    place = row["index"]
    if source is None or place >= len(source.ids) or source.ids[place] != row["id"]:
        raise InputError(f"question {row['id']!r} is no longer number {place} of {row['data']}: the data have changed")
    return source.samples[place]


def _figures(runs: Sequence[Run], one: Question, sample: ConceptSample) -> Iterator[str]:
    """Picture, references, truth, and a prediction a run."""
    loaded, concept = load_sample(sample), sample.concept
    yield _figure("picture", concept, loaded.image)
    if sample.references:
        picture, withheld = _mosaic(sample)
        yield _figure("references, the withheld one dashed" if withheld else "references", concept, picture)
    size_hw = (loaded.image.height, loaded.image.width)
    truth = np.zeros(size_hw, dtype=bool) if loaded.mask is None else loaded.mask
    yield _figure("truth", concept, _tinted(loaded.image, truth))
    for number, row in one.answers.items():
        run = runs[number]
        path = mask_path(run.folder, row)
        if path.is_file():
            box = tuple(map(float, row["box"])) if row.get("box") else None
            picture = _tinted(loaded.image, load_mask(path, size_hw), box)
            caption = f"{run.label}: IoU {row['iou']:.2f}"
            yield _figure(caption, concept, picture)


def _mosaic(sample: ConceptSample) -> tuple[Image.Image, bool]:
    """The references as the model saw them, and whether one of them was withheld; its box is drawn dashed."""
    loaded = [load_reference(reference) for reference in sample.references]
    mosaic = lay_out(loaded, canvas_px=_SIDE_PX)
    picture = mosaic.image.copy()
    box = None if mosaic.proxy_index is None else mosaic.boxes_xyxy[mosaic.proxy_index]
    if box is not None:
        _draw_dashed(ImageDraw.Draw(picture), round_box(box))
    return picture, box is not None


def _draw_dashed(draw: ImageDraw.ImageDraw, box_xyxy: tuple[int, int, int, int]) -> None:
    """A dashed rectangle: this box was not shown to the model."""
    x1, y1, x2, y2 = box_xyxy
    for x in range(x1, x2, 8):
        for y in (y1, y2 - 1):
            draw.line((x, y, min(x + 4, x2), y), fill=_WITHHELD, width=2)
    for y in range(y1, y2, 8):
        for x in (x1, x2 - 1):
            draw.line((x, y, x, min(y + 4, y2)), fill=_WITHHELD, width=2)


def _tinted(image: Image.Image, mask: np.ndarray, box: tuple[float, ...] | None = None) -> Image.Image:
    if box is None or len(box) != 4:
        return SegmentationResult("", image=image, mask=mask).overlay()
    x1, y1, x2, y2 = box
    return SegmentationResult("", image=image, mask=mask, box=(x1, y1, x2, y2)).overlay()


def _facts(runs: Sequence[Run], one: Question) -> Iterator[tuple[str, str]]:
    """What each run said, run by run, and the truth in words."""
    row = one.row
    if row["true_rule"]:
        yield "true rule", str(row["true_rule"])
    for number, answer in one.answers.items():
        told = [f"route {answer['route']}"]
        told += [f"confidence {answer['confidence']:.2f}"] if answer.get("confidence") is not None else []
        told += [f"check IoU {answer['check_iou']:.2f}"] if answer["check_iou"] is not None else []
        told += [f"rule: {answer['rule']}"] if answer["rule"] else []
        told += [f"answer: {answer['answer']}"] if answer["answer"] else []
        told += [f"note: {note}" for note in answer.get("notes") or ()]
        yield runs[number].label, " · ".join(told)


def _figure(caption: str, concept: str, picture: Image.Image) -> str:
    """A picture inside the page itself, with what it shows for those who cannot see it."""
    small = picture.copy()
    small.thumbnail((2 * _SIDE_PX, _SIDE_PX))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=85)
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    return (
        f'<figure><img src="data:image/jpeg;base64,{data}" alt="{escape(f"{caption}: {concept}")}" '
        f'width="{small.width}" height="{small.height}"><figcaption>{escape(caption)}</figcaption></figure>'
    )
