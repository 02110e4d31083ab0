"""Label Studio's own brush code reads what we write, and we read what it writes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from conceptseg.shapes import encode_brush
from conceptseg.shapes.brush_reading import decode_brush

sdk = pytest.importorskip("label_studio_sdk.converter.brush", reason="`make setup` installs label-studio-sdk")
MASKS = arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12)))


def doughnut() -> np.ndarray:
    rows, columns = np.mgrid[:300, :400]
    distance = np.hypot(rows - 150, columns - 200)
    return (distance < 120) & (distance > 60)


@settings(deadline=None)
@given(MASKS)
def test_its_decoder_reads_our_stream(mask: np.ndarray) -> None:
    channels = np.reshape(sdk.decode_rle(encode_brush(mask)), (*mask.shape, 4))
    assert np.array_equal(channels, np.repeat(mask[..., None] * 255, 4, axis=2))


@settings(deadline=None)
@given(MASKS)
def test_we_read_its_stream(mask: np.ndarray) -> None:
    assert np.array_equal(decode_brush(sdk.mask2rle(mask.astype(np.uint8) * 255), mask.shape), mask)


def test_a_large_doughnut_goes_both_ways() -> None:
    mask = doughnut()
    assert np.array_equal(np.reshape(sdk.decode_rle(encode_brush(mask)), (*mask.shape, 4))[..., 3] == 255, mask)
    assert np.array_equal(decode_brush(sdk.mask2rle(mask.astype(np.uint8) * 255), mask.shape), mask)
