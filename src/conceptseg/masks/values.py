"""Masks of one channel: what their numbers mean."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Shaped

from conceptseg.errors import ImageError
from conceptseg.masks.reading import ANY, IGNORE_VALUE, MaskReading, Selection, flat_share, in_words, refusal

__all__ = ["NOTE_VOID", "read_integers", "read_values"]

NOTE_VOID = "The mask holds 0, 1 and its largest possible value: 1 was read as target and the largest as ignored."
NOTE_NO_TARGET = "The mask marks no target: beside 0 it holds 128 alone, which stands for ignored pixels."
NOTE_GREY = "The mask has grey levels: what lies above half was read as target."
NOTE_LEVEL = "The mask's one value beside 0 is not 1 or the largest possible; it was read as target."
NOTE_FAINT = "The mask's probabilities stay below 0.5: nothing of it was read as target."
NOTE_FRACTIONS = "The mask's fractions are multiples of 1/255: they were read as 8-bit values."
NOTE_LABEL_ABSENT = "The mask does not hold the label that was asked for: it has no target."
NOTE_VOID_JUDGED = "The mask holds its largest possible value beside other labels; it is judged, for ignore is not set."

_NEAR_8_BIT = 8
_NEAR_16_BIT = 257
_DEPTHS = tuple(2**bits - 1 for bits in range(9, 16))


def read_values(
    values: Shaped[np.ndarray, "h w"], name: str, selection: Selection, counted: Bool[np.ndarray, "h w"] | None = None
) -> MaskReading:
    """Read a one-channel mask by the table below; what the table refuses is an `ImageError` that lists the labels.

    | values | target | ignored |
    |---|---|---|
    | booleans; 0 and 1 | 1 | |
    | 0 and 255 (more than 8 bits: 0 and 65535) | the larger | |
    | 0, 1 and 255 (or 65535), with or without 0 | 1 | the largest |
    | 0, 128 and 255 (or 0, 32896 and 65535), this project's own form; 0 and 128 | 255 | 128 |
    | 0 and 511, 1023, 4095, 16383 …: full scale of 9 to 15 bits | the larger | |
    | 0 and one value within an eighth of the largest | that value | |
    | grey levels that reach the upper eighth, some above half besides the very largest, and not mostly in flat patches: soft edges, JPEG | above half | 128 |
    | fractions in 0..1 | from 0.5 on | |
    | fractions in 0..1 that are all multiples of 1/255 | as the 8-bit values | as those |
    | whole numbers stored as floats | as integers | as those |
    | everything else: 0 and 2; 0…18 and 255; ids; negative; nothing near the largest; greys in flat patches | refused | |

    With a label that value is the target and nothing is guessed; with `ignore` alone its pixels are set aside, the rest
    is read by the table, and no other value counts as ignored. A value that is a guess comes with a note.

    Args:
        values: numbers or booleans.
        name: what messages call the mask.
        selection: the label and the value to ignore, where they are given.
        counted: the pixels to look at; others are neither target nor ignored.

    Raises:
        ImageError: the values are those of a label map and no label is given; or they are no numbers, or not finite,
            or fractions outside of 0..255.
    """  # noqa: E501 - a table's row is one line
    if values.dtype.kind not in "buif":
        raise ImageError(f"{name}: a mask must hold booleans or numbers, got dtype {values.dtype}.")
    if values.dtype.kind in "bui":
        return read_integers(values, name, selection, counted)
    if not np.isfinite(values).all():
        raise ImageError(f"{name}: holds NaN or infinite values.")
    if float(np.abs(values).max()) > 2**53:
        raise ImageError(f"{name}: mask values as large as {np.abs(values).max():g} are no labels. Convert it first.")
    whole = np.rint(values)
    if np.array_equal(whole, values):
        return read_integers(whole.astype(np.int64), name, selection, counted)
    return _read_fractions(values, name, selection, counted)


def read_integers(
    values: Shaped[np.ndarray, "h w"], name: str, selection: Selection, counted: Bool[np.ndarray, "h w"] | None = None
) -> MaskReading:
    """Booleans and integers of any width by the table of `read_values`.

    Args:
        values: as they are stored.
        name: what messages call the mask.
        selection: the label and the value to ignore, where they are given.
        counted: the pixels to look at.

    Raises:
        ImageError: they are those of a label map and no label is given.
    """
    if values.dtype == np.bool_:
        values = values.astype(np.uint8)
    for wanted in (selection.label, selection.ignore):
        if isinstance(wanted, str) and wanted != ANY:
            raise ImageError(f"The mask {name} holds numbers, not colours: {wanted!r} selects nothing in it.")
    nothing = np.zeros(values.shape, dtype=bool)
    outside = nothing if counted is None else ~counted
    ignored = nothing if selection.ignore is None else (values == selection.ignore) & ~outside
    found = _distinct(values[~(ignored | outside)] if (ignored | outside).any() else values)
    if selection.label is not None:
        return _selected(values, found, selection, ignored, outside)
    reading = _by_table(values, found, name, keeps_ignore=selection.ignore is None, outside=ignored | outside)
    return MaskReading(reading.target & ~(ignored | outside), (reading.ignore & ~outside) | ignored, reading.notes)


def _selected(
    values: np.ndarray, found: list[int], selection: Selection, ignored: np.ndarray, outside: np.ndarray
) -> MaskReading:
    label = selection.label
    target = (values != 0 if label == ANY else values == label) & ~(ignored | outside)
    notes = [] if target.any() else [NOTE_LABEL_ABSENT]
    others = set(found) - {0, label}
    if selection.ignore is None and others & {255, 65535} and (label != ANY or len(others) > 1):
        notes.append(NOTE_VOID_JUDGED)
    return MaskReading(target, ignored, tuple(notes))


def _by_table(
    values: np.ndarray, found: list[int], name: str, *, keeps_ignore: bool, outside: np.ndarray
) -> MaskReading:
    """The rows of the table for integers, in their order."""
    present, highest = set(found), max(found, default=0)
    top = 255 if highest <= 255 else 65535
    half = IGNORE_VALUE if top == 255 else IGNORE_VALUE * 257
    nothing = np.zeros(values.shape, dtype=bool)
    if present <= {0, 1}:
        return MaskReading(values == 1, nothing)
    if min(present) < 0 or highest > 65535:
        raise refusal(name, "values", in_words(found))
    if present <= {0, top}:
        return MaskReading(values == top, nothing)
    if keeps_ignore and present <= {0, 1, top}:
        return MaskReading(values == 1, values == top, (NOTE_VOID,))
    if keeps_ignore and present <= {0, half, top}:
        return MaskReading(values == top, values == half, () if top in present else (NOTE_NO_TARGET,))
    if present <= {0, highest} and (highest in _DEPTHS or highest >= top - top // 8):
        return MaskReading(values == highest, nothing, (NOTE_LEVEL,))
    _require_soft(np.where(outside, 0, values) if outside.any() else values, found, top, name)
    return MaskReading(values > half, (values == half) if keeps_ignore else nothing, (NOTE_GREY,))


def _require_soft(values: np.ndarray, found: list[int], top: int, name: str) -> None:
    """Refuse grey levels that may be labels.

    A soft mask has pixels that are surely target and some between half and that; and what is neither black nor white
    lies along edges, not in patches.
    """
    near = _NEAR_8_BIT if top == 255 else _NEAR_16_BIT
    below_top = max((value for value in found if value != top), default=0)
    reaches = max(found) >= top - top // 8 and below_top > (IGNORE_VALUE if top == 255 else IGNORE_VALUE * 257)
    between = (values > near) & (values < top - near)
    if not reaches or len(found) < 3 or flat_share(values, between) > 0.5:
        raise refusal(name, "values", in_words(found), " If these are grey levels, threshold them first.")


def _read_fractions(
    values: np.ndarray, name: str, selection: Selection, counted: Bool[np.ndarray, "h w"] | None
) -> MaskReading:
    """Floats that are not all whole: probabilities, 8-bit values divided by 255, or levels in 0..255."""
    low, high = float(values.min()), float(values.max())
    if low < 0 or high > 255 or 1 < high <= IGNORE_VALUE:
        raise ImageError(f"{name}: mask values {low:g}..{high:g}; expected whole numbers, or probabilities in 0..1.")
    levels = values if high > 1 else values.astype(np.float64) * 255
    tolerance = max(1e-3, 255 * float(np.finfo(values.dtype).eps))
    are_bytes = high <= 1 and float(np.abs(levels - np.rint(levels)).max()) <= tolerance
    if are_bytes or high > 1:
        reading = read_integers(np.rint(levels).astype(np.int64), name, selection, counted)
        return MaskReading(reading.target, reading.ignore, ((NOTE_FRACTIONS,) if are_bytes else ()) + reading.notes)
    if selection.is_given:
        raise ImageError(f"{name}: holds fractions, in which no label can be selected. Threshold it, or pass integers.")
    target = (values >= 0.5) if counted is None else (values >= 0.5) & counted
    return MaskReading(target, np.zeros_like(target), () if target.any() else (NOTE_FAINT,))


def _distinct(values: np.ndarray) -> list[int]:
    """The values that occur, in order."""
    if values.size == 0:
        return []
    low, high = int(values.min()), int(values.max())
    if high - low > 1 << 20 or max(high, -low) >> 62:
        return [int(value) for value in np.unique(values)]
    shifted = values.ravel() if low >= 0 and values.dtype.itemsize <= 2 else values.ravel().astype(np.int64) - low
    start = 0 if low >= 0 and values.dtype.itemsize <= 2 else low
    return [int(value) + start for value in np.flatnonzero(np.bincount(shifted))]
