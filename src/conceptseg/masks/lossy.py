"""Masks whose levels a lossy compression (JPEG) has changed: black and white are told, labels are not."""

from __future__ import annotations

import numpy as np
from jaxtyping import UInt8

from conceptseg.errors import ImageError
from conceptseg.masks.colours import read_colours
from conceptseg.masks.reading import MaskReading, Selection
from conceptseg.masks.values import NOTE_GREY, read_values

__all__ = ["read_lossy"]

_NEAR = 8
"""How far compression may move black and white."""
_GREY_TOLERANCE = 16


def read_lossy(
    pixels: UInt8[np.ndarray, "h w"] | UInt8[np.ndarray, "h w 3"], name: str, selection: Selection
) -> MaskReading:
    """Read a mask that was compressed with losses.

    What is nearly black or nearly white counts as that; greys and colours between are read as from any other file.
    Levels are not what they were, so that none can be selected, and 0 and 1 cannot be told from each other.

    Args:
        pixels: grey levels or colours.
        name: what messages call the mask.
        selection: none may be given.

    Raises:
        ImageError: a label is asked for, all is nearly black but not quite, or as from `read_values` and
            `read_colours`.
    """
    advice = "its compression changes levels. Save the mask as PNG."
    if selection.is_given:
        raise ImageError(f"No label can be selected in the mask {name}: {advice}")
    if 0 < pixels.max() <= _NEAR:
        raise ImageError(f"The mask {name} holds nothing above {pixels.max()} of 255, be it labels or noise: {advice}")
    spread = 0 if pixels.ndim == 2 else int((pixels.max(axis=2) - pixels.min(axis=2)).max())
    grey = pixels if pixels.ndim == 2 else pixels.max(axis=2)
    is_white = grey >= 255 - _NEAR
    if spread <= _GREY_TOLERANCE and (is_white | (grey <= _NEAR)).all():
        is_exact = np.isin(pixels, (0, 255)).all()
        return MaskReading(is_white, np.zeros_like(is_white), () if is_exact else (NOTE_GREY,))
    return read_values(pixels, name, selection) if pixels.ndim == 2 else read_colours(pixels, name, selection)
