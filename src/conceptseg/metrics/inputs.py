"""From what callers have (bool, 0/1, 0..255, floats, ignore labels) to the one form the metrics compute on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from jaxtyping import Bool, Float, Shaped
from numpy.typing import ArrayLike

from conceptseg.errors import InputError
from conceptseg.masks import IGNORE_VALUE, NOTE_VOID, Selection, read_integers
from conceptseg.masks.reading import flat_share
from conceptseg.metrics.protocols import Protocol

__all__ = ["IgnoreAs", "Pair", "make_pair"]

IgnoreAs: TypeAlias = Literal["exclude", "foreground", "background"]
"""What becomes of pixels that carry the ignore label: ReasonSeg is evaluated in all three ways."""


_MOST_LABELS = 32
_FAINT = 20 / 255
_SHOWN = 6


@dataclass(frozen=True, eq=False)
class Pair:
    """A prediction and its truth, both 0 where a pixel is not counted."""

    prediction: Bool[np.ndarray, "h w"] | Float[np.ndarray, "h w"]
    """Bool when every value is 0 or 1, float64 in 0..1 otherwise."""
    truth: Bool[np.ndarray, "h w"]
    valid: Bool[np.ndarray, "h w"] | None
    """The pixels that count; None for all of them."""

    @property
    def is_binary(self) -> bool:
        """Whether the prediction is a mask, so that everything follows from counts."""
        return self.prediction.dtype == np.bool_

    @property
    def count(self) -> int:
        """The number of pixels that count."""
        return self.truth.size if self.valid is None else int(np.count_nonzero(self.valid))

    def error(self) -> Bool[np.ndarray, "h w"] | Float[np.ndarray, "h w"]:
        """|prediction - truth| per pixel, of the prediction's dtype."""
        return self.prediction ^ self.truth if self.is_binary else np.abs(self.prediction - self.truth)


def make_pair(
    prediction: ArrayLike,
    truth: ArrayLike,
    protocol: Protocol,
    ignore: int | None,
    ignore_as: IgnoreAs,
    label: int | None = None,
) -> Pair:
    """Check both arrays, resize them as the protocol says, and settle what is foreground and what is not counted.

    Raises:
        InputError: an array is not two-dimensional or is empty, the shapes differ, a value is out of range, the truth
            is a label map and no label is given, or `ignore_as` is unknown.
    """
    if ignore_as not in ("exclude", "foreground", "background"):
        raise InputError(f"ignore_as must be 'exclude', 'foreground' or 'background', got {ignore_as!r}.")
    predicted, true = _checked_arrays(prediction, truth)
    mask, ignored = _read_truth(true, protocol, label, ignore)
    if protocol.square_px is not None:
        predicted, mask, ignored = (_resized(array, protocol.square_px) for array in (predicted, mask, ignored))
    if not ignored.any():
        return Pair(_prediction_values(predicted), mask, None)
    if ignore_as != "exclude":
        return Pair(_prediction_values(predicted), mask | (ignored & (ignore_as == "foreground")), None)
    valid = ~ignored
    return Pair(_prediction_values(predicted) * valid, mask, valid)


def _checked_arrays(prediction: ArrayLike, truth: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    given = {"prediction": prediction, "truth": truth}
    for name, array in given.items():
        if isinstance(array, np.ma.MaskedArray) and np.ma.is_masked(array):
            raise InputError(
                f"The {name} is a masked array, whose masked pixels would count: fill them with a value, and give that "
                "of the truth as ignore=."
            )
    arrays = {name: np.asarray(array) for name, array in given.items()}
    for name, array in arrays.items():
        if array.ndim != 2 or array.size == 0:
            raise InputError(f"The {name} must be a two-dimensional array (height, width), got shape {array.shape}.")
        if array.dtype.kind not in "buif":
            raise InputError(f"The {name} must be bool, integer or float, got dtype {array.dtype}.")
    if arrays["prediction"].shape != arrays["truth"].shape:
        raise InputError(
            f"Prediction and truth must have one shape, got {arrays['prediction'].shape} and "
            f"{arrays['truth'].shape}. Bring the prediction to the truth's size first."
        )
    return arrays["prediction"], arrays["truth"]


def _resized(array: Shaped[np.ndarray, "h w"], side_px: int) -> Shaped[np.ndarray, "side side"]:
    """Nearest neighbour, sampling at pixel centres: no new values arise, so labels stay labels."""
    if array.shape == (side_px, side_px):
        return array
    rows, columns = ((np.arange(side_px) * 2 + 1) * length // (2 * side_px) for length in array.shape)
    return np.ascontiguousarray(array[rows][:, columns])


def _prediction_values(array: Shaped[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"] | Float[np.ndarray, "h w"]:
    """The prediction in 0..1, as bool when it is a mask; never stretched by its own minimum and maximum."""
    if array.dtype.kind == "b":
        return array
    top = _checked_top(array, "prediction")
    if top == 255:
        _refuse_labels(array)
    elif array.dtype.kind == "f" and 0 < array.max() <= _FAINT:
        levels = array.astype(np.float64) * 255
        if np.abs(levels - np.rint(levels)).max() < 1e-3:
            _refuse_labels(np.rint(levels).astype(np.uint8))
    binary = array > top / 2
    return binary if np.array_equal(binary * top, array) else array.astype(np.float64) / top


def _refuse_labels(array: Shaped[np.ndarray, "h w"]) -> None:
    """Refuse a prediction that is a map of labels, which would count as faint: 1 of 255, 2 of 255 …"""
    values = np.unique(array)
    faint = values[(values > 0) & (values < 255)]
    has_top = values[-1] == 255
    if len(faint) == 0 or faint.max() > IGNORE_VALUE or (has_top and faint.tolist() == [IGNORE_VALUE]):
        return
    if (len(values) <= 2 and not has_top) or (
        len(values) <= _MOST_LABELS and flat_share(array, np.isin(array, faint)) > 0.5
    ):
        raise InputError(
            f"The prediction holds {', '.join(map(str, values[:_SHOWN].tolist()))}{', …' * (len(values) > _SHOWN)}, "
            f"which would count as {faint[0]} of 255 and so on: a map of labels? Pass prediction == label, or 0 and 1; "
            "probabilities as floats in 0..1."
        )


def _read_truth(
    array: Shaped[np.ndarray, "h w"], protocol: Protocol, label: int | None, ignore: int | None
) -> tuple[Bool[np.ndarray, "h w"], Bool[np.ndarray, "h w"]]:
    """(foreground, not judged) of a truth: integers by the one table of masks, 8-bit greys cut by the protocol."""
    if array.dtype.kind == "f":
        ignored = _equal(array, ignore)
        if label is not None:
            return _equal(array, label) & ~ignored, ignored
        kept = np.where(ignored, 0, array)
        _checked_top(kept, "truth")
        if 0 < kept.max() <= _FAINT:
            raise InputError(
                f"The truth's largest value is {kept.max():.4g}, of which nothing counts as foreground: a mask of "
                "labels divided by 255? Pass truth > 0, or 0 and 1."
            )
        return kept > 0.5, ignored
    reading = read_integers(array, "given as truth", Selection(label, ignore))
    by_table = label is not None or NOTE_VOID in reading.notes or array.max() > 255
    ignored = reading.ignore if by_table or ignore is not None else np.zeros(array.shape, dtype=bool)
    kept = np.where(ignored, 0, array)
    if by_table or kept.max() <= 1:
        return reading.target, ignored
    return kept > protocol.truth_above, ignored


def _equal(array: Shaped[np.ndarray, "h w"], value: int | None) -> Bool[np.ndarray, "h w"]:
    """Where an array holds a value; nowhere, if floats cannot hold it."""
    if value is None or abs(value) > 2**53:
        return np.zeros(array.shape, dtype=bool)
    found: Bool[np.ndarray, "h w"] = array == value
    return found


def _checked_top(array: Shaped[np.ndarray, "h w"], name: str) -> int:
    """The value that means 1: 255 for integers of which any is above 1, otherwise 1."""
    low, high = array.min(), array.max()
    is_integer = array.dtype.kind in "ui"
    top = 255 if is_integer and high > 1 else 1
    if not (low >= 0 and high <= top):
        expected = "0..255" if is_integer else "0..1"
        raise InputError(f"The {name} must lie in {expected} for dtype {array.dtype}, got {low} to {high}.")
    return top
