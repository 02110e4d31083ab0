"""`seg-zero`: think, then a box and a point an object, then SAM; how Seg-Zero and VisionReasoner work.

The answer's form is theirs, in a frame of 840 pixels, so that their checkpoints can be named:
`--model Ricky06662/VisionReasoner-7B+facebook/sam3 --method seg-zero`.

    <think>…</think><answer>[{"bbox_2d": [x1, y1, x2, y2], "point_2d": [x, y]}, …]</answer>

The first version wrote one object with `bbox`, `points_1`, `points_2`, which is read too. They draw with SAM 2, and so
does this with `--option sam2=facebook/sam2-hiera-large`; otherwise SAM 3 draws in its place
(`conceptseg.evaluation.baselines.objects`). The wording of the question is ours.
"""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, TypeAlias

import numpy as np
from transformers import Sam2Model

from conceptseg.evaluation.baselines.base import Method
from conceptseg.evaluation.baselines.objects import Pointer, draw_object, union_of
from conceptseg.geometry import BoxXYXY, box_area, clip_box, order_box, scale_box
from conceptseg.images import resize_image
from conceptseg.inference import Query, Route, RouteChoice, SegmentationResult
from conceptseg.models.reasoner import Prompt
from conceptseg.models.sam2 import draw_with_sam2, load_sam2, pixels_for_sam2
from conceptseg.models.segmenter import upsample_logits
from conceptseg.protocol import SYSTEM_PROMPT

__all__ = ["SegZero", "read_pointers"]

_ANSWER = re.compile(r"<answer>(.*?)(?:</answer>|\Z)", re.DOTALL | re.IGNORECASE)
_LONGEST = 20_000
_IN_PIXELS = "in pixels of a {units}×{units} image"
_RELATIVE = "relative to the image, from 0 to {units}"
_QUESTION = (
    'Find everything in the image that matches "{concept}". First compare what is there, between <think> and </think>. '
    "Then give each object's bounding box and a point inside it, {units}, as JSON "
    'between <answer> and </answer>: [{{"bbox_2d": [x1, y1, x2, y2], "point_2d": [x, y]}}, …]'
)


_Drawing: TypeAlias = Callable[[int, Pointer], np.ndarray | None]
"""Draws what a pointer means in the picture of that number; None where there is nothing."""


@dataclass
class SegZero(Method):
    """One pass of the MLLM over the target alone; references are not looked at."""

    frame_px: int = 840
    """Side of the square that the MLLM sees and speaks of."""
    max_new_tokens: int = 1024
    sam2: str = ""
    """Folder or hub id of the SAM 2 that draws; empty leaves it to SAM 3."""

    name: ClassVar[str] = "seg-zero"

    def answer(self, queries: Sequence[Query], route: RouteChoice) -> list[SegmentationResult]:
        """Answer a batch; whatever the route, the MLLM is asked."""
        started = time.perf_counter()
        texts = self._ask(queries)
        draw = self._with_sam2(queries) if self.sam2 else self._with_sam3(queries)
        results = []
        for number, (query, text) in enumerate(zip(queries, texts, strict=True)):
            size_hw = _size_of(query)
            pointers = read_pointers(text, self._units)
            mask = union_of([drawn for p in pointers if (drawn := draw(number, p)) is not None], size_hw)
            results.append(
                SegmentationResult(
                    query.concept,
                    query.source,
                    query.image,
                    mask,
                    Route.REASONED,
                    box=_around(pointers, size_hw),
                    notes=(f"{len(pointers)} objects named. The response: {text}",),
                    timings={"total": (time.perf_counter() - started) / len(queries)},
                )
            )
        return results

    @property
    def _units(self) -> int:
        """What the picture's side measures in the MLLM's boxes."""
        return self.segmenter.model.config.protocol.box_units or self.frame_px

    def _with_sam3(self, queries: Sequence[Query]) -> _Drawing:
        segmenter = self.segmenter.model.segmenter
        features = self.segmenter.encode([query.image for query in queries])

        def draw(number: int, pointer: Pointer) -> np.ndarray | None:
            found = draw_object(segmenter, features.select([number]), pointer, _size_of(queries[number]))
            return None if found is None else found.mask

        return draw

    def _with_sam2(self, queries: Sequence[Query]) -> _Drawing:
        sam2 = self._drawer
        features = [sam2.get_image_embeddings(pixels_for_sam2(sam2, [query.image])) for query in queries]

        def draw(number: int, pointer: Pointer) -> np.ndarray:
            logits = draw_with_sam2(sam2, features[number], pointer.box_xyxy, pointer.points_xy)
            return (upsample_logits(logits, _size_of(queries[number])) > 0).cpu().numpy()

        return draw

    @cached_property
    def _drawer(self) -> Sam2Model:
        return load_sam2(self.sam2, device=self.segmenter.model.device)

    def _ask(self, queries: Sequence[Query]) -> list[str]:
        relative = self.segmenter.model.config.protocol.box_units is not None
        units = (_RELATIVE if relative else _IN_PIXELS).format(units=self._units)
        prompts = [
            Prompt(
                (resize_image(query.image, (self.frame_px, self.frame_px)),),
                _QUESTION.format(concept=query.concept, units=units),
                SYSTEM_PROMPT,
            )
            for query in queries
        ]
        return self.segmenter.model.reasoner.generate(prompts, max_new_tokens=self.max_new_tokens).texts


def read_pointers(text: str, frame_px: float) -> list[Pointer]:
    """The objects that any text names, in fractions of the picture; those that cannot be made out are left out.

    Args:
        text: what the MLLM wrote.
        frame_px: side of the square whose pixels it speaks of.
    """
    found = _ANSWER.search(text[:_LONGEST])
    return [pointer for entry in _entries(found[1] if found else "") if (pointer := _pointer(entry, frame_px))]


def _entries(text: str) -> Iterator[dict[str, Any]]:
    """The JSON objects of an answer: a list of them, or a single one; fenced code is unpacked."""
    start, end = min((text.find(c) for c in "[{" if c in text), default=0), max(text.rfind("]"), text.rfind("}")) + 1
    try:
        content = json.loads(text[start:end])
    except (ValueError, RecursionError):
        return
    yield from (entry for entry in (content if isinstance(content, list) else [content]) if isinstance(entry, dict))


def _pointer(entry: dict[str, Any], frame_px: float) -> Pointer | None:
    numbers = {key: _numbers(value, 4 if key.startswith("bbox") else 2, frame_px) for key, value in entry.items()}
    box = next((value for key, value in numbers.items() if key.startswith("bbox") and value), None)
    if box is None:
        return None
    visible = clip_box(order_box((box[0], box[1], box[2], box[3])), (1, 1))
    points = [value for key, value in numbers.items() if key.startswith("point") and value]
    inside = tuple((x, y) for x, y in points if 0 <= x < 1 and 0 <= y < 1)
    return Pointer(visible, inside) if box_area(visible) > 0 else None


def _numbers(value: object, count: int, frame_px: float) -> list[float] | None:
    """A list of so many finite numbers, as fractions of the frame."""
    if not isinstance(value, list) or len(value) != count:
        return None
    if any(isinstance(number, bool) or not isinstance(number, (int, float)) for number in value):
        return None
    return [number / frame_px for number in value] if all(map(math.isfinite, value)) else None


def _size_of(query: Query) -> tuple[int, int]:
    return query.image.height, query.image.width


def _around(pointers: Sequence[Pointer], size_hw: tuple[int, int]) -> BoxXYXY | None:
    """The box around all boxes, in the picture's pixels."""
    if not pointers:
        return None
    x1, y1, x2, y2 = zip(*(pointer.box_xyxy for pointer in pointers), strict=True)
    return scale_box((min(x1), min(y1), max(x2), max(y2)), (1, 1), size_hw)
