"""What people draw on references: boxes and strokes in the picture's own pixels, and the masks they come to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import numpy as np
from jaxtyping import Bool
from PIL import Image, ImageDraw
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from conceptseg.data import Reference
from conceptseg.errors import InputError
from conceptseg.geometry import BoxXYXY, clip_box, fill_box
from conceptseg.interfaces.app.uploads import Uploads
from conceptseg.interfaces.server.pictures import PixelBudget

__all__ = ["BoxMark", "Entry", "StrokeMark", "parse_entries", "read_reference"]

_Number = Annotated[float, Field(ge=-1e6, le=1e6, allow_inf_nan=False)]


class _Told(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class BoxMark(_Told):
    """A box, drawn from any corner to the opposite one."""

    kind: Literal["box"] = "box"
    box: tuple[_Number, _Number, _Number, _Number]

    @property
    def corners(self) -> BoxXYXY:
        """x1, y1, x2, y2 with x1 ≤ x2 and y1 ≤ y2."""
        x1, y1, x2, y2 = self.box
        return min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)


class StrokeMark(_Told):
    """A stroke of the brush, or of the eraser."""

    kind: Literal["brush", "erase"]
    points: Annotated[tuple[tuple[_Number, _Number], ...], Field(min_length=1, max_length=50_000)]
    radius: Annotated[float, Field(gt=0, le=1e5)]


class Entry(_Told):
    """A picture on the board with what is marked in it."""

    path: str = Field(max_length=4096)
    name: str = Field(default="", max_length=4096)
    mask: str | None = Field(default=None, max_length=4096)
    """A mask's file, which the strokes add to and take from."""
    marks: Annotated[
        tuple[Annotated[BoxMark | StrokeMark, Field(discriminator="kind")], ...], Field(max_length=5_000)
    ] = ()


_ENTRIES = TypeAdapter(list[Entry])


def parse_entries(told: Any) -> list[Entry]:
    """A board's value, from the browser.

    Raises:
        InputError: it is none.
    """
    if told in (None, ""):
        return []
    try:
        return _ENTRIES.validate_python(told)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise InputError(f"What is drawn cannot be read ({place}: {first['msg']}). Reload the page.") from error


def read_reference(
    entry: Entry, number: int, uploads: Uploads, budget: PixelBudget
) -> tuple[Reference, tuple[str, ...]]:
    """A picture with its marks as a reference, and what should be known of it.

    One box alone is a box. Strokes, or a mask's file, are a mask; a box beside them stays a box. Several boxes are a
    mask of what they cover, for a reference has one box.

    Raises:
        ImageError: the picture or its mask cannot be read.
        InputError: a box lies outside the picture.
    """
    name = entry.name or f"reference {number}"
    read = uploads.read(entry.path, name, budget)
    size_hw = (read.image.height, read.image.width)
    boxes = [_inside(mark.corners, size_hw, number) for mark in entry.marks if isinstance(mark, BoxMark)]
    strokes = [mark for mark in entry.marks if isinstance(mark, StrokeMark)]
    given = uploads.mask(entry.mask, read.image, name) if entry.mask else None
    notes = [f"Reference {number}: {note}" for note in read.notes]
    box = boxes[0] if len(boxes) == 1 else None
    if not strokes and given is None and len(boxes) < 2:
        return Reference(read.image, box=box), tuple(notes)
    start = np.zeros(size_hw, dtype=bool) if given is None else given
    if len(boxes) > 1:
        start = np.any([start, *(fill_box(one, size_hw) for one in boxes)], axis=0)
        notes.append(f"Reference {number}: its {len(boxes)} boxes count as one mask of what they cover.")
    return Reference(read.image, mask=_painted(start, strokes), box=box), tuple(notes)


def _inside(box: BoxXYXY, size_hw: tuple[int, int], number: int) -> BoxXYXY:
    x1, y1, x2, y2 = inside = clip_box(box, size_hw)
    if x2 - x1 < 1 or y2 - y1 < 1:
        raise InputError(f"A box on reference {number} is smaller than a pixel of its picture: draw it again.")
    return inside


def _painted(start: Bool[np.ndarray, "h w"], strokes: Sequence[StrokeMark]) -> Bool[np.ndarray, "h w"]:
    """A mask with strokes on it, in their order."""
    canvas = Image.fromarray(start.astype(np.uint8))
    draw = ImageDraw.Draw(canvas)
    for stroke in strokes:
        value, radius = int(stroke.kind == "brush"), stroke.radius
        if len(stroke.points) > 1:
            draw.line(stroke.points, fill=value, width=max(1, round(2 * radius)), joint="curve")
        for x, y in (stroke.points[0], stroke.points[-1]):
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=value)
    return np.asarray(canvas) > 0
