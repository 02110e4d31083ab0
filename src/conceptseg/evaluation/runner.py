"""Asking every question of a run once: in fixed batches, shared among processes, resumable by sample id."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, islice
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool
from PIL import Image

from conceptseg.data.benchmarks.cityscapes import resolve_overlaps
from conceptseg.data.loading import LoadedSample, load_sample
from conceptseg.data.samples import ConceptSample
from conceptseg.digests import file_digest
from conceptseg.errors import (
    CheckpointError,
    ConceptSegError,
    HubAccessError,
    ImageError,
    InputError,
    MissingExtraError,
    ResourceError,
    SampleError,
)
from conceptseg.evaluation.baselines import Method, check_method, get_method
from conceptseg.evaluation.keeping import Kept
from conceptseg.evaluation.provenance import describe_checkpoint, describe_software
from conceptseg.evaluation.records import RowWriter, claimed, mask_path, read_config, read_rows, write_config
from conceptseg.evaluation.rows import answered_row, error_row
from conceptseg.evaluation.settings import EvaluationConfig, Shard
from conceptseg.evaluation.sources import DataSource, open_sources
from conceptseg.files import replacing
from conceptseg.inference import ConceptSegmenter, Query, RouteChoice, SegmentationResult
from conceptseg.inference.answers import sound
from conceptseg.models.memory import explain_out_of_memory

__all__ = ["Progress", "evaluate"]

Progress = Callable[[int, int], None]
"""Called with the numbers of questions that this process has done, and has to do."""

_FATAL = (ResourceError, CheckpointError, HubAccessError, MissingExtraError)
"""What would meet the next question as well: it ends the run instead of costing a sample its score."""


def evaluate(
    config: EvaluationConfig,
    out: Path,
    segmenter: Callable[[], ConceptSegmenter],
    *,
    shard: Shard | None = None,
    retry_failed: bool = False,
    keep_masks: bool = True,
    progress: Progress = lambda done, total: None,
    tell: Callable[[str], None] = lambda line: None,
) -> list[dict[str, Any]]:
    """Answer what this process has to of all questions that have no row yet.

    Questions are asked in batches that depend on the configuration alone, and batches are dealt to processes whole: a
    run that was killed, or shared among any number of processes, computes what an uninterrupted one does. Rows are
    written batch by batch. A question whose pictures cannot be read, or that the method fails on, gets a row with the
    error and the worst scores; it stays in every mean.

    Every row holds the state of what it was scored on (`conceptseg.data.states`): where pictures, masks, words or
    references have changed since, the question is asked again, and the new row takes the old one's place.

    Args:
        config: what to measure.
        out: the run's folder. What it holds of the same configuration and checkpoint is kept.
        segmenter: gives the model; called only if there is something to do.
        shard: this process's part; all of it by default.
        retry_failed: ask questions again whose row is an error.
        keep_masks: also write the predictions, as one-bit PNGs.
        progress: told of every batch.
        tell: given a sentence about every kind of row that was not simply kept, before anything is asked.

    Returns:
        All rows of the folder, this process's and others'.

    Raises:
        InputError: the data cannot be opened, the method or its settings are unknown, the folder belongs to another
            run or to another set of questions, or is being written to.
        CheckpointError: the checkpoint is broken.
        ResourceError: memory ran out; a smaller batch may do.
    """
    shard = shard or Shard()
    check_method(config.method, config.options)
    sources = open_sources(
        config.data, references=config.references, seed=config.seed, label=config.label, ignore=config.ignore
    )
    _begin(config, out, sources, shard)
    kept = Kept(out, sources, config, retry_failed=retry_failed)
    mine = islice(_batches(sources, config), shard.rank, None, shard.count)
    batches = [replace(batch, wanted=kept.wanted(batch.source, batch.places)) for batch in mine]
    for line in kept.told():
        tell(line)
    if total := sum(len(batch.wanted) for batch in batches):
        with RowWriter(out, shard.rank) as writer:
            method = get_method(config.method, segmenter(), **config.options)
            work, finished = _Work(config, out if keep_masks else None, method, kept), 0
            for batch in filter(lambda batch: batch.wanted, batches):
                writer.write(work.rows_of(batch))
                finished += len(batch.wanted)
                progress(finished, total)
    return read_rows(out)


def _begin(config: EvaluationConfig, out: Path, sources: Sequence[DataSource], shard: Shard) -> None:
    """Make sure that the folder is this run's, and say in it what the run is; one process at a time."""
    wanted = config.model_dump(mode="json")
    questions = {source.name: len(source.ids) for source in sources}
    files = _files_named(config)
    with claimed(out):
        earlier = read_config(out)
        if earlier is not None:
            _refuse_others(out, earlier["config"], wanted)
            _refuse_others(out, earlier["questions"], questions, "the number of questions of ")
            _refuse_others(out, earlier.get("files", {}), files, "what the file holds of ")
            if shard.rank == 0:  # one look at gigabytes of weights is enough
                _refuse_others(
                    out, earlier["checkpoint"], describe_checkpoint(config.model, config.sam, method=config.method)
                )
            return
        record = {
            "config": wanted,
            "checkpoint": describe_checkpoint(config.model, config.sam, method=config.method),
            "software": describe_software(),
            "questions": questions,
            "files": files,
        }
        write_config(out, record)


def _files_named(config: EvaluationConfig) -> dict[str, str]:
    """What the files hold that the method's settings name, such as a rule's: a name alone does not say."""
    named = {option: value for option, value in config.options.items() if isinstance(value, str)}
    return {option: file_digest(value) for option, value in named.items() if os.path.isfile(value)}


def _refuse_others(out: Path, earlier: dict[str, Any], wanted: dict[str, Any], what: str = "") -> None:
    differing = sorted(key for key in earlier.keys() | wanted.keys() if earlier.get(key) != wanted.get(key))
    if differing:
        raise InputError(
            f"{out} holds another run; it differs in: {what}{', '.join(differing)}. Rows of two runs must not be "
            "mixed: choose another --out."
        )


@dataclass(frozen=True, eq=False)
class _Batch:
    """Questions of one set that are asked together."""

    source: DataSource
    places: tuple[int, ...]
    """Those that belong together, by their place in the set."""
    wanted: tuple[int, ...]
    """Those whose rows are still to be written."""


def _batches(sources: Sequence[DataSource], config: EvaluationConfig) -> Iterator[_Batch]:
    """All questions in batches, in order; those about one picture that follow each other are never parted.

    So SAM 3 encodes their picture once, and overlaps can be resolved. A batch has at most `batch_size` questions, or
    one picture with more of them. With overlaps to resolve every picture has a batch of its own.
    """
    limit = 1 if config.overlaps == "resolved" else config.batch_size
    for source in sources:
        part: tuple[int, ...] = ()
        for _, places in groupby(range(len(source.ids)), key=source.pictures.__getitem__):
            together = tuple(places)
            if part and len(part) + len(together) > limit:
                yield _Batch(source, part, part)
                part = ()
            part += together
        if part:
            yield _Batch(source, part, part)


class _Work:
    """From a batch to its rows."""

    def __init__(self, config: EvaluationConfig, keep: Path | None, method: Method, kept: Kept) -> None:
        self._config = config
        self._keep = keep
        self._method = method
        self._kept = kept

    def rows_of(self, batch: _Batch) -> list[dict[str, Any]]:
        """Ask, score, and keep the masks of the wanted questions; the others are asked only if they could interfere."""
        resolves = self._config.overlaps == "resolved"
        asked = batch.places if resolves else batch.wanted
        shared: dict[str, Image.Image] = {}
        labels = self._kept.labels(
            batch.source, batch.places, batch.wanted
        )  # before reading: a change since is noticed
        questions = [self._read(batch.source.samples[place], batch.source.pictures[place], shared) for place in asked]
        results = self._answer(questions)
        if resolves:
            results = _without_overlaps(results)
        return [
            self._row(question, result, {"data": batch.source.name, "index": place, **labels[place]})
            for place, question, result in zip(asked, questions, results, strict=True)
            if place in batch.wanted
        ]

    def _read(self, sample: ConceptSample, picture: str, shared: dict[str, Image.Image]) -> _Question:
        """A sample's pictures, or what is wrong with them; a readable truth is kept in either case.

        Samples of one picture get the same object out of `shared`, by which it is encoded once.
        """
        loaded = None
        try:
            loaded = load_sample(replace(sample, references=()))
            loaded = replace(loaded, image=shared.setdefault(picture, loaded.image))
            references = self._method.segmenter.prepare(sample.references)
        except (ImageError, SampleError, InputError) as error:
            return _Question(sample, loaded, None, str(error))
        return _Question(sample, loaded, Query(loaded.image, sample.concept, references, sample.id, notes=loaded.notes))

    def _answer(self, questions: Sequence[_Question]) -> list[SegmentationResult]:
        """One result a question, in order; where there is no mask it says why."""
        queries = [question.query for question in questions if question.query is not None]
        size = self._config.batch_size
        answered = iter(
            [result for start in range(0, len(queries), size) for result in self._ask(queries[start:][:size])]
        )
        return [
            next(answered) if question.query is not None else _failure(question.sample.concept, question.problem)
            for question in questions
        ]

    def _ask(self, queries: Sequence[Query]) -> list[SegmentationResult]:
        """The method's answers; when a batch fails, its members are asked one by one."""
        try:
            with explain_out_of_memory(f"answering {len(queries)} questions at a time"):
                return self._method.answer(queries, RouteChoice(self._config.route))
        except _FATAL:
            raise
        except Exception as error:  # whatever a method does on one picture costs that sample its score, not the run
            if len(queries) > 1:
                return [result for query in queries for result in self._ask([query])]
            return [_failure(queries[0].concept, f"{type(error).__name__}: {error}")]

    def _row(self, question: _Question, result: SegmentationResult, position: dict[str, Any]) -> dict[str, Any]:
        sample, loaded = question.sample, question.loaded
        result = sound(result)  # a method need not have asked the engine
        if loaded is None or result.mask is None:
            return error_row(sample, loaded, result.error or "the method gave no mask", self._config, position)
        try:
            row = answered_row(sample, loaded, result, self._config, position)
        except ConceptSegError as error:  # e.g. a mask of another size than the picture's
            return error_row(sample, loaded, str(error), self._config, position)
        if self._keep is not None:
            _save_mask(result.mask, mask_path(self._keep, row))
        return row


@dataclass(frozen=True, eq=False)
class _Question:
    """A sample with what could be read of it."""

    sample: ConceptSample
    loaded: LoadedSample | None
    query: Query | None
    problem: str = ""


def _failure(concept: str, reason: str) -> SegmentationResult:
    return SegmentationResult(concept, error=reason)


def _without_overlaps(results: Sequence[SegmentationResult]) -> list[SegmentationResult]:
    """Answers about one picture of which the surest keeps a pixel; where SAM 3 was not asked, presence counts 0."""
    places = [place for place, result in enumerate(results) if result.mask is not None]
    masks = [mask for result in results if (mask := result.mask) is not None]
    if not masks:
        return list(results)
    scores = [results[place].presence or 0.0 for place in places]
    resolved = dict(zip(places, resolve_overlaps(np.stack(masks), scores), strict=True))
    return [replace(result, mask=resolved.get(place)) for place, result in enumerate(results)]


def _save_mask(mask: Bool[np.ndarray, "h w"], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as fresh:
        Image.fromarray(mask).save(fresh)
