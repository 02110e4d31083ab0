"""Measuring what an answer's signs are worth: questions with a known truth, and questions about what is not there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from conceptseg.data.loading import load_sample
from conceptseg.data.samples import ConceptSample
from conceptseg.errors import InputError
from conceptseg.evaluation.sources import DataSource
from conceptseg.geometry import mask_iou
from conceptseg.inference import ConceptSegmenter, Query, SegmentationResult
from conceptseg.inference.inputs import check_batch_size
from conceptseg.inference.router import takes_shortcut
from conceptseg.models.calibrated_router import BothWays, CalibratedRouter, fit_router
from conceptseg.models.calibration import Calibration, Signals, fit_calibration
from conceptseg.taxonomy import Level

__all__ = ["calibrate", "lacks", "strangers"]


def strangers(samples: Sequence[ConceptSample]) -> Iterator[tuple[ConceptSample, ConceptSample]]:
    """Questions about pictures in which what they ask for is not: a sample, and one whose picture can be taken to lack
    it.

    There is always something salient or in common, and what a reasoning question asks for is a matter of its
    references: these are left out, and so are pairs of one task or with a word in common.
    """
    for place, sample in enumerate(samples):
        if not sample.references:
            continue
        far = place + len(samples) // 2  # neighbours are often of one task, and would all get one and the same picture
        others = (samples[(far + step) % len(samples)] for step in range(len(samples)))
        other = next((one for one in others if lacks(one, sample)), None)
        if other is not None:
            yield sample, other


def lacks(other: ConceptSample, sample: ConceptSample) -> bool:
    """Whether another sample's picture can be taken to lack what a sample asks for; see `strangers`."""
    if sample.level is Level.CR or sample.task == "saliency" or other.task == sample.task:
        return False
    words = [set((one.answer or one.concept).lower().split()) for one in (sample, other)]
    return words[0].isdisjoint(words[1])


@dataclass
class _Answers:
    """What questions about a checkpoint have shown."""

    there: list[tuple[Signals, float]] = field(default_factory=list)
    """Signs and IoU of all answers about what is in the picture, on either route."""
    present: list[Signals] = field(default_factory=list)
    """Signs of the one that Eq. 9 takes, of every such question."""
    absent: list[Signals] = field(default_factory=list)
    """The same of questions about what is not in the picture."""
    both: list[BothWays] = field(default_factory=list)


def calibrate(
    segmenter: ConceptSegmenter,
    sources: Sequence[DataSource],
    *,
    batch_size: int = 8,
    progress: Callable[[int], object] = lambda asked: None,
) -> tuple[Calibration, CalibratedRouter]:
    """Fit a calibration of a checkpoint, and a router for it, on questions whose truth is known.

    Every question is answered by SAM 3 alone and by the reasoning; of questions about what is not in the picture only
    the answer counts that Eq. 9 takes.

    Args:
        segmenter: of the checkpoint; what it has of either plays no part.
        sources: of the questions. Samples whose mask is empty ask for what is not there; so do `strangers`.
        batch_size: questions at a time.
        progress: told how many more were asked.

    Raises:
        InputError: there are too few questions, or the batch size is no number of questions.
        ImageError: a picture cannot be read.
    """
    check_batch_size(batch_size)
    found = _Answers()
    for source in sources:
        samples = list(source.samples)
        for questions, ask in (([(one, one) for one in samples], _ask_both_ways), (list(strangers(samples)), _ask)):
            for start in range(0, len(questions), batch_size):
                chunk = questions[start : start + batch_size]
                ask(segmenter, chunk, found)
                progress(len(chunk))
    told: dict[str, Any] = {"checkpoint": segmenter.model.digest(), "data": [source.name for source in sources]}
    calibration = fit_calibration(found.there, found.absent, present=found.present, **told)
    return calibration, fit_router(found.both, **told)


_Chunk = Sequence[tuple[ConceptSample, ConceptSample]]
"""Questions: a sample whose concept is asked for, and one whose picture it is asked of."""


def _ask_both_ways(segmenter: ConceptSegmenter, chunk: _Chunk, found: _Answers) -> None:
    queries, truths = _load(segmenter, chunk)
    for (signs, direct, reasoned), truth in zip(segmenter.answer_both_ways(queries), truths, strict=True):
        shortcut = takes_shortcut(signs.presence, direct.concept)
        paper = direct if shortcut else reasoned
        if truth is None:
            found.absent.append(_signals(paper))
            continue
        ious = [truth.iou(_mask(one)) for one in (direct, reasoned)]
        found.there += [(_signals(one), iou) for one, iou in zip((direct, reasoned), ious, strict=True)]
        found.present.append(_signals(paper))
        found.both.append(BothWays(signs, ious[0], ious[1], ious[0 if shortcut else 1]))


def _ask(segmenter: ConceptSegmenter, chunk: _Chunk, found: _Answers) -> None:
    queries, _ = _load(segmenter, chunk)
    found.absent += [_signals(result) for result in segmenter.segment_batch(queries, always=True)]


@dataclass(frozen=True, eq=False)
class _Truth:
    """What is truly in a picture."""

    mask: np.ndarray
    ignore: np.ndarray | None

    def iou(self, mask: np.ndarray) -> float:
        """As `evaluate` has it: what is not judged does not count."""
        return mask_iou(mask if self.ignore is None else mask & ~self.ignore, self.mask)


def _load(segmenter: ConceptSegmenter, chunk: _Chunk) -> tuple[list[Query], list[_Truth | None]]:
    """Queries, and what is truly there; None where nothing is."""
    loaded = [load_sample(replace(picture, references=())) for _, picture in chunk]
    queries = [
        Query(one.image, asked.concept, segmenter.prepare(asked.references), source=asked.id)
        for one, (asked, _) in zip(loaded, chunk, strict=True)
    ]
    truths = [_Truth(one.mask, one.ignore) if one.mask is not None and one.mask.any() else None for one in loaded]
    return queries, truths


def _signals(result: SegmentationResult) -> Signals:
    if result.signals is None:
        raise InputError(f"Sample {result.source!r} could not be answered: {result.error}.")
    return result.signals


def _mask(result: SegmentationResult) -> np.ndarray:
    if result.mask is None:
        raise InputError(f"Sample {result.source!r} could not be answered: {result.error}.")
    return result.mask
