"""What a method is: something that answers questions, built around one loaded model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from conceptseg.inference import ConceptSegmenter, Query, RouteChoice, SegmentationResult

__all__ = ["Method"]


@dataclass
class Method(ABC):
    """A way from questions to masks; a subclass is a dataclass whose further fields are its settings.

    To add one, write a file with a subclass and name it in `conceptseg.evaluation.baselines`.
    """

    segmenter: ConceptSegmenter
    """The MLLM, the concept translation where there is one, and SAM 3."""

    name: ClassVar[str]
    """What `--method` calls it."""

    @abstractmethod
    def answer(self, queries: Sequence[Query], route: RouteChoice) -> list[SegmentationResult]:
        """Answer a batch, in its order.

        Args:
            queries: pictures with their questions, and their references laid out as a mosaic.
            route: whether SAM 3 alone may answer; a method that has one way only takes that.

        Raises:
            ConceptSegError: the batch cannot be answered; the runner then asks its members one by one.
        """
