"""Label Studio's brush: by hand, and read by a decoder that knows nothing of the encoder."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from conceptseg.shapes import encode_brush


def decoded(rle: list[int]) -> np.ndarray:
    """The values of a stream, from the description of the format: a big number that is eaten from its front."""
    text = "".join(f"{byte:08b}" for byte in rle)
    place = 0

    def read(bits: int) -> int:
        nonlocal place
        place += bits
        return int(text[place - bits : place], 2)

    total, word_bits, sizes = read(32), read(5) + 1, [read(4) + 1 for _ in range(4)]
    values: list[int] = []
    while len(values) < total:
        is_repeated, size = read(1), sizes[read(2)]
        length = read(size) + 1
        values += [read(word_bits)] * length if is_repeated else [read(word_bits) for _ in range(length)]
    assert len(values) == total and set(text[place:]) <= {"0"} and len(text) - place < 8
    return np.array(values)


def test_one_pixel_by_hand() -> None:
    # 4 values; words of 8 bits; lengths of 3, 4, 8, 16 bits; one run: repeated, first size, 4 - 1, value 255
    bits = f"{4:032b}" + "00111" + "0010" + "0011" + "0111" + "1111" + "1" + "00" + "011" + "11111111" + "0" * 5
    assert encode_brush(np.ones((1, 1), dtype=bool)) == [int(bits[i : i + 8], 2) for i in range(0, len(bits), 8)]


@given(arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9))))
def test_the_decoder_gives_four_equal_channels(mask: np.ndarray) -> None:
    channels = decoded(encode_brush(mask)).reshape(*mask.shape, 4)
    assert np.array_equal(channels, np.repeat(mask[..., None] * 255, 4, axis=2))


def test_long_runs_are_parted() -> None:
    mask = np.zeros((200, 200), dtype=bool)
    mask[150:] = True
    assert np.array_equal(decoded(encode_brush(mask))[::4].reshape(200, 200), mask * 255)
