"""Reading Label Studio's run lengths of a brush mask; `conceptseg.shapes.brush` has the format, and writes it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool

from conceptseg.errors import ImageError

__all__ = ["decode_brush"]

_CHANNELS = 4


def decode_brush(rle: Sequence[int], size_hw: tuple[int, int]) -> Bool[np.ndarray, "h w"]:
    """The mask of a brush: true where the last of a pixel's four channels is not 0.

    Args:
        rle: the stream's bytes, 0…255.
        size_hw: height and width in pixels; the stream must fill them.

    Raises:
        ImageError: the stream ends early, has other values, or is of a picture of another size.
    """
    try:
        bits = np.unpackbits(np.frombuffer(bytes(rle), dtype=np.uint8))
    except (TypeError, ValueError) as error:
        raise ImageError(f"A brush's rle must be bytes, 0…255: {error}.") from error
    total = size_hw[0] * size_hw[1] * _CHANNELS
    values = _values(_Bits(bits), total)
    mask: Bool[np.ndarray, "h w"] = values.reshape(*size_hw, _CHANNELS)[..., -1]
    return mask


class _Bits:
    """A stream that is read from its front."""

    def __init__(self, bits: np.ndarray) -> None:
        self._text = (bits + ord("0")).astype(np.uint8).tobytes()
        self._place = 0

    def take(self, count: int) -> int:
        piece = self._text[self._place : self._place + count]
        if len(piece) < count:
            raise ImageError("A brush's rle ends early.")
        self._place += count
        return int(piece, 2)


def _values(bits: _Bits, total: int) -> Bool[np.ndarray, " total"]:
    """Which of all values are not 0."""
    told = bits.take(32)
    word_bits, sizes = bits.take(5) + 1, [bits.take(4) + 1 for _ in range(4)]
    if told != total:
        raise ImageError(
            f"A brush's rle of {told // _CHANNELS} pixels does not fill a picture of {total // _CHANNELS}."
        )
    values, place = np.zeros(total, dtype=bool), 0
    while place < total:
        is_repeated, length = bits.take(1), bits.take(sizes[bits.take(2)]) + 1
        if place + length > total:
            raise ImageError("A brush's rle has more values than it says.")
        values[place : place + length] = (
            bits.take(word_bits) > 0 if is_repeated else [bits.take(word_bits) > 0 for _ in range(length)]
        )
        place += length
    return values
