"""What all routes share: pictures come in, questions go through the queue, results come out, in time or not at all."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

import anyio
import anyio.to_thread

from conceptseg.data import Reference
from conceptseg.errors import InputError
from conceptseg.images import ReadImage
from conceptseg.inference import ConceptSegmenter, Query, SegmentationResult
from conceptseg.interfaces.server.metrics import ServerMetrics
from conceptseg.interfaces.server.options import ServerOptions
from conceptseg.interfaces.server.pictures import PixelBudget, RawReference, load_references
from conceptseg.interfaces.server.queue import BatchQueue, Job
from conceptseg.interfaces.server.refusals import refuse
from conceptseg.interfaces.server.rules_store import RuleModel, RuleStore
from conceptseg.words import check_words

__all__ = ["Service"]

T = TypeVar("T")

_DECODERS = 2
"""Pictures that are decoded at once."""


class Service:
    """A segmenter, its queue and its rules behind limits.

    Args:
        segmenter: answers the questions.
        rules: see `RuleStore`.
        options: limits.
    """

    def __init__(self, segmenter: ConceptSegmenter, rules: RuleStore, options: ServerOptions) -> None:
        self.segmenter, self.rules, self.options = segmenter, rules, options
        self.metrics = ServerMetrics()
        self.queue = BatchQueue(
            self._answer,
            places=options.places,
            batch_size=options.batch_size,
            on_batch=self.metrics.count_batch,
        )
        self.metrics.watch("conceptseg_in_flight", "Requests that hold a place", lambda: self.queue.in_flight)
        self.metrics.watch("conceptseg_waiting", "Questions that wait for a batch", lambda: self.queue.waiting)
        self.metrics.watch("conceptseg_rules", "Rules in the folder", lambda: len(rules.names()))
        self._decoders = anyio.CapacityLimiter(_DECODERS)
        self._learners = anyio.CapacityLimiter(1)
        self._is_aborted = False

    @property
    def model_name(self) -> str:
        """What the checkpoint is called."""
        return str(getattr(getattr(self.segmenter.model, "config", None), "name", "") or "conceptseg")

    def abort(self) -> None:
        """Give up a rule that is being learned: the server cannot wait any longer."""
        self._is_aborted = True

    async def decode(self, work: Callable[[], T]) -> T:
        """Do what decodes pictures beside the loop, few at a time."""
        return await anyio.to_thread.run_sync(work, abandon_on_cancel=True, limiter=self._decoders)

    async def segment(
        self, image: bytes, concept: str, references: Sequence[RawReference] = (), route: str = "auto"
    ) -> SegmentationResult:
        """A concept in a picture.

        Raises:
            InputError: a picture, a mask, a box or the concept is none, or there are too many references.
            Refusal: there are too many pixels.
        """
        self.check_count(len(references), self.options.max_references, "references")
        words = check_words(concept)
        budget = PixelBudget(self.options.max_pixels)
        read, loaded = await self.decode(lambda: (budget.read(image, "image"), load_references(references, budget)))
        return await self.ask(partial(self.query, read, words, loaded), route)

    async def apply(self, image: bytes, name: str) -> SegmentationResult:
        """What a rule says of a picture.

        Raises:
            InputError: the picture or the rule's file is none.
            Refusal: there is no such rule, or too many pixels.
        """
        rule = await self.decode(partial(self.rules.model, name))
        read = await self.decode(partial(PixelBudget(self.options.max_pixels).read, image, "image"))
        return await self.apply_rule(read, rule)

    async def apply_rule(self, read: ReadImage, rule: RuleModel) -> SegmentationResult:
        """What a rule says of a picture that is read already."""
        return await self.ask(partial(rule.ask, read), rule.route)

    def query(self, read: ReadImage, concept: str, references: Sequence[Reference]) -> Query:
        """A question, its references made ready by the model."""
        prepared = self.segmenter.prepare(references)
        return Query(read.image, concept, prepared, source="image", notes=read.notes)

    async def ask(self, build: Callable[[], Query], route: str) -> SegmentationResult:
        """Put a question into the queue and wait for the result.

        Raises:
            InputError: there is no mask, and why.
        """
        result = await asyncio.wrap_future(self.queue.ask(Job(build, route)))
        if result.mask is None:
            raise InputError(result.error or "Nothing was computed.")
        self.metrics.count_mask(result.route.value if result.route else "none", result.timings)
        return result

    async def learn(
        self, name: str, concept: str, raw: Sequence[RawReference], absent: Sequence[bytes]
    ) -> dict[str, Any]:
        """Learn a rule from pictures as they came, and keep it; see `RuleStore.learn`.

        Raises:
            InputError: a picture, a mask, a box or the concept is none, or there are too many.
            Refusal: another rule is being learned, there is one of that name, or nowhere to keep it.
        """
        self.check_count(len(raw) + len(absent), self.options.max_learned_references, "references")
        if self._learners.available_tokens < 1:
            raise refuse("busy", "Another rule is being learned. Try again when it is done.", retry_after_s=30)
        words, budget = check_words(concept), PixelBudget(self.options.max_pixels)
        references = await self.decode(partial(load_references, raw, budget))
        pictures = await self.decode(
            lambda: [budget.check(one, f"absent picture {place}") for place, one in enumerate(absent, start=1)]
        )
        return await self._learn(partial(self.rules.learn, name, words, references, pictures))

    async def relearn(self, name: str, concept: str, load: Callable[[], list[Reference]]) -> dict[str, Any]:
        """Learn a rule that takes the place of the one of that name; waits for a rule that is being learned."""
        references = await self.decode(load)
        return await self._learn(partial(self.rules.learn, name, check_words(concept), references, replace=True))

    async def _learn(self, work: Callable[..., dict[str, Any]]) -> dict[str, Any]:
        async with self._learners:
            until = time.monotonic() + self.options.learning_limit_s

            def is_over() -> bool:
                return self._is_aborted or time.monotonic() > until

            return await anyio.to_thread.run_sync(partial(work, is_over=is_over))

    @staticmethod
    def check_count(count: int, most: int, what: str) -> None:
        """Refuse too many of something.

        Raises:
            Refusal: there are more than `most`.
        """
        if count > most:
            raise refuse("too_large", f"{count} {what} are more than the {most} that a request may have. Send fewer.")

    @contextmanager
    def in_time(self, limit_s: float | None = None) -> Iterator[None]:
        """A place in the queue and a time limit for what the block does, reading the body included.

        Raises:
            Refusal: there is no place.
            TimeoutError: the time is up.
        """
        with self.queue.place(), anyio.fail_after(limit_s or self.options.time_limit_s):
            yield

    def _answer(self, queries: Sequence[Query], route: str) -> Sequence[SegmentationResult]:
        return self.segmenter.segment_batch(queries, route=route)
