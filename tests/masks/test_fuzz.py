"""Whatever a mask or a picture holds: a reading that keeps its promises, or an error of ours."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from conceptseg.errors import ConceptSegError
from conceptseg.images import MaskReading, read_image, read_mask
from conceptseg.metrics import score

FORMATS = ("PNG", "JPEG", "GIF", "TIFF", "WEBP", "BMP", "PPM", "TGA", "JPEG2000")
VALUES = st.sampled_from([0, 1, 2, 3, 7, 18, 100, 127, 128, 129, 200, 224, 247, 250, 254, 255])
DEEP = st.one_of(VALUES, st.sampled_from([256, 4095, 26001, 32767, 32896, 33005, 65278, 65535]))
ANY_NUMBER = {
    np.uint8: VALUES,
    np.uint16: DEEP,
    np.int32: st.one_of(DEEP, st.integers(-(2**31), 2**31 - 1)),
    np.int64: st.one_of(DEEP, st.integers(-(2**63), 2**63 - 1)),
    np.uint64: st.one_of(DEEP, st.integers(0, 2**64 - 1)),
    np.float32: st.one_of(DEEP, st.floats(width=32)),
    np.float64: st.one_of(st.sampled_from([0.0, 0.5, 1.0, 1 / 255, 7 / 255]), st.floats()),
    np.bool_: st.booleans(),
}
SHAPES = st.one_of(
    st.tuples(st.integers(1, 7), st.integers(1, 7)),
    st.tuples(st.integers(1, 5), st.integers(1, 5), st.sampled_from([1, 3, 4])),
)
LABELS = st.one_of(st.none(), VALUES, st.sampled_from(["any", "7", "#ff0000", "#070707", -1, 2**40, 10**400]))


@st.composite
def mask_arrays(draw: Callable) -> np.ndarray:
    dtype = draw(st.sampled_from(list(ANY_NUMBER)))
    few = draw(st.lists(ANY_NUMBER[dtype], min_size=1, max_size=5))
    array = draw(arrays.arrays(dtype, draw(SHAPES), elements=st.sampled_from(few)))
    return array.repeat(draw(st.integers(1, 3)), axis=0).repeat(draw(st.integers(1, 3)), axis=1)


@st.composite
def damaged_files(draw: Callable) -> bytes:
    """A small picture, whole, cut off, or with some bytes changed."""
    levels = draw(arrays.arrays(np.uint8, (6, 8, 3), elements=VALUES))
    image = Image.fromarray(levels).convert(draw(st.sampled_from(["RGB", "L", "P", "1"])))
    buffer = io.BytesIO()
    try:
        image.save(buffer, draw(st.sampled_from(FORMATS)))
    except OSError:  # the format does not take the mode
        image.convert("RGB").save(buffer, "PNG")
    data = bytearray(buffer.getvalue())
    for _ in range(draw(st.integers(0, 5))):
        data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    return bytes(data[: draw(st.integers(len(data) // 2, len(data)))])


def tried(source: object, label: object = None, ignore: object = None) -> MaskReading | None:
    """The reading, or None where it was refused in words; any other exception is a fault."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's remarks on the damage
            return read_mask(source, label=label, ignore=ignore)
    except ConceptSegError as error:
        assert str(error)
        return None


def check_reading(reading: MaskReading | None) -> None:
    if reading is not None:
        assert reading.target.dtype == bool == reading.ignore.dtype and reading.target.shape == reading.ignore.shape
        assert not (reading.target & reading.ignore).any()


def check_array(array: np.ndarray, label: object, ignore: object) -> None:
    check_reading(tried(array, label, ignore))
    plain = tried(array)
    check_reading(plain)
    if plain is not None and array.ndim == 2 and not plain.notes:
        _check_that_nothing_was_guessed(array, plain)


def _check_that_nothing_was_guessed(array: np.ndarray, reading: MaskReading) -> None:
    """Without a word only these are read: 0 and one value that is 1 or the largest, with 128 ignored; probabilities."""
    values = set(np.unique(array).tolist())
    if array.dtype.kind == "f" and not np.array_equal(np.rint(array), array):
        assert np.array_equal(reading.target, array >= 0.5)
        return
    assert values <= {0, 1} or values <= {0, 128, 255} or values <= {0, 32896, 65535}
    assert np.array_equal(reading.target, np.isin(array, [1, 255, 65535]))
    assert np.array_equal(reading.ignore, np.isin(array, [128, 32896]))


def check_file(data: bytes, label: object) -> None:
    check_reading(tried(data))
    check_reading(tried(data, label))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert read_image(data).image.mode == "RGB"
    except ConceptSegError as error:
        assert str(error)


def check_score(truth: np.ndarray, label: object) -> None:
    if truth.ndim == 2:
        try:
            scores = score(np.ones(truth.shape, bool), truth, label=label if isinstance(label, int) else None)
        except ConceptSegError:
            return
        assert all(np.isfinite(value) for value in scores.values())


@settings(max_examples=200, deadline=None)
@given(mask_arrays(), LABELS, LABELS)
def test_arrays(array: np.ndarray, label: object, ignore: object):
    check_array(array, label, ignore)


@settings(max_examples=100, deadline=None)
@given(damaged_files(), LABELS)
def test_files(data: bytes, label: object):
    check_file(data, label)


@settings(max_examples=60, deadline=None)
@given(mask_arrays(), LABELS)
def test_truths(truth: np.ndarray, label: object):
    check_score(truth, label)


@pytest.mark.slow
@settings(max_examples=20_000, deadline=None)
@given(mask_arrays(), LABELS, LABELS)
def test_many_arrays(array: np.ndarray, label: object, ignore: object):
    check_array(array, label, ignore)


@pytest.mark.slow
@settings(max_examples=10_000, deadline=None)
@given(damaged_files(), LABELS)
def test_many_files(data: bytes, label: object):
    check_file(data, label)
