"""`ConceptSample`, the one currency of datasets, ConceptWorld, trainers, evaluator and interfaces."""

from __future__ import annotations

import math
from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from conceptseg.errors import InputError, SampleError
from conceptseg.geometry import BoxXYXY
from conceptseg.images import ImageSource
from conceptseg.masks import Label, Selection
from conceptseg.taxonomy import Level, level_of
from conceptseg.words import check_words

__all__ = ["ConceptSample", "ImageSource", "Reference"]


@dataclass(frozen=True, eq=False)
class Reference:
    """A reference picture with its target marked by a mask, by a box, or not at all; or with what is not the target.

    Raises:
        SampleError: the box does not hold four finite numbers with x1 < x2 and y1 < y2, or stands in the mask's place;
            or it is `unlike`, and nothing is marked.
        InputError: `label` or `ignore` is nothing that selects a value.
    """

    image: ImageSource
    """The picture."""
    mask: ImageSource | None = None
    """The target's mask, at the picture's size."""
    box: BoxXYXY | None = None
    """The target's box (x1, y1, x2, y2) in the picture's own pixels, not fractions; it goes before the mask's box."""
    label: Label | None = None
    """The mask's value that is the target, where it is a label map: a number, a colour "#rrggbb", or "any" but 0."""
    ignore: Label | None = None
    """The mask's value that is neither target nor background."""
    unlike: bool = False
    """Whether the mark is on what the concept is *not*, though it may look like it; the rest of that picture is left
    open."""

    def __post_init__(self) -> None:
        Selection.of(self.label, self.ignore)
        if isinstance(self.mask, (tuple, list)):
            raise SampleError(f"A mask must be a picture, got {self.mask!r}: a box is given as box=(x1, y1, x2, y2).")
        if self.box is not None:
            object.__setattr__(self, "box", _checked_box(self.box))
        if self.unlike and self.mask is None and self.box is None:
            raise SampleError("A reference that is unlike the concept needs a mark on what is not it: mask=… or box=….")


@dataclass(frozen=True, eq=False)
class ConceptSample:
    """One question with its answer: a picture, a concept in words, references, and the true mask.

    Raises:
        SampleError: the id is blank, the concept says nothing or cannot be read, or the task is unknown.
    """

    id: str
    """A name that is unique in its set, e.g. "coco128/000000000009"."""
    task: str
    """One of `conceptseg.taxonomy.TASKS`."""
    concept: str
    """What to segment, in words; blanks are put in order (`conceptseg.words`)."""
    image: ImageSource
    """The target picture."""
    mask: ImageSource | None = None
    """The true mask, at the picture's size (255 target, 128 ignored, 0 background); None when unknown."""
    references: tuple[Reference, ...] = ()
    """References in the order of the mosaic; the first may become the proxy."""
    rule: str | None = None
    """The true rule in words, where the data know it."""
    answer: str | None = None
    """The true answer, a noun phrase of one to three words, where the data know it."""
    group: str | None = None
    """A finer division of the set, e.g. the class or the video."""
    split: str | None = None
    """E.g. "train", "val", "test"."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Whatever else the data say; JSON values only, when it is to be written."""

    def __post_init__(self) -> None:
        if not self.id.strip():
            raise SampleError("A sample's id must not be blank.")
        try:
            object.__setattr__(self, "concept", check_words(self.concept))
            level_of(self.task)
        except InputError as error:
            raise SampleError(f"Sample {self.id!r}: {error}") from error
        object.__setattr__(self, "references", tuple(self.references))

    @property
    def level(self) -> Level:
        """CI, CD or CR, from the task."""
        return level_of(self.task)


def _checked_box(box: object) -> BoxXYXY:
    """Four numbers of any sequence as a box; text is no number, and what has no order no sequence."""
    try:
        if isinstance(box, (str, bytes, Set, Mapping)):
            raise TypeError
        corners = list(islice(box, 5))  # type: ignore[call-overload]
        if any(isinstance(value, (str, bytes, bool)) for value in corners):
            raise TypeError
        x1, y1, x2, y2 = map(float, corners)
    except (TypeError, ValueError, OverflowError) as error:
        raise SampleError(f"A box must be four numbers (x1, y1, x2, y2), got {box!r}.") from error
    if not (x1 < x2 and y1 < y2 and all(map(math.isfinite, (x1, y1, x2, y2)))):
        raise SampleError(
            f"A box must be (x1, y1, x2, y2) with x1 < x2 and y1 < y2, all finite, got {box!r}; "
            "x, y, width, height is (x, y, x + width, y + height)."
        )
    return x1, y1, x2, y2
