"""A segmenter that answers at once, for tests of what surrounds it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from conceptseg.data import Reference, load_reference
from conceptseg.errors import ImageError
from conceptseg.images import read_image
from conceptseg.inference import ConceptSegmenter, PreparedReferences, Route, SegmentationResult
from conceptseg.protocol import build_mosaic


class FakeSegmenter(ConceptSegmenter):
    """Marks the left half of every picture; remembers the names of the pictures it was shown."""

    def __init__(self, pause_s: float = 0.0) -> None:
        self.seen: list[str] = []
        self.pause_s = pause_s
        self.model: Any = SimpleNamespace(config=SimpleNamespace(name="fake"))

    def __call__(
        self, image: Any, concept: str, references: Sequence[Reference] = (), *, route: str = "auto"
    ) -> SegmentationResult:
        read = read_image(image)
        picture = read.image
        mask = np.zeros((picture.height, picture.width), dtype=bool)
        mask[:, : picture.width // 2] = True
        return SegmentationResult(
            concept,
            str(image),
            picture,
            mask,
            Route.DIRECT,
            presence=0.9,
            threshold=0.2,
            notes=read.notes,
            timings={"encode": 0.5},
        )

    def prepare(self, references: Sequence[Reference]) -> Any:
        loaded = [load_reference(reference) for reference in references]
        if not loaded:
            return None
        mosaic = build_mosaic([r.image for r in loaded], [r.box for r in loaded], canvas_px=84)
        return PreparedReferences(mosaic, tuple(loaded))

    def stream(
        self, images: Sequence[Path], concept: str, references: Sequence[Reference], *, batch_size: int, route: str
    ) -> Iterator[SegmentationResult]:
        for image in images:
            time.sleep(self.pause_s)
            try:
                result = self(image, concept)
            except ImageError as error:
                result = SegmentationResult(concept, str(image), error=str(error))
            else:
                self.seen.append(image.name)
            yield result

    def stream_in_two_passes(
        self, images: Sequence[Path], concept: str, references: Sequence[Reference], *, batch_size: int, route: str
    ) -> Iterator[tuple[int, SegmentationResult]]:
        results = list(self.stream(images, concept, references, batch_size=batch_size, route=route))
        yield from reversed(list(enumerate(results)))
