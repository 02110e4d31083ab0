"""`ConceptSample`, the one currency of datasets, ConceptWorld, trainers, evaluator and interfaces."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from PIL import Image

from conceptseg.geometry import BoxXYXY
from conceptseg.taxonomy import Level, level_of

__all__ = ["ConceptSample", "ImageSource", "Reference"]

ImageSource: TypeAlias = str | Path | bytes | Image.Image | np.ndarray
"""Anything `conceptseg.images.load_image` and `load_mask` read."""


@dataclass(frozen=True, eq=False)
class Reference:
    """A reference picture with its target marked by a mask, by a box (x1, y1, x2, y2 in its own pixels), or not."""

    image: ImageSource
    mask: ImageSource | None = None
    box: BoxXYXY | None = None


@dataclass(frozen=True, eq=False)
class ConceptSample:
    """One question with its answer: a picture, a concept in words, references, and the true mask."""

    id: str
    task: str
    concept: str
    image: ImageSource
    mask: ImageSource | None = None
    references: tuple[Reference, ...] = ()
    rule: str | None = None
    answer: str | None = None
    group: str | None = None
    split: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def level(self) -> Level:
        """CI, CD or CR, from the task."""
        return level_of(self.task)
