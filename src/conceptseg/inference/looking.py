"""What SAM 3 sees of a batch of pictures: looked at once, then finished with or without what references say."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from conceptseg.models.matching import SeenReferences
from conceptseg.models.segmenter import Glance, ImageFeatures, PromptSegmenter

__all__ = ["Look", "Looks"]


class Look:
    """Distinct pictures as the vision backbone sees them; their features are finished when first wanted."""

    def __init__(self, segmenter: PromptSegmenter, glance: Glance) -> None:
        self.segmenter = segmenter
        self.glance = glance

    @cached_property
    def features(self) -> ImageFeatures:
        """Without what any reference says."""
        return self.segmenter.features_of(self.glance)


class Looks:
    """The pictures of a batch of queries.

    Args:
        look: at the distinct pictures.
        places: for each query, which of them it is about.
        seen: for each query, its references, where a prior is to be told of them.
    """

    def __init__(self, look: Look, places: Sequence[int], seen: Sequence[SeenReferences | None]) -> None:
        self._look = look
        self._places = places
        self._seen = seen

    def alone(self, indices: Sequence[int]) -> ImageFeatures:
        """Features for some of the queries, as if there were no references."""
        return self._look.features.select([self._places[index] for index in indices])

    def beside_references(self, indices: Sequence[int]) -> ImageFeatures:
        """Features for some of the queries, with what their references say."""
        if not any(self._seen[index] for index in indices):
            return self.alone(indices)
        segmenter = self._look.segmenter
        glance = self._look.glance.select([self._places[index] for index in indices])
        evidence = segmenter.evidence_for(glance, [self._seen[index] for index in indices])
        return segmenter.features_of(glance, evidence)

    def told(self, indices: Sequence[int]) -> list[int]:
        """Those of some queries whose references say something."""
        return [index for index in indices if self._seen[index] is not None]
