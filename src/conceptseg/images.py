"""One safe way to read a picture, a mask, and to resize either: the only image loading in the tree.

A picture becomes an upright 8-bit RGB `PIL.Image`, a mask a boolean array, whatever they were stored as; what had to be
guessed or scaled for that is told in notes. What cannot be read is an `ImageError` that names the source.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image

from conceptseg.decoding import MAX_PIXELS, Decoded, ImageSource, LazyImage, decode, describe_source
from conceptseg.depth import scale_16_bit, to_8_bit, widen_colours
from conceptseg.errors import ImageError
from conceptseg.masks import (
    IGNORE_VALUE,
    Label,
    MaskReading,
    Selection,
    read_colours,
    read_lossy,
    read_palette,
    read_values,
    read_with_alpha,
)

__all__ = [
    "IGNORE_VALUE",
    "MAX_PIXELS",
    "ImageSource",
    "LazyImage",
    "MaskReading",
    "ReadImage",
    "SelectedMask",
    "describe_source",
    "load_image",
    "load_mask",
    "load_mask_with_ignore",
    "read_image",
    "read_mask",
    "resize_image",
    "resize_mask",
    "select_label",
]


@dataclass(frozen=True, eq=False)
class ReadImage:
    """A picture as read."""

    image: Image.Image
    """Upright RGB that shares nothing with its source."""
    notes: tuple[str, ...] = ()
    """What was left out or scaled; sentences about the picture that are the same for every picture of a kind."""


@dataclass(frozen=True, eq=False)
class SelectedMask(LazyImage):
    """A mask together with the label that is its target and the value that is not judged; see `select_label`."""

    source: ImageSource
    """The mask as it is stored."""
    label: Label | None
    ignore: Label | None


def select_label(source: ImageSource, label: Label | None, ignore: Label | None) -> SelectedMask:
    """A mask source that carries its selection, for where a mask is only named and read later.

    Args:
        source: a label map or mask.
        label: as for `read_mask`.
        ignore: as for `read_mask`.

    Raises:
        InputError: `label` or `ignore` is nothing that selects.
    """
    Selection.of(label, ignore)
    chosen = [f"{what} {value}" for what, value in (("label", label), ("ignore", ignore)) if value is not None]
    name = f"{describe_source(source).strip(chr(39))} ({', '.join(chosen)})"
    return SelectedMask(partial(_levels_of, source, label, ignore), name, source, label, ignore)


def _levels_of(source: ImageSource, label: Label | None, ignore: Label | None) -> UInt8[np.ndarray, "h w"]:
    return read_mask(source, label=label, ignore=ignore).levels()


def load_image(source: ImageSource, *, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Read a picture as upright RGB: `read_image` without its notes.

    Args:
        source: As for `read_image`.
        max_pixels: Largest width × height that is decoded.

    Raises:
        ImageError: as from `read_image`.
    """
    return read_image(source, max_pixels=max_pixels).image


def read_image(source: ImageSource, *, max_pixels: int = MAX_PIXELS) -> ReadImage:
    """Read a picture as upright RGB, and say what was left out or scaled.

    EXIF orientation is applied; alpha is composited on white; palettes and CMYK are converted. Grey of more than 8 bits
    is scaled by the bits it uses (12 bits in a 16-bit file are not black), floating-point files by their range where
    that is not 0..1. Of an animation or a file of several pages the first is read. The result shares nothing with the
    source and carries no metadata.

    Args:
        source: A file name, the bytes of a file, a PIL image, or an array of shape (H, W), (H, W, 1), (H, W, 3) or
            (H, W, 4) with dtype bool, uint8 (0..255), uint16 (by the bits it uses) or float (0..1).
        max_pixels: Largest width × height that is decoded.

    Returns:
        The picture, and a note for everything that was scaled or left out.

    Raises:
        ImageError: the source is missing, no image, truncated, too large, an array of another shape or dtype, or
            something else altogether.
    """
    name = describe_source(source)
    if isinstance(source, LazyImage):
        source = source.make()
    if isinstance(source, np.ndarray):
        pixels, notes = _array_to_uint8(source, name)
        return ReadImage(_flatten(Image.fromarray(pixels), "array"), notes)
    decoded = decode(source, max_pixels)
    image, scaled = to_8_bit(decoded.image, name)
    if decoded.is_half:
        image, scaled = widen_colours(image)
    return ReadImage(_flatten(image, name), decoded.notes + scaled)


def load_mask(
    source: ImageSource,
    size_hw: tuple[int, int] | None = None,
    *,
    label: Label | None = None,
    ignore: Label | None = None,
) -> Bool[np.ndarray, "h w"]:
    """Read a mask as booleans, true on the target; ignored pixels count as background.

    Args:
        source: As for `read_mask`.
        size_hw: The size of the picture that the mask belongs to, to be checked.
        label: As for `read_mask`.
        ignore: As for `read_mask`.

    Raises:
        ImageError: as from `read_mask`.
    """
    return read_mask(source, size_hw, label=label, ignore=ignore).target


def load_mask_with_ignore(
    source: ImageSource,
    size_hw: tuple[int, int] | None = None,
    *,
    label: Label | None = None,
    ignore: Label | None = None,
) -> tuple[Bool[np.ndarray, "h w"], Bool[np.ndarray, "h w"]]:
    """Read a mask and the pixels it declares undecided: `read_mask` without its notes.

    Args:
        source: As for `read_mask`.
        size_hw: The size of the picture that the mask belongs to, to be checked.
        label: As for `read_mask`.
        ignore: As for `read_mask`.

    Returns:
        (target, ignore), two boolean arrays of shape (H, W), never both true.

    Raises:
        ImageError: as from `read_mask`.
    """
    reading = read_mask(source, size_hw, label=label, ignore=ignore)
    return reading.target, reading.ignore


def read_mask(
    source: ImageSource,
    size_hw: tuple[int, int] | None = None,
    *,
    label: Label | None = None,
    ignore: Label | None = None,
) -> MaskReading:
    """Read a mask, the pixels it declares undecided, and what had to be guessed.

    A mask says the same however it is stored: `conceptseg.masks.values.read_values` has the table for numbers (files
    and arrays of any depth), `read_colours` and `read_with_alpha` those for three and four channels, `read_palette`
    that for palettes. What could be a map of labels is refused, unless the label is given.

    Args:
        source: As for `read_image`; arrays may have any integer or float dtype.
        size_hw: The size of the picture that the mask belongs to, to be checked. A mask is never resized to fit: one
            of another size is more often a mask of another picture.
        label: The value that is the target (in a palette the index), a colour "#rrggbb", or "any" for all but 0.
        ignore: The value or colour that is not to be judged.

    Raises:
        ImageError: the source cannot be read, its size is not `size_hw`, or it is a label map and no label is given.
        InputError: `label` or `ignore` is nothing that selects.
    """
    if isinstance(source, SelectedMask) and label is None and ignore is None:
        return read_mask(source.source, size_hw, label=source.label, ignore=source.ignore)
    selection = Selection.of(label, ignore)
    name = describe_source(source)
    if isinstance(source, LazyImage):
        source = source.make()
    notes: tuple[str, ...] = ()
    if isinstance(source, np.ndarray):
        reading = _read_array_mask(source, name, selection)
    else:
        decoded = decode(source, MAX_PIXELS)
        reading, notes = _read_image_mask(decoded, name, selection), decoded.notes
    shape = reading.target.shape
    if size_hw is not None and shape != tuple(size_hw):
        raise ImageError(
            f"The mask {name} has {shape[0]}×{shape[1]} pixels (height × width), its image has "
            f"{size_hw[0]}×{size_hw[1]}. Give the mask of this very image, at its size"
            + (", upright as the image is seen (its EXIF orientation counts)." if shape == size_hw[::-1] else ".")
        )
    return MaskReading(reading.target, reading.ignore, notes + reading.notes)


def resize_image(image: Image.Image, size_hw: tuple[int, int]) -> Image.Image:
    """Stretch a picture to `size_hw` pixels, bilinear with antialiasing; the aspect ratio is not kept."""
    height, width = size_hw
    return image.resize((width, height), Image.Resampling.BILINEAR)


def resize_mask(mask: Bool[np.ndarray, "h w"], size_hw: tuple[int, int]) -> Bool[np.ndarray, "h2 w2"]:
    """Stretch a mask to `size_hw` pixels, each taking the value of the nearest source pixel."""
    height, width = size_hw
    return np.asarray(Image.fromarray(mask.astype(np.uint8)).resize((width, height), Image.Resampling.NEAREST)) > 0


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


def _array_to_uint8(array: np.ndarray, name: str) -> tuple[UInt8[np.ndarray, "h w *c"], tuple[str, ...]]:
    """A picture array as 8 bits a channel, (H, W) or (H, W, 3 | 4), and what was scaled."""
    array = _checked_shape(array, name)
    if array.dtype == np.uint8:
        return np.ascontiguousarray(array), ()
    if array.dtype == np.bool_:
        return array.astype(np.uint8) * np.uint8(255), ()
    if array.dtype == np.uint16:
        return scale_16_bit(array)
    if not np.issubdtype(array.dtype, np.floating):
        raise ImageError(f"{name}: expected dtype bool, uint8, uint16 or float, got {array.dtype}. Convert it first.")
    low, high = _finite_range(array, name)
    if low < 0 or high > 1:
        raise ImageError(
            f"{name}: float pictures must lie in 0..1, got {low:g}..{high:g}. Divide by the maximum, or pass uint8."
        )
    return np.rint(array * 255).astype(np.uint8), ()


def _checked_shape(array: np.ndarray, name: str) -> np.ndarray:
    shape = array.shape
    if isinstance(array, np.ma.MaskedArray) and np.ma.is_masked(array):
        raise ImageError(f"{name} is a masked array, whose masked pixels would count: fill them with a value first.")
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


def _read_image_mask(decoded: Decoded, name: str, selection: Selection) -> MaskReading:
    """An opened mask by how it is stored."""
    image = decoded.image
    if decoded.is_half and not np.asarray(image.convert("RGB")).any():
        raise ImageError(f"The mask {name} has 16 bits a channel, whose upper halves are 0. Save it with 8 bits.")
    if decoded.is_lossy and not image.has_transparency_data and image.mode in ("L", "RGB", "CMYK", "YCbCr"):
        return read_lossy(np.asarray(image if image.mode == "L" else _convert(image, "RGB", name)), name, selection)
    if image.mode == "P":
        return read_palette(np.asarray(image), _palette_of(image, name), name, selection)
    if image.mode.startswith(("I", "F")) or (image.mode in ("1", "L") and not image.info.get("transparency")):
        return read_values(np.asarray(image), name, selection)
    if image.has_transparency_data:
        return read_with_alpha(np.asarray(_convert(image, "RGBA", name)), name, selection)
    return read_colours(np.asarray(_convert(image, "RGB", name)), name, selection)


def _read_array_mask(array: np.ndarray, name: str, selection: Selection) -> MaskReading:
    array = _checked_shape(array, name)
    if array.ndim == 2:
        return read_values(array, name, selection)
    if array.dtype.kind not in "buif":
        raise ImageError(f"{name}: a mask must hold booleans or numbers, got dtype {array.dtype}.")
    if (array[..., 1:3] == array[..., :1]).all() and array.shape[2] == 3:
        return read_values(array[..., 0], name, selection)
    pixels = _array_to_uint8(array, name)[0]
    return (read_with_alpha if pixels.shape[2] == 4 else read_colours)(pixels, name, selection)


def _palette_of(image: Image.Image, name: str) -> UInt8[np.ndarray, "256 4"]:
    """The colour of every index, with its alpha."""
    strip = image.resize((256, 1))
    strip.putdata(list(range(256)))
    return np.asarray(_convert(strip, "RGBA", name))[0]
