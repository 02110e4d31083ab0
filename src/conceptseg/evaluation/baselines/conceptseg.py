"""`conceptseg`: the method of the paper, router and all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from conceptseg.evaluation.baselines.base import Method
from conceptseg.inference import Query, RouteChoice, SegmentationResult

__all__ = ["ConceptSeg"]


@dataclass
class ConceptSeg(Method):
    """Figure 3: induce a rule, verify it, apply it, translate it, draw; or SAM 3 alone where it is sure (Eq. 9)."""

    name: ClassVar[str] = "conceptseg"

    def answer(self, queries: Sequence[Query], route: RouteChoice) -> list[SegmentationResult]:
        """Answer a batch by the route asked for."""
        return self.segmenter.segment_batch(queries, route=route)
