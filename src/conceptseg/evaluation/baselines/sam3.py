"""`sam3`: SAM 3 given the concept's words and nothing else, the first row of Table 1."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from conceptseg.evaluation.baselines.base import Method
from conceptseg.inference import Query, RouteChoice, SegmentationResult

__all__ = ["Sam3"]


@dataclass
class Sam3(Method):
    """Text prompts; the mask of the semantic head, as in every other method here. References are not looked at."""

    name: ClassVar[str] = "sam3"

    def answer(self, queries: Sequence[Query], route: RouteChoice) -> list[SegmentationResult]:
        """Answer a batch; whatever the route, it is the direct one. No mask is emptied: when something counts as found
        was calibrated on our own way, and no other method here is held to it."""
        alone = [replace(query, references=None) for query in queries]
        return self.segmenter.segment_batch(alone, route=RouteChoice.DIRECT, always=True)
