"""Pictures as they travel: base64, data URIs and uploaded bytes, held against the limits before they are decoded."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from conceptseg.data import Reference
from conceptseg.errors import ImageError, InputError
from conceptseg.images import ReadImage, read_image
from conceptseg.interfaces.server.refusals import refuse

__all__ = ["PixelBudget", "RawReference", "decode_base64", "load_references"]

_DATA_URI = re.compile(r"data:(?:image/[\w.+-]+|application/octet-stream)?(?:;[\w=.+-]+)*;base64,", re.IGNORECASE)
_ADDRESS = re.compile(r"\s*[a-z][a-z0-9+.-]*:", re.IGNORECASE)
_BLANKS = re.compile(r"\s+")


@dataclass(frozen=True)
class RawReference:
    """A reference as it came."""

    image: bytes
    mask: bytes | None = None
    box: tuple[float, float, float, float] | None = None
    unlike: bool = False


class PixelBudget:
    """The pixels that all pictures of a request may have together."""

    def __init__(self, max_pixels: int) -> None:
        self._max = self._left = max_pixels

    def read(self, content: bytes, name: str) -> ReadImage:
        """A picture, read at once.

        Raises:
            ImageError: it is none, or has more pixels than are left; its header tells, before it is decoded.
        """
        if not content:
            raise ImageError(f"{name} is empty: 0 bytes.")
        try:
            read = read_image(content, max_pixels=max(self._left, 0))
        except ImageError as error:
            if "more than the limit" in str(error) or "too large" in str(error):
                raise refuse("too_large", f"{name}: {self._explain(str(error))}") from error
            raise ImageError(f"{name}: {error}") from error
        self._left -= read.image.width * read.image.height
        return read

    def check(self, content: bytes, name: str) -> bytes:
        """A picture as it came, once `read`: whoever reads it later tells what had to be guessed."""
        self.read(content, name)
        return content

    def _explain(self, reason: str) -> str:
        size = re.search(r"\d+×\d+ pixels", reason)
        came = f"it has {size.group()}" if size else "it has more pixels than any"
        return f"{came}; all pictures of a request together may have {self._max}. Shrink them, or send fewer."


def decode_base64(text: str, name: str) -> bytes:
    """The bytes of base64 or of a data URI.

    Raises:
        InputError: it is the address of a picture, which is never fetched, or no base64.
    """
    head = _DATA_URI.match(text)
    if head is None and _ADDRESS.match(text[:64]):
        raise InputError(
            f"{name} must be base64 or a data: URI with base64, got {text[:40]!r}: addresses and files are never "
            "fetched. Send the picture itself."
        )
    body = text[head.end() :] if head else text
    try:
        return base64.b64decode(_BLANKS.sub("", body).encode("ascii"), validate=True)
    except (binascii.Error, ValueError) as error:
        raise InputError(f"{name} is no base64 ({error}). Encode the picture's file: base64 -w0 photo.jpg.") from error


def load_references(raw: Sequence[RawReference], budget: PixelBudget) -> list[Reference]:
    """References in memory, held against the pixels that are left.

    Raises:
        ImageError: a picture or mask cannot be read.
        InputError: a box is none.
    """
    return [_load_reference(one, f"reference {place}", budget) for place, one in enumerate(raw, start=1)]


def _load_reference(raw: RawReference, name: str, budget: PixelBudget) -> Reference:
    image = budget.check(raw.image, name)
    mask = None if raw.mask is None else budget.check(raw.mask, f"the mask of {name}")
    return _named(Reference(image, mask=mask), raw, name)


def _named(reference: Reference, raw: RawReference, name: str) -> Reference:
    try:
        return replace(reference, box=raw.box, unlike=raw.unlike)
    except InputError as error:
        raise InputError(f"{name}: {error}") from error
