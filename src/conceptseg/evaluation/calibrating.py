"""Measuring what an answer's signs are worth: questions with a known truth, and questions about what is not there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from conceptseg.data.loading import load_sample
from conceptseg.data.samples import ConceptSample
from conceptseg.errors import InputError
from conceptseg.evaluation.sources import DataSource
from conceptseg.geometry import mask_iou
from conceptseg.inference import ConceptSegmenter, Query
from conceptseg.inference.inputs import check_batch_size
from conceptseg.models.calibration import Calibration, Signals, fit_calibration
from conceptseg.taxonomy import Level

__all__ = ["calibrate", "strangers"]


def strangers(samples: Sequence[ConceptSample]) -> Iterator[tuple[ConceptSample, ConceptSample]]:
    """Questions about pictures in which what they ask for is not: a sample, and one whose picture can be taken to lack
    it.

    There is always something salient or in common, and what a reasoning question asks for is a matter of its
    references: these are left out, and so are pairs of one task or with a word in common.
    """
    for place, sample in enumerate(samples):
        if sample.level is Level.CR or sample.task == "saliency" or not sample.references:
            continue
        far = place + len(samples) // 2  # neighbours are often of one task, and would all get one and the same picture
        others = (samples[(far + step) % len(samples)] for step in range(len(samples)))
        other = next((one for one in others if _lacks(one, sample)), None)
        if other is not None:
            yield sample, other


def _lacks(other: ConceptSample, sample: ConceptSample) -> bool:
    if other.task == sample.task:
        return False
    words = [set((one.answer or one.concept).lower().split()) for one in (sample, other)]
    return words[0].isdisjoint(words[1])


def calibrate(
    segmenter: ConceptSegmenter,
    sources: Sequence[DataSource],
    *,
    batch_size: int = 8,
    progress: Callable[[int], object] = lambda asked: None,
) -> Calibration:
    """Fit a calibration of a checkpoint on questions whose truth is known.

    Args:
        segmenter: of the checkpoint; a calibration that it has plays no part.
        sources: of the questions. Samples whose mask is empty ask for what is not there; so do `strangers`.
        batch_size: questions at a time.
        progress: told how many more were asked.

    Raises:
        InputError: there are too few questions, or the batch size is no number of questions.
        ImageError: a picture cannot be read.
    """
    check_batch_size(batch_size)
    there: list[tuple[Signals, float]] = []
    absent: list[Signals] = []
    for source in sources:
        samples = list(source.samples)
        questions = [(sample, sample) for sample in samples] + list(strangers(samples))
        for start in range(0, len(questions), batch_size):
            chunk = questions[start : start + batch_size]
            loaded = [load_sample(replace(picture, references=())) for _, picture in chunk]
            queries = [
                Query(one.image, asked.concept, segmenter.prepare(asked.references))
                for one, (asked, _) in zip(loaded, chunk, strict=True)
            ]
            results = segmenter.segment_batch(queries, always=True)
            for result, one, (asked, picture) in zip(results, loaded, chunk, strict=True):
                if result.signals is None or result.mask is None:
                    raise InputError(f"Sample {asked.id!r} could not be answered: {result.error}.")
                if asked is picture and one.mask is not None and one.mask.any():
                    judged = result.mask if one.ignore is None else result.mask & ~one.ignore  # as evaluate has it
                    there.append((result.signals, mask_iou(judged, one.mask)))
                else:
                    absent.append(result.signals)
            progress(len(chunk))
    names = [source.name for source in sources]
    return fit_calibration(there, absent, checkpoint=segmenter.model.digest(), data=names)
