"""A method that answers at once and by rule, and small data sets, so that runs can be killed and shared cheaply."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from conceptseg.data import ConceptSample, Reference, load_reference, write_samples
from conceptseg.evaluation.baselines import Method
from conceptseg.inference import ConceptSegmenter, PreparedReferences, Query, Route, RouteChoice, SegmentationResult
from conceptseg.protocol import build_mosaic

SIDE = 12
BROKEN = "broken"


class FakeSegmenter(ConceptSegmenter):
    """Lays references out; has no model."""

    def __init__(self) -> None:
        self.model: Any = SimpleNamespace(config=SimpleNamespace(name="fake"))

    def prepare(self, references: Sequence[Reference]) -> Any:
        loaded = [load_reference(reference) for reference in references]
        if not loaded:
            return None
        mosaic = build_mosaic([r.image for r in loaded], [r.box for r in loaded], canvas_px=28)
        return PreparedReferences(mosaic, tuple(loaded))


@dataclass
class FakeMethod(Method):
    """Marks columns by the brightness of a picture *and of those it is asked together with*.

    So a run whose batches came out differently is seen by its numbers. `dies_at` kills the process by SIGKILL at that
    question, counted from 1 in this process; a concept "broken" makes a batch fail.
    """

    file: str = ""
    """Read by nobody."""

    dies_at: ClassVar[int] = 0
    asked: ClassVar[list[str]] = []
    name: ClassVar[str] = "fake"

    def answer(self, queries: Sequence[Query], route: RouteChoice) -> list[SegmentationResult]:
        if any(query.concept == BROKEN for query in queries):
            raise RuntimeError("the picture cannot be answered")
        together = sum(int(np.asarray(query.image).mean()) for query in queries)
        results = []
        for query in queries:
            self.asked.append(query.source)
            if len(self.asked) == self.dies_at:
                os.kill(os.getpid(), signal.SIGKILL)
            mask = np.zeros((query.image.height, query.image.width), dtype=bool)
            mask[:, : 1 + together % (query.image.width - 1)] = True
            results.append(SegmentationResult(query.concept, query.source, query.image, mask, Route.DIRECT, 0.5))
        return results


def write_set(folder: Path, count: int, *, task: str = "camouflage", concept: Callable[[int], str] = str) -> Path:
    """A folder of samples: pictures of rising brightness, the left half is the truth."""
    truth = np.zeros((SIDE, SIDE), dtype=bool)
    truth[:, : SIDE // 2] = True
    samples = [
        ConceptSample(
            id=f"{folder.name}/{number:03d}",
            task=task,
            concept=concept(number),
            image=np.full((SIDE, SIDE, 3), 3 * number, np.uint8),
            mask=truth,
            references=(Reference(Image.new("RGB", (9, 9), (number, 0, 0)), box=(1.0, 2.0, 5.0, 6.0)),),
            answer="moth",
            split="val",
        )
        for number in range(count)
    ]
    write_samples(samples, folder)
    return folder
