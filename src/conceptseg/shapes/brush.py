"""Label Studio's run lengths of a brush mask: a stream of bits, row by row, each pixel repeated over four channels."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool

__all__ = ["encode_brush"]

_CHANNELS = 4
_WORD_BITS = 8
_LENGTH_BITS = (3, 4, 8, 16)
_REPEATED = 1


def encode_brush(mask: Bool[np.ndarray, "h w"]) -> list[int]:
    """A mask as the `rle` of Label Studio's `{"format": "rle", "rle": […]}`.

    The stream begins with the number of values (32 bits), the bits of a value less one (5), and four sizes of a
    length, less one each (4 × 4). Then for every run a flag (1: one value repeated), which of the four sizes its length
    has (2), the length less one, and the value, 0 or 255.

    Returns:
        Bytes; the last one is filled up with zeros.
    """
    bits = [f"{mask.size * _CHANNELS:032b}", f"{_WORD_BITS - 1:05b}", *(f"{size - 1:04b}" for size in _LENGTH_BITS)]
    bits += [_run_bits(length, value) for length, value in _runs(mask)]
    text = "".join(bits)
    stream = np.frombuffer(text.encode("ascii"), dtype=np.uint8) - ord("0")
    packed: list[int] = np.packbits(stream).tolist()
    return packed


def _runs(mask: Bool[np.ndarray, "h w"]) -> Iterator[tuple[int, int]]:
    """(length, value) of runs over all channels, none longer than the largest size can say."""
    flat = mask.ravel()
    edges = np.concatenate([[0], np.flatnonzero(np.diff(flat)) + 1, [flat.size]])
    longest = 1 << _LENGTH_BITS[-1]
    for begin, end in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        left = (end - begin) * _CHANNELS
        value = 255 if left and flat[begin] else 0
        while left:
            yield min(left, longest), value
            left -= min(left, longest)


def _run_bits(length: int, value: int) -> str:
    index = next(index for index, size in enumerate(_LENGTH_BITS) if length <= 1 << size)
    return f"{_REPEATED}{index:02b}{length - 1:0{_LENGTH_BITS[index]}b}{value:0{_WORD_BITS}b}"
