"""Whatever a mask or a picture holds: a reading that keeps its promises, or an error of ours."""

from __future__ import annotations

import io
import random
import warnings
from collections.abc import Callable

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from conceptseg.errors import ConceptSegError
from conceptseg.images import MaskReading, read_image, read_mask
from conceptseg.metrics import score

FORMATS = ("PNG", "JPEG", "GIF", "TIFF", "WEBP", "BMP", "PPM", "TGA", "JPEG2000", "ICO", "PCX", "SGI", "DDS")
MODES = ("RGB", "L", "P", "1", "LA", "RGBA", "CMYK", "I;16", "I", "F", "YCbCr", "PA")
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
SEEDS = st.integers(0, 2**32 - 1)


@st.composite
def mask_arrays(draw: Callable) -> np.ndarray:
    """A few values of one dtype, in blocks."""
    dtype = draw(st.sampled_from(list(ANY_NUMBER)))
    few = draw(st.lists(ANY_NUMBER[dtype], min_size=1, max_size=5))
    array = draw(arrays.arrays(dtype, draw(SHAPES), elements=st.sampled_from(few)))
    return array.repeat(draw(st.integers(1, 3)), axis=0).repeat(draw(st.integers(1, 3)), axis=1)


def damaged_file(seed: int) -> bytes:
    """A small picture of any mode and format, whole, cut off, or with some bytes changed."""
    rng = random.Random(seed)
    size = (rng.randint(1, 9), rng.randint(1, 9))
    levels = np.frombuffer(rng.randbytes(size[0] * size[1] * 3), np.uint8).reshape(size[1], size[0], 3)
    mode, file_format = rng.choice(MODES), rng.choice(FORMATS)
    data = bytearray(_encoded(_in_mode(levels, mode, rng), file_format, rng))
    for _ in range(rng.choice([0, 0, 1, 2, 5])):
        data[rng.randrange(len(data))] = rng.randrange(256)
    if rng.random() < 0.3:
        del data[rng.randint(0, len(data)) :]
    return bytes(data)


def _in_mode(levels: np.ndarray, mode: str, rng: random.Random) -> Image.Image:
    image = Image.fromarray(levels)
    if mode == "I;16":
        return Image.fromarray(levels[..., 0].astype(np.uint16) * rng.choice([1, 16, 257]))
    if mode == "F":
        return Image.fromarray(levels[..., 0].astype(np.float32) / np.float32(rng.choice([1, 255, 1e-30, np.nan])))
    return image.convert("P").convert("PA") if mode == "PA" else image.convert(mode)


def _encoded(image: Image.Image, file_format: str, rng: random.Random) -> bytes:
    """The image in the format, or as PNG where that does not take the mode."""
    options = {"exif": _exif(rng.randint(0, 9))} if rng.random() < 0.3 else {}
    if image.mode in ("P", "L", "RGB") and rng.random() < 0.3:
        options["transparency"] = 0 if image.mode != "RGB" else (0, 0, 0)
    if rng.random() < 0.1:
        options |= {"save_all": True, "append_images": [image]}
    for kind, more in ((file_format, options), (file_format, {}), ("PNG", {}), ("TIFF", {})):
        buffer = io.BytesIO()
        try:
            image.save(buffer, kind, **more)
            return buffer.getvalue()
        except Exception:  # encoders raise nearly anything on what they do not take; it is not what is tested
            continue
    raise AssertionError(f"no format takes {image.mode}")


def _exif(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def tried(source: object, label: object = None, ignore: object = None) -> MaskReading | None:
    """The reading, or None where it was refused in words; any other exception is a fault."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's remarks on the damage
            return read_mask(source, label=label, ignore=ignore)
    except ConceptSegError as error:
        assert str(error)
        return None


def check_reading(reading: MaskReading | None) -> bool:
    """Whether there is one; if so, it keeps its promises."""
    if reading is None:
        return False
    assert reading.target.dtype == bool == reading.ignore.dtype and reading.target.shape == reading.ignore.shape
    assert not (reading.target & reading.ignore).any()
    return True


def check_array(given: tuple[np.ndarray, object, object]) -> bool:
    """An array as a mask, with and without labels."""
    array, label, ignore = given
    check_reading(tried(array, label, ignore))
    plain = tried(array)
    if plain is not None and array.ndim == 2 and not plain.notes:
        _check_that_nothing_was_guessed(array, plain)
    return check_reading(plain)


def _check_that_nothing_was_guessed(array: np.ndarray, reading: MaskReading) -> None:
    """Without a word only these are read: 0 and one value that is 1 or the largest, with 128 ignored; probabilities."""
    values = set(np.unique(array).tolist())
    if array.dtype.kind == "f" and not np.array_equal(np.rint(array), array):
        assert np.array_equal(reading.target, array >= 0.5)
        return
    assert values <= {0, 1} or values <= {0, 128, 255} or values <= {0, 32896, 65535}
    assert np.array_equal(reading.target, np.isin(array, [1, 255, 65535]))
    assert np.array_equal(reading.ignore, np.isin(array, [128, 32896]))


def check_file(seed: int) -> bool:
    """A file as a picture and as a mask, plain and by a label."""
    data, rng = damaged_file(seed), random.Random(seed)
    check_reading(tried(data))
    check_reading(tried(data, rng.choice([1, 255, "any", "#ff0000"])))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert read_image(data).image.mode == "RGB"
    except ConceptSegError as error:
        assert str(error)
        return False
    return True


def stored_mask(seed: int) -> tuple[np.ndarray, bytes | np.ndarray]:
    """A target, and how somebody stored it: values, palette or colours, bit depth and format drawn at random."""
    rng = random.Random(seed)
    target = np.frombuffer(rng.randbytes(12), np.uint8).reshape(3, 4) < rng.choice([40, 128, 220])
    target = target.repeat(rng.randint(2, 4), axis=0).repeat(rng.randint(2, 4), axis=1)
    value, ground = rng.choice([(1, 0), (1, 0), (255, 0), (255, 0), (2, 0), (100, 0), (128, 0), (200, 0), (254, 0),
                                (0, 1), (0, 255), (1, 255), (7, 3), (255, 1)])  # fmt: skip
    levels = np.where(target, value, ground).astype(np.uint8)
    kind = rng.choice(["array", "L", "P", "RGB", "RGBA", "1", "I;16", "colour", "palette", "alpha"])
    if kind == "array":
        return target, levels.astype(rng.choice([np.uint8, np.int64, np.float32]))
    image = _stored(levels, target, kind, rng)
    return target, _encoded(image, rng.choice(["PNG", "TIFF", "WEBP", "GIF", "JPEG", "BMP"]), random.Random(1))


def _stored(levels: np.ndarray, target: np.ndarray, kind: str, rng: random.Random) -> Image.Image:
    if kind == "I;16":
        return Image.fromarray(levels.astype(np.uint16) * rng.choice([1, 257]))
    if kind == "1":
        return Image.fromarray(target ^ (levels[target].max(initial=0) == 0))
    colour = np.array([rng.choice([0, 70, 255]) for _ in range(3)], np.uint8)
    if kind == "colour":
        return Image.fromarray(target[..., None] * colour)
    if kind == "alpha":
        return Image.fromarray(np.dstack([target[..., None] * colour, target.astype(np.uint8) * 255]))
    if kind == "palette":
        image = Image.fromarray(levels)
        image.putpalette([rng.choice([0, 0, 128, 255]) for _ in range(768)])
        return image
    return Image.fromarray(levels).convert(kind)


def check_stored(seed: int) -> bool:
    """What is read without a word is the target, or what the file shows as one: never the ground, never a part."""
    target, source = stored_mask(seed)
    reading = tried(source)
    if reading is None:
        return False
    right = np.array_equal(reading.target, target)
    inverted = np.array_equal(reading.target, ~target)  # where the ground was given the higher value, or the colour
    void = np.array_equal(reading.target | reading.ignore, target) or np.array_equal(reading.ignore, target)
    alike = not reading.target.any() or reading.target.all()  # where the palette paints both of one colour
    assert right or inverted or void or alike or reading.notes, "a part of the target, without a word"
    return check_reading(reading)


def check_score(given: tuple[np.ndarray, np.ndarray | None, object]) -> bool:
    """Any two arrays: finite numbers, or an error of ours."""
    truth, prediction, label = given
    if prediction is None or prediction.shape != truth.shape:
        prediction = np.ones(truth.shape, bool)
    try:
        scores = score(prediction, truth, label=label if isinstance(label, int) else None)
    except ConceptSegError as error:
        assert str(error)
        return False
    assert all(np.isfinite(value) for value in scores.values())
    return True
