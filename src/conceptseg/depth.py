"""Pictures of more than 8 bits a channel as 8 bits, by the range that they really use, and a word about it."""

from __future__ import annotations

import sys

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from conceptseg.errors import ImageError

__all__ = ["NOTE_DARK_16_BIT_COLOUR", "drops_low_bytes", "scale_16_bit", "stretch_floats", "to_8_bit", "widen_colours"]

NOTE_FLOATS = "The picture's floating-point values leave 0..1 or fill little of it; they were stretched to their range."
NOTE_DARK_16_BIT_COLOUR = "The picture has 16 bits a channel, whose upper halves, all that is read, are 0: it is black."

_DEPTHS = (8, 10, 12, 14, 16)
_FAINT = 1 / 16


def to_8_bit(image: Image.Image, name: str) -> tuple[Image.Image, tuple[str, ...]]:
    """A grey image of more than 8 bits as 8-bit grey, other images as they are, and what was scaled.

    Raises:
        ImageError: it holds negative values, more than 16 bits, or no numbers.
    """
    if not image.mode.startswith(("I", "F")):
        return image, ()
    values = np.asarray(image)
    if image.mode == "F":
        grey, notes = stretch_floats(values, name)
        return Image.fromarray(grey), notes
    if values.min() < 0 or values.max() > 65535:
        raise ImageError(f"{name} holds values {values.min()}..{values.max()}; expected 8 or 16 bits a pixel.")
    grey, notes = scale_16_bit(values)
    return Image.fromarray(grey), notes


def scale_16_bit(values: np.ndarray) -> tuple[UInt8[np.ndarray, "*shape"], tuple[str, ...]]:
    """Values in 0..65535 as 8 bits; full scale is the smallest usual depth (8, 10, 12, 14 or 16 bits) that holds them.

    Cameras, scanners and microscopes write 10, 12 or 14 bits into 16-bit files, which are black at 16 bits' full scale.
    """
    highest = int(values.max())
    bits = next(bits for bits in _DEPTHS if highest < 2**bits) if highest else 16
    full = 2**bits - 1
    scaled = ((values.astype(np.uint32) * 255 + full // 2) // full).astype(np.uint8)
    return scaled, () if bits == 16 else (f"The picture uses {bits} of its 16 bits; it was scaled by those.",)


def stretch_floats(values: np.ndarray, name: str) -> tuple[UInt8[np.ndarray, "*shape"], tuple[str, ...]]:
    """Floating-point values as 8 bits: 0..1 as it is; what leaves it, or stays below a sixteenth, by its own range.

    Raises:
        ImageError: some are NaN or infinite.
    """
    low, high = float(values.min()), float(values.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise ImageError(f"{name}: holds NaN or infinite values.")
    if (low >= 0 and _FAINT <= high <= 1) or low == high == 0:
        return np.rint(values * 255).astype(np.uint8), ()
    low = min(low, 0.0)
    share = (values.astype(np.float64) - low) / max(high - low, sys.float_info.min)
    return np.rint(np.clip(share, 0, 1) * 255).astype(np.uint8), (NOTE_FLOATS,)


def drops_low_bytes(image: Image.Image) -> bool:
    """Whether an image that is not loaded yet has 16 bits a channel, of which Pillow gives the upper 8."""
    tiles = getattr(image, "tile", None) or ()
    return image.mode in ("RGB", "RGBA", "LA") and any(";16" in str(tile[3]) for tile in tiles)


def widen_colours(image: Image.Image) -> tuple[Image.Image, tuple[str, ...]]:
    """The upper halves of 16-bit colours, scaled if less than 16 bits were used; coarse, but not black."""
    pixels = np.array(image)
    colours = pixels if image.mode == "RGB" else pixels[..., :-1]
    highest = int(colours.max())
    if highest == 0:
        return image, (NOTE_DARK_16_BIT_COLOUR,)
    bits = next(bits for bits in _DEPTHS if highest < 2 ** (bits - 8))
    if bits == 16:
        return image, ()
    full = 2 ** (bits - 8) - 1
    colours[...] = (colours.astype(np.uint16) * 255 + full // 2) // full
    note = (
        f"The picture uses {bits} of its 16 bits a channel; it was scaled by those, in steps of {255 // full} levels."
    )
    return Image.fromarray(pixels, image.mode), (note,)
