"""`seg-zero`: think, then a box and a point an object, then SAM; how Seg-Zero and VisionReasoner work.

The answer's form is theirs, in a frame of 840 pixels, so that their checkpoints can be named:
`--model Ricky06662/VisionReasoner-7B+facebook/sam3 --method seg-zero`.

    <think>…</think><answer>[{"bbox_2d": [x1, y1, x2, y2], "point_2d": [x, y]}, …]</answer>

The first version wrote one object with `bbox`, `points_1`, `points_2`, which is read too. Relative to them, SAM 3 draws
in place of SAM 2 (`conceptseg.evaluation.baselines.objects`), and the wording of the question is ours.
"""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from conceptseg.evaluation.baselines.base import Method
from conceptseg.evaluation.baselines.objects import Pointer, draw_object, union_of
from conceptseg.geometry import BoxXYXY, box_area, clip_box, order_box, scale_box
from conceptseg.images import resize_image
from conceptseg.inference import Query, Route, RouteChoice, SegmentationResult
from conceptseg.models.reasoner import Prompt
from conceptseg.protocol import SYSTEM_PROMPT

__all__ = ["SegZero", "read_pointers"]

_ANSWER = re.compile(r"<answer>(.*?)(?:</answer>|\Z)", re.DOTALL | re.IGNORECASE)
_LONGEST = 20_000
_QUESTION = (
    'Find everything in the image that matches "{concept}". First compare what is there, between <think> and </think>. '
    "Then give each object's bounding box and a point inside it, in pixels of a {frame_px}×{frame_px} image, as JSON "
    'between <answer> and </answer>: [{{"bbox_2d": [x1, y1, x2, y2], "point_2d": [x, y]}}, …]'
)


@dataclass
class SegZero(Method):
    """One pass of the MLLM over the target alone; references are not looked at."""

    frame_px: int = 840
    """Side of the square that the MLLM sees and speaks of."""
    max_new_tokens: int = 1024

    name: ClassVar[str] = "seg-zero"

    def answer(self, queries: Sequence[Query], route: RouteChoice) -> list[SegmentationResult]:
        """Answer a batch; whatever the route, the MLLM is asked."""
        started = time.perf_counter()
        texts = self._ask(queries)
        segmenter = self.segmenter.model.segmenter
        features = self.segmenter.encode([query.image for query in queries])
        results = []
        for number, (query, text) in enumerate(zip(queries, texts, strict=True)):
            size_hw = (query.image.height, query.image.width)
            pointers = read_pointers(text, self.frame_px)
            drawn = [draw_object(segmenter, features.select([number]), pointer, size_hw) for pointer in pointers]
            mask = union_of([one for one in drawn if one is not None], size_hw)
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

    def _ask(self, queries: Sequence[Query]) -> list[str]:
        prompts = [
            Prompt(
                (resize_image(query.image, (self.frame_px, self.frame_px)),),
                _QUESTION.format(concept=query.concept, frame_px=self.frame_px),
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


def _around(pointers: Sequence[Pointer], size_hw: tuple[int, int]) -> BoxXYXY | None:
    """The box around all boxes, in the picture's pixels."""
    if not pointers:
        return None
    x1, y1, x2, y2 = zip(*(pointer.box_xyxy for pointer in pointers), strict=True)
    return scale_box((min(x1), min(y1), max(x2), max(y2)), (1, 1), size_hw)
