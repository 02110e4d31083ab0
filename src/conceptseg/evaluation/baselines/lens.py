"""`lens`: LENS's own checkpoint, `--model OuyBin/LENS --method lens`; it sees the target alone.

Relative to theirs the wording of the question is ours, and a picture is asked about by itself, not in a batch.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from conceptseg.errors import CheckpointError
from conceptseg.evaluation.baselines.base import Method
from conceptseg.images import resize_image
from conceptseg.inference import Query, Route, RouteChoice, SegmentationResult
from conceptseg.models.lens import LensModel
from conceptseg.models.reasoner import Prompt
from conceptseg.models.segmenter import upsample_logits

__all__ = ["Lens", "framed_hw"]

_SYSTEM = "You are a helpful assistant. "
_QUESTION = 'Output the bounding box of "{concept}" in the image.'
_MULTIPLE_PX = 28


@dataclass
class Lens(Method):
    """One pass for the words, one for the queries behind them, one of SAM 2."""

    most_pixels: int = 1_000_000
    """Of the picture that the MLLM sees; its sides are multiples of 28."""
    max_new_tokens: int = 256

    name: ClassVar[str] = "lens"

    def answer(self, queries: Sequence[Query], route: RouteChoice) -> list[SegmentationResult]:
        """Answer a batch; whatever the route, the MLLM is asked.

        Raises:
            CheckpointError: the model is no LENS.
        """
        model = self.segmenter.model
        if not isinstance(model, LensModel):
            raise CheckpointError(
                f"--method lens takes a LENS checkpoint, e.g. OuyBin/LENS; {model.config.name} is none."
            )
        return [self._one(model, query) for query in queries]

    def _one(self, model: LensModel, query: Query) -> SegmentationResult:
        started = time.perf_counter()
        size_hw = (query.image.height, query.image.width)
        seen = resize_image(query.image, framed_hw(size_hw, self.most_pixels))
        prompt = Prompt((seen,), _QUESTION.format(concept=query.concept), _SYSTEM)
        said = model.reasoner.generate([prompt], max_new_tokens=self.max_new_tokens)
        logits = model.draw(prompt, said.token_ids[0][said.mask[0]], query.image)
        return SegmentationResult(
            query.concept,
            query.source,
            query.image,
            (upsample_logits(logits, size_hw) > 0).cpu().numpy(),
            Route.REASONED,
            notes=(f"The response: {said.texts[0]}",),
            timings={"total": time.perf_counter() - started},
        )


def framed_hw(size_hw: tuple[int, int], most_pixels: int) -> tuple[int, int]:
    """A picture's size with sides that are multiples of 28, its shape kept about, and not too many pixels."""
    height, width = (max(_MULTIPLE_PX, round(side / _MULTIPLE_PX) * _MULTIPLE_PX) for side in size_hw)
    if height * width <= most_pixels:
        return height, width
    shrunk = math.sqrt(size_hw[0] * size_hw[1] / most_pixels)
    height, width = (max(1, math.floor(side / shrunk / _MULTIPLE_PX)) * _MULTIPLE_PX for side in size_hw)
    return height, width
