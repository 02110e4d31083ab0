"""What SAM 3 sees of a batch of pictures: looked at once, then finished with or without what references say."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from PIL import Image

from conceptseg.data.fingerprints import fingerprint_picture
from conceptseg.errors import InputError
from conceptseg.models.conceptseg import ConceptSegModel
from conceptseg.models.matching import SeenReferences
from conceptseg.models.segmenter import Glance, ImageFeatures, PromptSegmenter

__all__ = ["Look", "Looker", "Looks"]


class Look:
    """Distinct pictures as the vision backbone sees them; their features are finished when first wanted."""

    def __init__(self, segmenter: PromptSegmenter, glance: Glance) -> None:
        self.segmenter = segmenter
        self.glance = glance

    @cached_property
    def features(self) -> ImageFeatures:
        """Without what any reference says."""
        return self.segmenter.features_of(self.glance)


class Looker:
    """Looks at pictures, each once; the last single one is remembered until another is looked at, or it changes."""

    def __init__(self, model: ConceptSegModel) -> None:
        self._model = model
        self._last: tuple[Image.Image, str, Look] | None = None

    def __call__(self, images: Sequence[Image.Image]) -> tuple[Look, list[int]]:
        """The distinct pictures (they are told apart as objects), and for each picture which of them it is.

        Raises:
            InputError: there is none.
        """
        distinct = list({id(image): image for image in images}.values())
        if not distinct:
            raise InputError("Expected at least one image to encode, got none.")
        places = {id(image): place for place, image in enumerate(distinct)}
        look = self._at_one(distinct[0]) if len(distinct) == 1 else self._at_several(distinct)
        return look, [places[id(image)] for image in images]

    def _at_one(self, image: Image.Image) -> Look:
        last, content = self._last, fingerprint_picture(image)  # read once: another thread may replace it
        if last is not None and last[0] is image and last[1] == content:
            return last[2]
        look = self._at_several([image])
        self._last = (image, content, look)
        return look

    def _at_several(self, images: Sequence[Image.Image]) -> Look:
        self._last = None  # its memory may be needed
        segmenter = self._model.segmenter
        return Look(segmenter, segmenter.glance(segmenter.preprocess(images)))


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
        """Features for some of the queries, with what their references say; once for each picture and references."""
        if not any(self._seen[index] for index in indices):
            return self.alone(indices)
        pairs = [(self._places[index], id(self._seen[index])) for index in indices]
        first: dict[tuple[int, int], int] = {}
        for pair, index in zip(pairs, indices, strict=True):
            first.setdefault(pair, index)
        segmenter = self._look.segmenter
        glance = self._look.glance.select([place for place, _ in first])
        evidence = segmenter.evidence_for(glance, [self._seen[index] for index in first.values()])
        features = segmenter.features_of(glance, evidence)
        rows = {pair: row for row, pair in enumerate(first)}
        return features if len(rows) == len(pairs) else features.select([rows[pair] for pair in pairs])

    def told(self, indices: Sequence[int]) -> list[int]:
        """Those of some queries whose references say something."""
        return [index for index in indices if self._seen[index] is not None]
