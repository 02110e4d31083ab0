"""One safe way to read a picture, a mask, and to resize either: the only image loading in the tree.

A picture becomes an upright 8-bit RGB `PIL.Image`, a mask a boolean array, whatever they were stored as. What cannot
be read is an `ImageError` that names the source.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TypeAlias

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image, UnidentifiedImageError

from conceptseg.errors import ImageError
from conceptseg.formats import advice_for, load_codecs

__all__ = [
    "IGNORE_VALUE",
    "MAX_PIXELS",
    "ImageSource",
    "LazyImage",
    "describe_source",
    "load_image",
    "load_mask",
    "load_mask_with_ignore",
    "resize_image",
    "resize_mask",
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

IGNORE_VALUE = 128
"""The grey level that on-disk masks give to pixels that count neither as target nor as background."""

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
_RUNS_PROGRAMS = {"EPS": "Ghostscript"}


def load_image(source: ImageSource, *, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Read a picture as upright RGB.

    EXIF orientation is applied; alpha is composited on white; palettes, CMYK and 16-bit grey are converted to their
    full range; an animation gives its first frame. The result shares nothing with the source and carries no metadata.

    Args:
        source: A file name, the bytes of a file, a PIL image, or an array of shape (H, W), (H, W, 1), (H, W, 3) or
            (H, W, 4) with dtype bool, uint8 (0..255), uint16 (0..65535) or float (0..1).
        max_pixels: Largest width × height that is decoded.

    Returns:
        A PIL image of mode "RGB".

    Raises:
        ImageError: the source is missing, no image, truncated, too large, an array of another shape or dtype, or
            something else altogether.
    """
    name = describe_source(source)
    if isinstance(source, LazyImage):
        source = source.make()
    if isinstance(source, np.ndarray):
        return _flatten(Image.fromarray(_array_to_uint8(source, name)), "array")
    return _flatten(_to_8_bit(_decode(source, max_pixels), name), name)


def load_mask(source: ImageSource, size_hw: tuple[int, int] | None = None) -> Bool[np.ndarray, "h w"]:
    """Read a mask as booleans, true on the target; ignored pixels (128) count as background.

    See `load_mask_with_ignore` for what is understood.

    Args:
        source: As for `load_image`.
        size_hw: The size of the picture that the mask belongs to, to be checked.

    Raises:
        ImageError: the source cannot be read, or its size is not `size_hw`.
    """
    return load_mask_with_ignore(source, size_hw)[0]


def load_mask_with_ignore(
    source: ImageSource, size_hw: tuple[int, int] | None = None
) -> tuple[Bool[np.ndarray, "h w"], Bool[np.ndarray, "h w"]]:
    """Read a mask and the pixels it declares undecided.

    Understood are, in this order: varying alpha (the target is what is opaque, whatever its colour); boolean or 0/1
    values; palettes with colours (black is background, every other colour target); grey levels (above 128 target,
    128 ignored, below background); coloured pixels (target when a channel reaches 128). Float arrays are
    probabilities in 0..1 (target from 0.5 on) or levels in 0..255; integer arrays of any width hold 0/1 or levels.
    A map of several labels 0, 1, 2, … is no mask: select one label first, `labels == 2`.

    Args:
        source: As for `load_image`; arrays may have any integer or float dtype.
        size_hw: The size of the picture that the mask belongs to, to be checked. A mask is never resized to fit: one
            of another size is more often a mask of another picture.

    Returns:
        (target, ignore), two boolean arrays of shape (H, W), never both true.

    Raises:
        ImageError: the source cannot be read, or its size is not `size_hw`.
    """
    name = describe_source(source)
    if isinstance(source, LazyImage):
        source = source.make()
    if isinstance(source, np.ndarray):
        levels = _array_mask_levels(source)
    else:
        levels = _image_mask_levels(_decode(source, MAX_PIXELS), name)
    if size_hw is not None and levels.shape != tuple(size_hw):
        raise ImageError(
            f"The mask {name} has {levels.shape[0]}×{levels.shape[1]} pixels (height × width), its image has "
            f"{size_hw[0]}×{size_hw[1]}. Give the mask of this very image, at its size."
        )
    return levels > IGNORE_VALUE, levels == IGNORE_VALUE


def resize_image(image: Image.Image, size_hw: tuple[int, int]) -> Image.Image:
    """Stretch a picture to `size_hw` pixels, bilinear with antialiasing; the aspect ratio is not kept."""
    height, width = size_hw
    return image.resize((width, height), Image.Resampling.BILINEAR)


def resize_mask(mask: Bool[np.ndarray, "h w"], size_hw: tuple[int, int]) -> Bool[np.ndarray, "h2 w2"]:
    """Stretch a mask to `size_hw` pixels, each taking the value of the nearest source pixel."""
    height, width = size_hw
    return np.asarray(Image.fromarray(mask.astype(np.uint8)).resize((width, height), Image.Resampling.NEAREST)) > 0


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


def _decode(source: str | Path | bytes | Image.Image, max_pixels: int) -> Image.Image:
    """Any non-array source as a fully read, upright image in its own mode."""
    name = describe_source(source)
    if isinstance(source, Image.Image):
        return _read_pixels(source, name, max_pixels)
    if not isinstance(source, (str, Path, bytes)):
        raise ImageError(f"Expected an image as a file name, bytes, a PIL image or an array, got {name}.")
    with _open(source, name) as image:
        return _read_pixels(image, name, max_pixels)


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


def _read_pixels(image: Image.Image, name: str, max_pixels: int) -> Image.Image:
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
    try:
        image.load()
    except Exception as error:  # as in `_open`
        raise ImageError(f"Cannot read the image {name}, it seems damaged or truncated: {error}.") from error
    orientation = _orientation(image)  # asked after loading, for Pillow turns TIFFs itself
    upright = image.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else image.copy()
    upright.format = image.format
    return upright


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 (upright) when there is none or the metadata is broken."""
    with suppress(Exception):  # broken metadata must not cost the picture
        return int(image.getexif().get(_ORIENTATION_TAG, 1))
    return 1


def _to_8_bit(image: Image.Image, name: str) -> Image.Image:
    """Grey images of more than 8 bits as 8-bit grey over their full range; other images as they are."""
    if not image.mode.startswith(("I", "F")):
        return image
    values = np.asarray(image)
    if image.mode == "F":
        return Image.fromarray(_array_to_uint8(values, name))
    if values.min() < 0 or values.max() > 65535:
        raise ImageError(f"{name} holds values {values.min()}..{values.max()}; expected 8 or 16 bits a pixel.")
    # Mode "I" holds 16-bit PNGs, but also 32-bit files of 8-bit content.
    is_8_bit = image.mode == "I" and image.format != "PNG" and values.max() <= 255
    return Image.fromarray(values.astype(np.uint8) if is_8_bit else _scale_16_bit(values))


def _scale_16_bit(values: np.ndarray) -> UInt8[np.ndarray, "*shape"]:
    return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _flatten(image: Image.Image, name: str) -> Image.Image:
    """An 8-bit image of any mode as plain RGB without metadata, transparency composited on white."""
    if image.has_transparency_data:
        layer = _convert(image, "RGBA", name)
        image = Image.new("RGBA", layer.size, "white")
        image.alpha_composite(layer)
    rgb = _convert(image, "RGB", name)
    rgb.info = {}  # a stale EXIF orientation would turn the picture again when it is saved or reloaded
    return rgb


def _convert(image: Image.Image, mode: str, name: str) -> Image.Image:
    try:
        return image.convert(mode)
    except ValueError as error:
        raise ImageError(f"{name} has the colour mode {image.mode!r}, which cannot be made {mode}: {error}.") from error


def _array_to_uint8(array: np.ndarray, name: str) -> UInt8[np.ndarray, "h w *c"]:
    """A picture array as 8 bits a channel, (H, W) or (H, W, 3 | 4)."""
    array = _checked_shape(array, name)
    if array.dtype == np.uint8:
        return np.ascontiguousarray(array)
    if array.dtype == np.bool_:
        return array.astype(np.uint8) * np.uint8(255)
    if array.dtype == np.uint16:
        return _scale_16_bit(array)
    if not np.issubdtype(array.dtype, np.floating):
        raise ImageError(f"{name}: expected dtype bool, uint8, uint16 or float, got {array.dtype}. Convert it first.")
    low, high = _finite_range(array, name)
    if low < 0 or high > 1:
        raise ImageError(
            f"{name}: float pictures must lie in 0..1, got {low:g}..{high:g}. Divide by the maximum, or pass uint8."
        )
    return np.rint(array * 255).astype(np.uint8)


def _checked_shape(array: np.ndarray, name: str) -> np.ndarray:
    shape = array.shape
    if 0 in shape or not (len(shape) == 2 or (len(shape) == 3 and shape[2] in (1, 3, 4))):
        hint = ""
        if len(shape) == 3 and shape[0] in (1, 3, 4):
            hint = " It looks like channels first: pass array.transpose(1, 2, 0)."
        raise ImageError(f"{name}: expected a shape (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), not empty.{hint}")
    return array[..., 0] if len(shape) == 3 and shape[2] == 1 else array


def _finite_range(array: np.ndarray, name: str) -> tuple[float, float]:
    low, high = float(array.min()), float(array.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise ImageError(f"{name}: holds NaN or infinite values.")
    return low, high


def _image_mask_levels(image: Image.Image, name: str) -> UInt8[np.ndarray, "h w"]:
    """An opened mask as grey levels, 255 for certain target, 128 for ignored, 0 for background."""
    if image.has_transparency_data and not image.mode.startswith(("I", "F")):
        return _colour_levels(np.asarray(_convert(image, "RGBA", name)))
    if image.mode == "P":
        return _palette_levels(np.asarray(_convert(image, "RGB", name)))
    if image.mode in ("1", "L") or image.mode.startswith(("I", "F")):
        return _grey_levels(np.asarray(image), name)
    return _colour_levels(np.asarray(_convert(image, "RGB", name)))


def _array_mask_levels(array: np.ndarray) -> UInt8[np.ndarray, "h w"]:
    name = describe_source(array)
    array = _checked_shape(array, name)
    if array.dtype.kind not in "buif":
        raise ImageError(f"{name}: a mask must hold booleans or numbers, got dtype {array.dtype}.")
    return _grey_levels(array, name) if array.ndim == 2 else _colour_levels(_array_to_uint8(array, name))


def _grey_levels(values: np.ndarray, name: str) -> UInt8[np.ndarray, "h w"]:
    """One-channel masks of any dtype: booleans, 0/1, probabilities, 8- or 16-bit levels."""
    low, high = _finite_range(values, name)
    if low < 0 or high > 65535 or (values.dtype.kind == "f" and 1 < high <= IGNORE_VALUE):
        raise ImageError(
            f"{name}: mask values {low:g}..{high:g}; expected booleans, 0/1, 0..255, 16 bits, or probabilities in 0..1."
        )
    if high <= 1:
        return np.where(values >= 0.5, 255, 0).astype(np.uint8)
    return np.rint(values).astype(np.uint8) if high <= 255 else _scale_16_bit(values)


def _palette_levels(rgb: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h w"]:
    """Palette masks by colour, as indices mean nothing: greys are levels, with colours all but black is target."""
    if _is_grey(rgb).all():
        return _grey_levels(rgb[..., 0], "palette mask")
    return np.where(rgb.any(axis=2), 255, 0).astype(np.uint8)


def _colour_levels(pixels: UInt8[np.ndarray, "h w c"]) -> UInt8[np.ndarray, "h w"]:
    """RGB and RGBA masks: alpha when it says anything, else grey levels, with coloured pixels made 0 or 255."""
    if pixels.shape[2] == 4:
        alpha = pixels[..., 3]
        if alpha.min() != alpha.max() or alpha.max() == 0:
            return np.where(alpha >= 128, 255, 0).astype(np.uint8)
    rgb = pixels[..., :3]
    coloured = np.where(rgb.max(axis=2) >= 128, 255, 0)
    levels = np.where(_is_grey(rgb), rgb[..., 0], coloured)
    return _grey_levels(levels, "colour mask")


def _is_grey(rgb: UInt8[np.ndarray, "h w 3"]) -> Bool[np.ndarray, "h w"]:
    return (rgb[..., 0] == rgb[..., 1]) & (rgb[..., 1] == rgb[..., 2])
