"""COCO's run lengths of a mask, plain and compressed: column by column, background first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool

from conceptseg.errors import ImageError

__all__ = ["compress_runs", "count_target", "decode_run_lengths", "encode_run_lengths", "to_coco_rle"]

_FIRST = 48  # the digit 0 is written "0"


def to_coco_rle(mask: Bool[np.ndarray, "h w"], *, compressed: bool = True) -> dict[str, Any]:
    """A mask as COCO's `segmentation`: `{"size": [h, w], "counts": …}`.

    Args:
        mask: true on the target.
        compressed: `counts` is the text that pycocotools reads, else the list of run lengths.
    """
    runs = encode_run_lengths(mask)
    return {"size": list(mask.shape), "counts": compress_runs(runs) if compressed else runs}


def encode_run_lengths(mask: Bool[np.ndarray, "h w"]) -> list[int]:
    """The lengths of a mask's runs, column by column, background first (of length 0 where the target begins)."""
    flat = mask.ravel(order="F")
    changes = np.flatnonzero(np.diff(flat)) + 1
    runs: list[int] = np.diff(np.concatenate([[0], changes, [flat.size]])).tolist()
    return [0, *runs] if flat.size and flat[0] else runs


def decode_run_lengths(counts: str | Sequence[Any], size_hw: tuple[int, int]) -> Bool[np.ndarray, "h w"]:
    """The mask of COCO run lengths.

    Args:
        counts: The lengths of the runs, or the compressed text of them.
        size_hw: Height and width in pixels.

    Raises:
        ImageError: the runs are no whole numbers, or do not add up to the picture.
    """
    if not isinstance(counts, (str, list, tuple)):
        raise ImageError(f"Run lengths must be a list of numbers, or a text, got {type(counts).__name__}.")
    runs = _uncompressed(counts) if isinstance(counts, str) else list(counts)
    if not all(type(run) is int for run in runs):
        raise ImageError("Run lengths must be whole numbers.")
    if sum(runs) != size_hw[0] * size_hw[1] or min(runs, default=0) < 0:
        raise ImageError(f"Run lengths of {sum(runs)} pixels do not fill a picture of {size_hw[0]}×{size_hw[1]}.")
    values = np.arange(len(runs)) % 2 == 1
    return np.ascontiguousarray(np.repeat(values, runs).reshape(size_hw[1], size_hw[0]).T)


def count_target(counts: str | Sequence[Any]) -> int:
    """How many pixels run lengths mark, without drawing them; of damaged ones it says nothing.

    Args:
        counts: as for `decode_run_lengths`.
    """
    runs = _uncompressed(counts) if isinstance(counts, str) else counts
    return sum(run for run in runs[1::2] if type(run) is int)


def compress_runs(runs: Sequence[int]) -> str:
    """Run lengths as COCO's text.

    Base-32 digits from "0" on, lowest first, bit 32 for "more"; from the fourth run on the difference to the run before
    the last is written, and bit 16 of the last digit is its sign.
    """
    digits: list[int] = []
    for place, run in enumerate(runs):
        value = run - runs[place - 2] if place > 2 else run
        is_open = True
        while is_open:
            digit = value & 31
            value >>= 5
            is_open = value != (-1 if digit & 16 else 0)
            digits.append(_FIRST + (digit | 32 if is_open else digit))
    return bytes(digits).decode("ascii")


def _uncompressed(text: str) -> list[int]:
    """The run lengths of COCO's text; what is no such text gives runs that fill no picture."""
    runs: list[int] = []
    value, shift = 0, 0
    for character in text:
        digit = ord(character) - _FIRST
        value |= (digit & 31) << shift
        shift += 5
        if digit & 32:
            continue
        if digit & 16:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value, shift = 0, 0
    return runs
