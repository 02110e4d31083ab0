"""`match`: training-free matching with the checkpoint's own vision features; what everything else has to beat.

Each cell of the target is labelled by the cells of the references that resemble it most, marked or unmarked, as their
masks (else their boxes) say. No word is read and nothing is learned; PerSAM and Matcher start from the same idea.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from conceptseg.evaluation.baselines.base import Method
from conceptseg.inference import PreparedReferences, Query, Route, RouteChoice, SegmentationResult
from conceptseg.models.matching import Evidence, SeenReferences
from conceptseg.models.segmenter import upsample_logits

__all__ = ["Match"]


@dataclass
class Match(Method):
    """Nearest marked against nearest unmarked cells (`conceptseg.models.matching`)."""

    name: ClassVar[str] = "match"

    @torch.no_grad()
    def answer(self, queries: Sequence[Query], route: RouteChoice) -> list[SegmentationResult]:
        """Answer a batch; the route does not matter, and a question without marked references gets an empty mask."""
        started = time.perf_counter()
        segmenter = self.segmenter.model.segmenter
        seen = [None if query.references is None else self._see(query.references) for query in queries]
        glance = segmenter.glance(segmenter.preprocess([query.image for query in queries]))
        evidence = segmenter.evidence_for(glance, seen)
        seconds = (time.perf_counter() - started) / len(queries)
        return [self._result(query, found, seconds) for query, found in zip(queries, evidence, strict=True)]

    def _result(self, query: Query, found: Evidence | None, seconds: float) -> SegmentationResult:
        size_hw = (query.image.height, query.image.width)
        mask = (
            np.zeros(size_hw, dtype=bool)
            if found is None
            else np.asarray(upsample_logits(found.margin, size_hw).cpu() > 0)
        )
        return SegmentationResult(
            query.concept,
            query.source,
            query.image,
            mask,
            Route.DIRECT,
            answer=query.concept,
            notes=() if found else ("Nothing to match with: no reference is marked.",),
            timings={"total": seconds},
        )

    def _see(self, references: PreparedReferences) -> SeenReferences | None:
        return references.seen if references.seen is not None else self.segmenter.model.see_marks(references.loaded)
