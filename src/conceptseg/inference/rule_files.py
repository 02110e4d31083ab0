"""A rule as a file: a zip of `rule.json` and PNGs, written to the bit and read with suspicion.

Read is what this module writes, nothing else: the names of the entries are known beforehand, so that none can lead
elsewhere; nothing is unpacked to disk; sizes are bounded before and while reading, whatever the file says of itself.
"""

from __future__ import annotations

import json
import os
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from conceptseg.data.loading import mask_with_ignore
from conceptseg.errors import ImageError, InputError
from conceptseg.files import replacing
from conceptseg.images import load_image, read_mask
from conceptseg.inference.notes import MOST_NOTES
from conceptseg.inference.router import Route
from conceptseg.json_text import parse_json
from conceptseg.validation import explain_mistakes

__all__ = ["MOST_PICTURES", "PictureRecord", "RulePixels", "RuleRecord", "read_rule_file", "write_rule_file"]

_INDEX = "rule.json"
MOST_PICTURES = 4096
_LARGEST_INDEX = 8 << 20
_LONGEST_TEXT = 1 << 20
"""Letters of a response: far more than MLLMs write."""
_LARGEST_PICTURE = 64 << 20
_LARGEST_FILE = 2 << 30
_MOST_PIXELS = 1 << 24
_PNG = b"\x89PNG\r\n\x1a\n"
_DATE = (1980, 1, 1, 0, 0, 0)
"""The same rule is the same file, whenever it is written."""

_BROKEN = (zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, NotImplementedError, RuntimeError, OSError, EOFError)

_Box = tuple[float, float, float, float]
_Share = Field(ge=0, le=1)


@dataclass(frozen=True, eq=False)
class RulePixels:
    """A reference's pixels."""

    image: Image.Image
    mask: Bool[np.ndarray, "h w"] | None
    ignore: Bool[np.ndarray, "h w"] | None = None


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=False, allow_inf_nan=False)


class PictureRecord(_Record):
    """A reference, but for its pixels."""

    size_hw: tuple[int, int]
    box: _Box | None = None
    has_mask: bool
    name: str = Field(default="", max_length=4096)
    score: float | None = Field(default=None, ge=0, le=1)
    unlike: bool = False

    @model_validator(mode="after")
    def _is_a_box(self) -> PictureRecord:
        if self.box is not None and not (0 <= self.box[0] < self.box[2] and 0 <= self.box[1] < self.box[3]):
            raise ValueError("a box is x1, y1, x2, y2 with x1 < x2 and y1 < y2")
        if self.unlike and self.box is None and not self.has_mask:
            raise ValueError("a picture of what the concept is not must be marked")
        return self


class RuleRecord(_Record):
    """`rule.json`."""

    format: Literal["conceptseg-rule"] = "conceptseg-rule"
    format_version: Literal[1] = 1
    conceptseg: str = Field(max_length=64)
    concept: str = Field(min_length=1, max_length=10_000)
    text: str = Field(max_length=_LONGEST_TEXT)
    begun: str = Field(max_length=_LONGEST_TEXT)
    pictures: tuple[PictureRecord, ...] = Field(max_length=MOST_PICTURES)
    supports: tuple[int, ...] = Field(max_length=64)
    expected_iou: float | None = _Share
    interval: tuple[float, float] | None
    judged: int = Field(ge=0)
    suspects: tuple[int, ...]
    route: Route
    presence_threshold: float | None = _Share
    confidence_shift: float = Field(ge=-1, le=1)
    checkpoint: str = Field(max_length=64, pattern="^[0-9a-f]*$")
    model: str = Field(max_length=1024)
    notes: tuple[str, ...] = Field(max_length=MOST_NOTES)
    calls: int = Field(ge=0)

    @model_validator(mode="after")
    def _names_pictures(self) -> RuleRecord:
        for name, places in (("supports", self.supports), ("suspects", self.suspects)):
            if len(set(places)) < len(places) or not all(0 <= place < len(self.pictures) for place in places):
                raise ValueError(f"{name} must be places of pictures, each once")
            if any(self.pictures[place].unlike for place in places):
                raise ValueError(f"{name} must be places of pictures of the concept")
        return self

    def to_json(self) -> str:
        """What the file holds; a file without pictures of what the concept is not is read by earlier versions too."""
        told = self.model_dump(mode="json")
        for picture in told["pictures"]:
            if not picture["unlike"]:
                del picture["unlike"]
        return json.dumps(told, indent=2)


def write_rule_file(record: RuleRecord, pixels: Sequence[RulePixels], path: Path) -> Path:
    """Write a rule's file, whole or not at all, and return its path.

    Raises:
        InputError: the folder does not exist, the path is one, or the file would be larger than is read again.
    """
    if os.path.isdir(path) or not os.path.isdir(path.parent):
        raise InputError(f"A rule cannot be written to {path}: name a file in a folder that exists, e.g. defect.rule.")
    with replacing(path) as fresh:
        _write(record, pixels, fresh)
        size = fresh.stat().st_size
        if size > _LARGEST_FILE:
            raise InputError(
                f"The rule is too large to be kept: {size} bytes, of {_LARGEST_FILE} at most. Learn it from fewer than "
                f"{len(pixels)} references."
            )
    return path


def _write(record: RuleRecord, pixels: Sequence[RulePixels], path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(zipfile.ZipInfo(_INDEX, _DATE), record.to_json(), zipfile.ZIP_DEFLATED)
        for place, one in enumerate(pixels):
            archive.writestr(zipfile.ZipInfo(_image_name(place), _DATE), _png(one.image))
            mask = mask_with_ignore(one.mask, one.ignore)
            if mask is not None:
                archive.writestr(zipfile.ZipInfo(_mask_name(place), _DATE), _png(Image.fromarray(mask)))


def read_rule_file(path: Path) -> tuple[RuleRecord, list[RulePixels]]:
    """Read a rule's file.

    Raises:
        InputError: there is none, or it is not one of ours: what is wrong is told.
    """
    if not os.path.isfile(path):
        raise InputError(f"There is no rule file {str(path)!r}: `conceptseg rule learn` makes one.")
    if path.stat().st_size > _LARGEST_FILE:
        raise InputError(f"{path} is no rule: {path.stat().st_size} bytes are more than one has.")
    try:
        with zipfile.ZipFile(path) as archive:
            return _read(archive)
    except _BROKEN as error:
        raise InputError(f"{path} is no rule, or is damaged: {error or type(error).__name__}.") from error
    except InputError as error:
        raise InputError(f"{path} is no rule of ours: {error}") from error


def _read(archive: zipfile.ZipFile) -> tuple[RuleRecord, list[RulePixels]]:
    entries = archive.infolist()
    names = {entry.filename for entry in entries}
    if len(names) < len(entries) or len(entries) > 2 * MOST_PICTURES + 1 or _INDEX not in names:
        raise InputError(f"it should hold {_INDEX} and pictures, each once.")
    record = _parse(_content(archive, _INDEX, _LARGEST_INDEX))
    wanted = {_INDEX, *(_image_name(place) for place in range(len(record.pictures)))}
    wanted |= {_mask_name(place) for place, picture in enumerate(record.pictures) if picture.has_mask}
    if names != wanted:
        raise InputError(f"its entries are not those that {_INDEX} names, e.g. {sorted(names ^ wanted)[0][:80]!r}.")
    pixels = [_pixels(archive, place, told.has_mask) for place, told in enumerate(record.pictures)]
    for place, (told, seen) in enumerate(zip(record.pictures, pixels, strict=True)):
        if told.box is not None and not (told.box[2] <= seen.image.width and told.box[3] <= seen.image.height):
            raise InputError(f"the box of picture {place + 1} reaches beyond it.")
    return record, pixels


def _parse(content: bytes) -> RuleRecord:
    try:
        told: Any = parse_json(content.decode("utf-8"))
        return RuleRecord.model_validate(told)
    except ValidationError as error:
        raise InputError("; ".join(explain_mistakes(error, RuleRecord)) + ".") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{_INDEX} is no JSON ({error}).") from error


def _content(archive: zipfile.ZipFile, name: str, most: int) -> bytes:
    """An entry's bytes, of which no more than `most` are ever unpacked, whatever its header says."""
    with archive.open(name) as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise InputError(f"{name} is larger than {most} bytes.")
    return content


def _pixels(archive: zipfile.ZipFile, place: int, has_mask: bool) -> RulePixels:
    try:
        image = load_image(_png_content(archive, _image_name(place)), max_pixels=_MOST_PIXELS)
        if not has_mask:
            return RulePixels(image, None)
        content = _png_content(archive, _mask_name(place))
        load_image(content, max_pixels=_MOST_PIXELS)  # its own size is held against the limit first
        mask = read_mask(content, (image.height, image.width))
        return RulePixels(image, mask.target, mask.ignore if mask.ignore.any() else None)
    except ImageError as error:
        raise InputError(f"picture {place + 1} cannot be read: {error}") from error


def _png_content(archive: zipfile.ZipFile, name: str) -> bytes:
    content = _content(archive, name, _LARGEST_PICTURE)
    if not content.startswith(_PNG):
        raise InputError(f"{name} is no PNG.")
    return content


def _png(image: Image.Image) -> bytes:
    buffer = BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()


def _image_name(place: int) -> str:
    return f"pictures/{place:04d}.png"


def _mask_name(place: int) -> str:
    return f"pictures/{place:04d}.mask.png"
