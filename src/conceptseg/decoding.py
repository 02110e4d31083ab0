"""From files, bytes, PIL images and things made when read to upright pixels in the mode they are stored in."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import TypeAlias

import numpy as np
from PIL import Image, UnidentifiedImageError

from conceptseg.depth import drops_low_bytes
from conceptseg.errors import ImageError
from conceptseg.formats import advice_for, load_codecs

__all__ = [
    "MAX_PIXELS",
    "Decoded",
    "ImageSource",
    "LazyImage",
    "decode",
    "describe_source",
    "is_ready",
    "is_stored_turned",
    "upright_size_hw",
]


@dataclass(frozen=True, eq=False)
class LazyImage:
    """A picture or mask that is made when it is read, such as a mask drawn from polygons."""

    make: Callable[[], np.ndarray]
    """Gives an array that `load_image` or `load_mask` reads; a partial of a module's function can go to workers."""
    name: str
    """What messages call it, e.g. the annotation's file and entry."""


ImageSource: TypeAlias = str | Path | bytes | Image.Image | np.ndarray | LazyImage
"""A file name, an encoded file's bytes, a PIL image, an array, or something made when read: what is loaded here."""

MAX_PIXELS = 178_956_970
"""Largest picture read by default: Pillow's own limit against decompression bombs (half a gigabyte of RGB)."""

NOTE_FRAMES = "The file has several frames or pages, of which only the first was read."

NOTE_TURNED = (
    "The picture was turned upright, as its EXIF orientation says; its mask lies on the picture as it is seen."
)

_WEBP_HEAD = 1 << 14
_ORIENTATION_TAG = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_LOSSY = frozenset({"JPEG", "MPO", "HEIF", "AVIF"})
_SIDEWAYS = frozenset({5, 6, 7, 8})
_RUNS_PROGRAMS = {"EPS": "Ghostscript"}
_LAYERED = frozenset({"PSD"})  # their "frames" are layers, and what is read is all of them


def describe_source(source: ImageSource) -> str:
    """What error messages and logs call a source: its file name, or its kind and size; of anything else the type."""
    if isinstance(source, (str, Path)):
        return repr(str(source))
    if isinstance(source, bytes):
        return f"<{len(source)} bytes>"
    if isinstance(source, np.ndarray):
        return f"<array {source.shape} {source.dtype}>"
    if isinstance(source, LazyImage):
        return repr(source.name)
    if isinstance(filename := getattr(source, "filename", None), (str, Path)) and str(filename):
        return repr(str(filename))
    if isinstance(source, Image.Image):
        return f"<PIL image {source.mode} {source.width}×{source.height}>"
    return f"<{type(source).__name__}>"


@dataclass(frozen=True, eq=False)
class Decoded:
    """An upright image in its own mode."""

    image: Image.Image
    is_half: bool
    """Whether its 8 bits a channel are the upper half of 16."""
    is_lossy: bool
    """Whether its values were changed by compression."""
    notes: tuple[str, ...]
    """That frames were left out, or the picture was turned."""


def decode(source: str | Path | bytes | Image.Image, max_pixels: int) -> Decoded:
    """Any non-array source, fully read.

    Raises:
        ImageError: it is missing, no image, truncated, too large, or no source at all.
    """
    name = describe_source(source)
    if isinstance(source, Image.Image):
        return _read_pixels(source, name, max_pixels)
    if not isinstance(source, (str, Path, bytes)):
        raise ImageError(f"Expected an image as a file name, bytes, a PIL image or an array, got {name}.")
    with _open(source, name) as image:
        decoded = _read_pixels(image, name, max_pixels)
    return replace(decoded, is_lossy=True) if image.format == "WEBP" and not _is_lossless_webp(source) else decoded


def _open(source: str | Path | bytes, name: str) -> Image.Image:
    load_codecs()
    try:
        return Image.open(BytesIO(source) if isinstance(source, bytes) else Path(source))
    except FileNotFoundError as error:
        raise ImageError(f"There is no image file {name}; only local files are read.") from error
    except UnidentifiedImageError as error:
        advice = None if isinstance(source, bytes) else advice_for(Path(source).suffix.lower())
        hint = f": {advice}." if advice else "."
        raise ImageError(f"{name} is not an image in a format that Pillow reads{hint}") from error
    except Image.DecompressionBombError as error:
        raise ImageError(
            f"{name} is too large: {error} Shrink it first, or, if you trust it, raise PIL.Image.MAX_IMAGE_PIXELS "
            "and pass max_pixels."
        ) from error
    except Exception as error:  # decoders raise nearly anything on broken files; all of it means "cannot be read"
        raise ImageError(f"Cannot open the image {name}: {error}.") from error


def _read_pixels(image: Image.Image, name: str, max_pixels: int) -> Decoded:
    """The upright copy of an opened image; checks its size before decoding anything."""
    if image.width * image.height > max_pixels:
        raise ImageError(
            f"{name} has {image.width}×{image.height} pixels, more than the limit of {max_pixels}. Shrink it first, "
            "or pass a larger max_pixels."
        )
    if image.width == 0 or image.height == 0:
        raise ImageError(f"{name} is empty: {image.width}×{image.height} pixels.")
    if image.format in _RUNS_PROGRAMS:
        raise ImageError(
            f"{name} is an {image.format} file, which only {_RUNS_PROGRAMS[image.format]} can draw; "
            "that is not run on files of unknown origin. Convert it to PNG first."
        )
    is_half = drops_low_bytes(image)
    try:
        notes: tuple[str, ...] = (NOTE_FRAMES,) if _is_first_of_several(image) else ()
        turned = is_stored_turned(image)
        image.load()
    except Exception as error:  # as in `_open`
        raise ImageError(f"Cannot read the image {name}, it seems damaged or truncated: {error}.") from error
    orientation = _orientation(image)  # asked after loading, for Pillow turns TIFFs itself
    upright = image.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else image.copy()
    upright.format = image.format
    if turned or orientation in _UPRIGHT:
        notes += (NOTE_TURNED,)
    return Decoded(upright, is_half, image.format in _LOSSY, notes)


def _is_lossless_webp(source: str | Path | bytes) -> bool:
    """By the name of the chunk that holds the pixels, which stands near the beginning."""
    if isinstance(source, bytes):
        return b"VP8L" in source[:_WEBP_HEAD]
    with suppress(OSError), open(source, "rb") as file:
        return b"VP8L" in file.read(_WEBP_HEAD)
    return False


def _is_first_of_several(image: Image.Image) -> bool:
    """Whether more frames or pages follow; where the caller went to another one, that is the one they mean."""
    return image.format not in _LAYERED and getattr(image, "is_animated", False) and image.tell() == 0


def is_stored_turned(image: Image.Image) -> bool:
    """Whether an image that was just opened is to be turned or mirrored, as its EXIF orientation says."""
    return _orientation(image) in _UPRIGHT


def upright_size_hw(image: Image.Image) -> tuple[int, int]:
    """The height and width that an image which was just opened has once it is upright; its header alone is read."""
    is_told_upright = image.format == "TIFF"  # of which Pillow gives the size as it will be
    sideways = _orientation(image) in _SIDEWAYS and not is_told_upright
    return (image.width, image.height) if sideways else (image.height, image.width)


def is_ready(image: Image.Image) -> bool:
    """Whether an image is RGB, upright, opaque and all there is: reading it would change nothing and note nothing."""
    return (
        image.mode == "RGB"
        and not image.has_transparency_data
        and not is_stored_turned(image)
        and not _is_first_of_several(image)
    )


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 (upright) when there is none or the metadata is broken."""
    with suppress(Exception):  # broken metadata must not cost the picture
        return int(image.getexif().get(_ORIENTATION_TAG, 1))
    return 1
