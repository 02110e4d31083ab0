"""A segmenter, rules and pictures for tests of the server: everything but the model is real."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from PIL import Image

from conceptseg.data import Reference
from conceptseg.errors import InputError
from conceptseg.inference import Query, SegmentationResult
from tests.interfaces.fakes import FakeSegmenter

WIDTH, HEIGHT = 24, 16


class FakeEngine(FakeSegmenter):
    """Marks the left half of every picture; keeps the batches it was asked, and waits for `gate` where there is one."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[list[Query]] = []
        self.routes: list[str] = []
        self.gate: threading.Event | None = None
        self.started = threading.Event()
        self.confidence: float | None = None
        self.found: bool | None = None
        self.learned: list[tuple[str, list[Reference]]] = []
        self.fails_on: str | None = None

    def segment_batch(self, queries: Sequence[Query], *, route: Any = "auto", **_: Any) -> list[SegmentationResult]:
        self.batches.append(list(queries))
        self.routes.append(route)
        self.started.set()
        if self.gate is not None:
            assert self.gate.wait(20)
        if any(query.concept == self.fails_on for query in queries):
            raise RuntimeError("secret detail")
        return [self._answer(query) for query in queries]

    def _answer(self, query: Query) -> SegmentationResult:
        result = replace(self(query.image, query.concept), source=query.source)
        object.__setattr__(result, "confidence", self.confidence)
        object.__setattr__(result, "found", self.found)
        return result

    def learn(
        self,
        concept: str,
        references: Sequence[Reference],
        *,
        absent: Sequence[Any] = (),
        progress: Callable[[int, int], None],
        **_: Any,
    ) -> FakeRule:
        self.learned.append((concept, list(references)))
        self.started.set()
        progress(0, 1)
        if self.gate is not None:
            assert self.gate.wait(20)
        progress(1, 1)
        return FakeRule(concept, pictures=tuple("p" for _ in references))


@dataclass(frozen=True)
class FakeRule:
    """What the server needs of a rule; its file is JSON."""

    concept: str
    text: str = "whatever is on the left"
    pictures: tuple[str, ...] = ()
    route: Any = field(default_factory=lambda: SimpleNamespace(value="reasoned"))
    expected_iou: float = 0.8
    interval: tuple[float, float] = (0.7, 0.9)
    judged: int = 2
    suspects: tuple[int, ...] = ()
    model: str = "fake"
    notes: tuple[str, ...] = ()

    def references(self) -> tuple[Reference, ...]:
        return (Reference(Image.new("RGB", (8, 8)), box=(1, 1, 5, 5)),)

    def applied(self, digest: str) -> str:
        return digest

    def describe(self) -> str:
        return "Expected IoU 0.80."

    def save(self, path: Path) -> Path:
        path.write_text(json.dumps({"rule": self.concept}))
        return path

    @classmethod
    def load(cls, path: Path) -> FakeRule:
        try:
            return cls(json.loads(path.read_bytes())["rule"], pictures=("a", "b"))
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path} is no rule of ours: {type(error).__name__}.") from error


def png(width: int = WIDTH, height: int = HEIGHT, colour: str = "teal") -> bytes:
    """A picture's file."""
    buffer = BytesIO()
    Image.new("RGB", (width, height), colour).save(buffer, format="PNG")
    return buffer.getvalue()


def mask_png(width: int = WIDTH, height: int = HEIGHT) -> bytes:
    """A mask's file: the first column."""
    mask = np.zeros((height, width), dtype=np.uint8)
    mask[:, 0] = 255
    buffer = BytesIO()
    Image.fromarray(mask).save(buffer, format="PNG")
    return buffer.getvalue()


def b64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def left_half(width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """What `FakeEngine` marks."""
    mask = np.zeros((height, width), dtype=bool)
    mask[:, : width // 2] = True
    return mask
