"""What the segmenter is taught with: a few pictures of one thing, and questions about each with the others to refer to.

The pictures of a group are looked at once, and each takes its turn as the target with others as references: eyes are
what costs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, UInt8

from conceptseg.geometry import BoxXYXY

__all__ = ["Group", "Question"]


@dataclass(frozen=True, eq=False)
class Question:
    """One prompt about one picture of a group, and the answer."""

    target: int
    """Which picture."""
    text: str
    mask: Bool[np.ndarray, "h w"]
    """What is to be segmented; empty where nothing is."""
    present: bool
    """Whether it is there."""
    references: tuple[int, ...] = ()
    """Which pictures are references."""
    by_boxes: bool = False
    """Whether the references' marks are known as boxes only."""
    box: BoxXYXY | None = None
    """A box prompt, in fractions of the picture."""
    things: tuple[Bool[np.ndarray, "h w"], ...] | None = None
    """The single objects, where they are known."""
    teaches_mask: bool = True
    """False where only presence is taught."""


@dataclass(frozen=True, eq=False)
class Group:
    """Pictures with marks, and questions about them."""

    images: UInt8[np.ndarray, "pictures h w 3"]
    marks: Bool[np.ndarray, "pictures h w"]
    """What is marked where a picture is a reference."""
    questions: tuple[Question, ...]
