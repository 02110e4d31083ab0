"""The frames of a clip, one after the other, with earlier frames as references as long as they hold.

A frame's mask is shown with the next frames beside the references that a person gave. The first of those is the one
whose box is withheld (§3.2): when the rule that comes of the others no longer finds it, what was remembered is
forgotten. Where SAM 3 alone answers there is no rule and so no check: frames that were told of their references (by a
reference prior) are remembered unverified, which is noted; others are not remembered.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from conceptseg.data import Reference
from conceptseg.errors import ImageError
from conceptseg.inference.answers import UNTOLD
from conceptseg.inference.engine import ConceptSegmenter
from conceptseg.inference.results import SegmentationResult
from conceptseg.inference.router import Route, RouteChoice

__all__ = ["LEAST_CHECK", "segment_frames"]

LEAST_CHECK = 0.5
"""IoU of the check with the withheld reference's box from which on a rule counts as verified (Appendix J)."""

_SHOWN = 4  # the paper's 2×2 mosaic


def segment_frames(
    segmenter: ConceptSegmenter,
    frames: Iterable[str | Path],
    concept: str,
    references: Sequence[Reference],
    *,
    route: str | RouteChoice = RouteChoice.AUTO,
    always: bool = False,
) -> Iterator[SegmentationResult]:
    """Segment a concept in frames that follow each other.

    Args:
        segmenter: what segments one image.
        frames: their files in the order of the clip; one that cannot be read becomes a result with `.error`.
        concept: what to look for, in words.
        references: marked pictures, such as a frame of the clip with its mask. Without any there is nothing to verify
            on, and no frame is remembered.
        route: as for `ConceptSegmenter`, and so is `always`.
        always: see `route`.

    Yields:
        A result for each frame; a note says how many earlier frames were shown with it, and whether it was checked.

    Raises:
        InputError: as from `ConceptSegmenter`.
    """
    memory: deque[Reference] = deque(maxlen=max(0, _SHOWN - len(references)) if references else 0)
    keeps: dict[str, Any] = {"always": True} if always else {}
    for frame in frames:
        try:
            result = segmenter(frame, concept, [*references, *memory], route=route, **keeps)
        except ImageError as error:
            yield SegmentationResult(concept, str(frame), error=str(error))
            continue
        is_told = UNTOLD not in result.notes
        noted = replace(result, notes=(*result.notes, _note(result, len(memory) if is_told else 0)))
        if result.check_iou is not None and result.check_iou < LEAST_CHECK:
            memory.clear()
        elif is_told and result.image is not None and result.mask is not None and result.mask.any():
            memory.append(Reference(result.image, mask=result.mask))
        yield noted


def _note(result: SegmentationResult, shown: int) -> str:
    unchecked = ", unverified: SAM 3 alone answered" if shown and result.route is Route.DIRECT else ""
    return f"{shown} earlier frames were shown as references{unchecked}"
