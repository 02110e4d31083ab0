"""One mask in every way that people store one, and what may be told of it."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageFilter

TARGET = np.zeros((40, 50), bool)
TARGET[10:30, 5:25] = True
VOID = np.zeros_like(TARGET)
VOID[30:34, 5:25] = True
ONES = TARGET.astype(np.uint8)
WITH_VOID = np.where(VOID, 255, ONES).astype(np.uint8)

_Y, _X = np.mgrid[:120, :120]
DISC = Image.fromarray(((_Y - 60) ** 2 + (_X - 60) ** 2 < 40**2).astype(np.uint8) * 255)
BLACK, WHITE, RED, DARK, VOC_VOID = (0, 0, 0), (255, 255, 255), (255, 0, 0), (70, 0, 0), (224, 224, 192)


def encode(image: Image.Image, file_format: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def painted(background: tuple[int, ...], target: tuple[int, ...], where: np.ndarray = TARGET) -> np.ndarray:
    """A colour for the target and one for everything else."""
    return np.where(where[..., None], np.array(target, np.uint8), np.array(background, np.uint8))


def with_palette(indices: np.ndarray, **colours: tuple[int, int, int]) -> Image.Image:
    """A palette image; `_7=RED` gives index 7 a colour, all others are (9, 9, 9)."""
    table = [(9, 9, 9)] * 256
    for name, colour in colours.items():
        table[int(name[1:])] = colour
    image = Image.fromarray(indices.astype(np.uint8))
    image.putpalette([channel for colour in table for channel in colour])
    return image


VOC = {"_0": BLACK, "_1": (128, 0, 0), "_2": (0, 128, 0), "_7": (128, 128, 128), "_255": VOC_VOID}

READ = {
    "bool array": TARGET,
    "0/1": ONES,
    "0/1 int64": ONES.astype(np.int64),
    "0/255": ONES * 255,
    "16-bit 0/1": ONES.astype(np.uint16),
    "16-bit 0/65535": ONES.astype(np.uint16) * 65535,
    "12 bits in 16": ONES.astype(np.uint16) * 4095,
    "0/250": ONES * 250,
    "float 0/1": ONES.astype(np.float32),
    "float 0/255": ONES.astype(np.float64) * 255,
    "0/1 over 255": ONES / np.float32(255),
    "probabilities": np.where(TARGET, 0.83, 0.21),
    "one channel": ONES[..., None],
    "three channels of 0/1": np.repeat(ONES[..., None], 3, axis=2),
    "three channels of 16 bits": np.repeat(ONES[..., None].astype(np.uint16) * 65535, 3, axis=2),
    "L": encode(Image.fromarray(ONES * 255)),
    "L of 0/1": encode(Image.fromarray(ONES)),
    "1": encode(Image.fromarray(TARGET)),
    "LA": encode(Image.fromarray(ONES * 255).convert("LA")),
    "RGB": encode(Image.fromarray(ONES * 255).convert("RGB")),
    "RGBA": encode(Image.fromarray(ONES * 255).convert("RGBA")),
    "CMYK": encode(Image.fromarray(ONES * 255).convert("CMYK"), "TIFF"),
    "I;16": encode(Image.fromarray(ONES.astype(np.uint16) * 65535)),
    "I;16 of 0/1": encode(Image.fromarray(ONES.astype(np.uint16)), "TIFF"),
    "I of 0/1": encode(Image.fromarray(ONES.astype(np.int32)), "TIFF"),
    "F": encode(Image.fromarray(ONES.astype(np.float32)), "TIFF"),
    "P of greys": encode(Image.fromarray(ONES * 255).convert("P")),
    "P of black and white": encode(Image.fromarray(ONES * 255).convert("RGB").convert("P")),
    "P of Pascal VOC": encode(with_palette(ONES, **VOC)),
    "P with white first": encode(with_palette(1 - ONES, _0=WHITE, _1=BLACK)),
    "P of few colours": encode(Image.fromarray(painted(BLACK, RED)).quantize(4)),
    "P of dark red": encode(with_palette(ONES, _0=BLACK, _1=DARK)),
    "red on black": painted(BLACK, RED),
    "dark red on black": painted(BLACK, DARK),
    "nearly black red on black": painted(BLACK, (3, 0, 0)),
    "dark red as PNG": encode(Image.fromarray(painted(BLACK, DARK))),
    "opaque on transparent": encode(Image.fromarray(painted((0, 0, 0, 0), (*RED, 255)))),
    "faint overlay": encode(Image.fromarray(painted((0, 0, 0, 0), (*RED, 90)))),
    "JPEG": encode(Image.fromarray(ONES * 255), "JPEG", quality=60),
    "JPEG of three channels": encode(Image.fromarray(ONES * 255).convert("RGB"), "JPEG", quality=60),
    "JPEG of red": encode(Image.fromarray(painted(BLACK, RED)), "JPEG", quality=90),
}
"""The target, exactly, and nothing ignored."""

READ_WITH_VOID = {
    "0/1/255": WITH_VOID,
    "0/1/255 as int64": WITH_VOID.astype(np.int64),
    "0/1/255 as float": WITH_VOID.astype(float),
    "0/1/255 over 255": WITH_VOID / np.float32(255),
    "0/1/65535": np.where(VOID, 65535, ONES).astype(np.uint16),
    "0/128/255": np.where(VOID, 128, ONES * 255).astype(np.uint8),
    "0/32896/65535": np.where(VOID, 32896, ONES.astype(np.int64) * 65535).astype(np.uint16),
    "L": encode(Image.fromarray(WITH_VOID)),
    "RGB": encode(Image.fromarray(WITH_VOID).convert("RGB")),
    "RGBA": encode(Image.fromarray(WITH_VOID).convert("RGBA")),
    "I;16": encode(Image.fromarray(WITH_VOID.astype(np.uint16))),
    "P of greys": encode(Image.fromarray(WITH_VOID).convert("P")),
    "P of Pascal VOC": encode(with_palette(WITH_VOID, **VOC)),
}
"""The target, and VOID ignored."""

SOFT = {
    "smooth edge": DISC.resize((60, 60), Image.Resampling.BILINEAR).resize((120, 120), Image.Resampling.BICUBIC),
    "shrunk and enlarged": DISC.resize((30, 30), Image.Resampling.LANCZOS).resize(
        (120, 120), Image.Resampling.BILINEAR
    ),
    "blurred": DISC.filter(ImageFilter.GaussianBlur(4)),
    "16 bits": Image.fromarray(np.asarray(DISC.filter(ImageFilter.GaussianBlur(4))).astype(np.uint16) * 257),
    "JPEG 95": encode(DISC, "JPEG", quality=95),
    "JPEG 60": encode(DISC, "JPEG", quality=60),
    "JPEG 10": encode(DISC, "JPEG", quality=10),
    "red JPEG": encode(Image.merge("RGB", (DISC, *[Image.new("L", DISC.size)] * 2)), "JPEG", quality=60),
}
"""DISC but for its very edge."""

_PATCHES = np.arange(2000).reshape(40, 50)

REFUSED = {
    "0/2": (ONES * 2, "values 0, 2"),
    "0/128/255/1": (np.where(VOID, 128, np.where(TARGET, 255, _PATCHES % 2)).astype(np.uint8), "values 0, 1, 128, 255"),
    "0/1/2": (np.where(VOID, 2, ONES).astype(np.uint8), "values 0, 1, 2"),
    "0/7/18/255": (
        np.where(VOID, 255, np.where(TARGET, 7, _PATCHES // 1900 * 18)).astype(np.uint8),
        "values 0, 7, 18, 255",
    ),
    "0/2/255": (np.where(VOID, 255, ONES * 2).astype(np.uint8), "values 0, 2, 255"),
    "0/200": (ONES * 200, "values 0, 200"),
    "trimap": (np.where(VOID, 3, 2 - ONES).astype(np.uint8), "values 1, 2, 3"),
    "150 classes": ((_PATCHES // 14).astype(np.uint8), r"143 in all"),
    "four instances": (_PATCHES // 500 * np.uint8(85), "values 0, 85, 170, 255"),
    "255 instances": ((_PATCHES // 50 // 2 * 13).astype(np.uint8), "values 0, 13, 26"),
    "16-bit ids": (ONES.astype(np.uint16) * 26001, "values 0, 26001"),
    "two 16-bit ids": (np.where(VOID, 33005, ONES.astype(np.int64) * 26001).astype(np.uint16), "0, 26001, 33005"),
    "16-bit ids and void": (np.where(VOID, 65535, ONES.astype(np.int64) * 300).astype(np.uint16), "0, 300, 65535"),
    "panoptic ids": (ONES.astype(np.int32) * 7_000_001, "0, 7000001"),
    "minus one": (np.where(VOID, -1, ONES.astype(np.int64)), "-1, 0, 1"),
    "labels as floats": (ONES * 7.0, "values 0, 7"),
    "labels over 255": (ONES * np.float32(7 / 255), "values 0, 7"),
    "L of labels": (encode(Image.fromarray(ONES * 5)), "values 0, 5"),
    "RGB of labels": (encode(Image.fromarray(ONES * 5).convert("RGB")), "values 0, 5"),
    "I;16 of labels": (encode(Image.fromarray(ONES.astype(np.uint16) * 5)), "values 0, 5"),
    "P of labels": (encode(with_palette(np.where(VOID, 2, ONES), **VOC)), "palette indices 0, 1, 2"),
    "P of one class of several": (encode(with_palette(ONES * 7, **VOC)), "palette indices 0, 7"),
    "P of white paper": (encode(with_palette(ONES, _0=WHITE, _1=RED)), "palette indices 0, 1"),
    "white paper, red object": (painted(WHITE, RED), "colours #ffffff, #ff0000"),
    "white paper as PNG": (encode(Image.fromarray(painted(WHITE, RED))), "colours #ffffff, #ff0000"),
    "white paper as JPEG": (encode(Image.fromarray(painted(WHITE, RED)), "JPEG"), "colours #"),
    "red and green": (np.where(VOID[..., None], np.uint8(VOC["_2"]), painted(BLACK, RED)), "#000000, #ff0000, #008000"),
    "two shades of red": (np.where(VOID[..., None], np.uint8((64, 0, 0)), painted(BLACK, (128, 0, 0))), "#400000"),
    "a photograph": (np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8), "2000 in all"),
    "labels on transparent": (
        encode(
            Image.fromarray(
                np.dstack([painted(BLACK, RED, TARGET) + VOID[..., None] * np.uint8(90), (ONES | VOID) * 255])
            )
        ),
        "opaque colours",
    ),
    "transparent rim of black and white": (
        np.dstack([*[ONES * 255] * 3, np.where(VOID, 0, 255)]).astype(np.uint8),
        "opaque",
    ),
}
"""(source, what the refusal says of it)."""
