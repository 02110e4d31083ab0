"""`mllm-box`: the MLLM's box prompts SAM 3; the interface that Table 4(a) starts from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from conceptseg.evaluation.baselines.base import Method
from conceptseg.inference import ConceptSegmenter, Query, RouteChoice, SegmentationResult
from conceptseg.models.conceptseg import ConceptSegModel

__all__ = ["MllmBox"]


@dataclass
class MllmBox(Method):
    """The whole protocol up to box and answer, which SAM 3 is then given in place of concept tokens (Eq. 4)."""

    name: ClassVar[str] = "mllm-box"

    def __post_init__(self) -> None:
        model = self.segmenter.model
        self._without_translation = ConceptSegmenter(
            ConceptSegModel(model.config, model.reasoner, None, model.segmenter)
        )

    def answer(self, queries: Sequence[Query], route: RouteChoice) -> list[SegmentationResult]:
        """Answer a batch by the route asked for."""
        return self._without_translation.segment_batch(queries, route=route)
