"""Masks of several channels: colours on black, and what is opaque on what is not."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Integer, UInt8

from conceptseg.errors import ImageError
from conceptseg.masks.reading import ANY, Label, MaskReading, Selection, flat_share, refusal
from conceptseg.masks.values import read_integers

__all__ = ["hex_colours", "read_colours", "read_shades", "read_with_alpha"]

NOTE_COLOUR = "The mask has one colour on black: the colour was read as target."
NOTE_SHADES = "The mask has shades of one colour on black: what is brighter than half of it was read as target."
NOTE_ALPHA = "The mask is partly transparent: what is opaque was read as target, whatever its colour."

_GREY_TOLERANCE = 16
_DARK = 16  # times darker than the brightest pixel is black
_OFF_LINE = 0.2
_NEAR = 8
_MOST_LABELS = 32


def read_colours(rgb: UInt8[np.ndarray, "h w 3"], name: str, selection: Selection) -> MaskReading:
    """Read a mask of three channels.

    | pixels | target |
    |---|---|
    | grey, exactly or as JPEG leaves it | as the grey level, by the table of `read_values` |
    | black and one colour, however dark | the colour |
    | shades of one colour on black (soft edges, JPEG) | what is brighter than half of the brightest |
    | several colours; no black (white paper with a red object) | refused |

    Args:
        rgb: 8 bits a channel.
        name: what messages call the mask.
        selection: labels are colours here, "#rrggbb", or "any" for all but black; numbers where all is grey.

    Raises:
        ImageError: the colours do not say what the target is and no label is given.
    """
    chroma = rgb.max(axis=2).astype(np.int16) - rgb.min(axis=2)
    if not chroma.any():
        return read_integers(rgb[..., 0], name, _as_level(selection))
    if chroma.max() <= _GREY_TOLERANCE and rgb.max() >= 224:
        return read_integers(np.rint(rgb.mean(axis=2)).astype(np.uint8), name, _as_level(selection))
    packed = _packed(rgb)
    ignored = _where(packed, selection.ignore, name)
    if selection.label is not None:
        target = (packed != 0 if selection.label == ANY else _where(packed, selection.label, name)) & ~ignored
        return MaskReading(target, ignored)
    reading = read_shades(rgb, ~ignored)
    if reading is None:
        raise refusal(name, "colours", hex_colours(packed[~ignored]), ' A colour is written "#rrggbb".')
    return MaskReading(reading.target, ignored, reading.notes)


def read_shades(rgb: UInt8[np.ndarray, "h w 3"], counted: Bool[np.ndarray, "h w"]) -> MaskReading | None:
    """Black and one colour, be it in shades; None where there is no black, or there are several colours."""
    brightness = rgb.max(axis=2).astype(np.float64)
    top = brightness[counted].max(initial=0)
    nothing = np.zeros(rgb.shape[:2], dtype=bool)
    if top == 0:
        return MaskReading(nothing, nothing)
    dark = brightness <= top / _DARK
    if not (dark & counted).any():
        return None
    if len(np.unique(_packed(rgb)[counted & ~dark])) == 1:
        return MaskReading(counted & ~dark, nothing, (NOTE_COLOUR,))
    share = _share_of_colour(rgb, counted, brightness >= 0.9 * top, top)
    if share is None:
        return None
    levels = np.rint(share * 255)
    between = counted & (levels > _NEAR) & (levels < 255 - _NEAR)
    few = 0 < len(np.unique(levels[between])) < 3
    if few or flat_share(_packed(rgb), between) > 0.5:
        return None
    return MaskReading(counted & (share > 0.5), nothing, (NOTE_SHADES,))


def read_with_alpha(rgba: UInt8[np.ndarray, "h w 4"], name: str, selection: Selection) -> MaskReading:
    """Read a mask of three channels and alpha.

    Constant alpha says nothing: the colours are read. All transparent and of one colour is an empty mask. Else what is
    opaque is the target: all that is not quite transparent where there are two alphas, else from half on. A selection
    looks at the colours alone.

    Args:
        rgba: 8 bits a channel.
        name: what messages call the mask.
        selection: as for `read_colours`.

    Raises:
        ImageError: alpha contradicts the colours (both could be the mask) or has several steps; or as `read_colours`.
    """
    rgb, alpha = rgba[..., :3], rgba[..., 3]
    low, high = int(alpha.min()), int(alpha.max())
    nothing = np.zeros(alpha.shape, dtype=bool)
    if selection.is_given or (low == high and high > 0):
        return read_colours(rgb, name, selection)
    if high == 0:
        if (rgb != rgb[0, 0]).any():
            raise ImageError(f"The mask {name} is wholly transparent but has colours. Save it without alpha.")
        return MaskReading(nothing, nothing)
    _refuse_opaque_labels(rgb, alpha >= 128, name)
    if low > 0:
        raise ImageError(f"The mask {name} has alpha {low}..{high}, nowhere transparent. Save it without alpha.")
    steps = np.unique(alpha)
    between = (alpha > _NEAR) & (alpha < high - _NEAR)
    if len(steps) > 2 and (high < 128 or flat_share(alpha, between) > 0.5):
        raise ImageError(f"The mask {name} has {len(steps)} steps of alpha in patches. Save the mask without alpha.")
    return MaskReading(alpha > 0 if len(steps) == 2 else alpha >= 128, nothing, (NOTE_ALPHA,))


def _refuse_opaque_labels(rgb: np.ndarray, is_opaque: np.ndarray, name: str) -> None:
    """A mask of its own in what is opaque, or labels: a cut-out photograph has many colours and few patches."""
    packed = _packed(rgb)
    seen = np.unique(packed[is_opaque])
    are_labels = 1 < len(seen) <= _MOST_LABELS and flat_share(packed, is_opaque) > 0.5
    if are_labels or seen.tolist() == [0, 0xFFFFFF]:
        found = hex_colours(packed[is_opaque])
        raise refusal(name, "opaque colours", found, " Or save it without alpha: what is opaque may be meant as well.")


def hex_colours(packed: np.ndarray) -> list[str]:
    """The colours that occur, as "#rrggbb", the most frequent first."""
    values, counts = np.unique(packed, return_counts=True)
    return [f"#{value:06x}" for value in values[np.argsort(-counts, kind="stable")].tolist()]


def _packed(rgb: np.ndarray) -> Integer[np.ndarray, "h w"]:
    wide = rgb.astype(np.int32)
    return (wide[..., 0] << 16) | (wide[..., 1] << 8) | wide[..., 2]


def _where(packed: np.ndarray, label: Label | None, name: str) -> Bool[np.ndarray, "h w"]:
    """The pixels of a colour."""
    if label is None:
        return np.zeros(packed.shape, dtype=bool)
    if not isinstance(label, str):
        raise refusal(name, "colours", hex_colours(packed), f' {label} is a number; a colour is written "#rrggbb".')
    return packed == int(label[1:], 16)


def _as_level(selection: Selection) -> Selection:
    """A selection of grey colours as one of grey levels."""
    return Selection(_level(selection.label), _level(selection.ignore))


def _level(label: Label | None) -> Label | None:
    is_grey = isinstance(label, str) and label[1:3] == label[3:5] == label[5:7]
    return int(str(label)[1:3], 16) if is_grey and label != ANY else label


def _share_of_colour(rgb: np.ndarray, counted: np.ndarray, is_bright: np.ndarray, top: float) -> np.ndarray | None:
    """How much of the brightest colour each pixel has, 0…1; None where too many are of another colour."""
    pixels = rgb.astype(np.float64)
    colour = pixels[is_bright & counted].mean(axis=0)
    share = np.clip(pixels @ colour / (colour @ colour), 0, 1)
    off = counted & (np.abs(pixels - share[..., None] * colour).max(axis=2) > _OFF_LINE * top)
    if off.sum() > 0.05 * counted.sum() or flat_share(_packed(rgb), off) > 0.1:
        return None
    return share
