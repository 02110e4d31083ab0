from __future__ import annotations

import io
import struct
import subprocess
import sys
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from conceptseg.decoding import NOTE_FRAMES
from conceptseg.errors import ImageError
from conceptseg.images import (
    load_image,
    load_mask,
    load_mask_with_ignore,
    read_image,
    read_mask,
    resize_image,
    resize_mask,
)

RED, GREEN, BLUE, WHITE, BLACK = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0)


def encode(image: Image.Image, file_format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def pixels(source: object, **options: object) -> np.ndarray:
    return np.asarray(load_image(source, **options))


@pytest.fixture
def red_left() -> Image.Image:
    """Three pixels wide, two high: the left column red, the rest blue."""
    image = Image.new("RGB", (3, 2), BLUE)
    image.paste(RED, (0, 0, 1, 2))
    return image


# Pictures: where from


def test_path_text_bytes_pil_and_array_give_the_same_picture(tmp_path: Path, red_left: Image.Image):
    path = tmp_path / "picture ü.png"
    red_left.save(path)
    for source in (path, str(path), path.read_bytes(), red_left, np.asarray(red_left)):
        image = load_image(source)
        assert (image.mode, image.size) == ("RGB", (3, 2))
        assert np.array_equal(np.asarray(image), np.asarray(red_left))


def test_the_result_shares_nothing_with_the_source(red_left: Image.Image):
    load_image(red_left).putpixel((0, 0), GREEN)
    assert red_left.getpixel((0, 0)) == RED


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1)])
def test_the_smallest_pictures(size: tuple[int, int]):
    assert load_image(encode(Image.new("RGB", size, RED), "PNG")).size == size


# Pictures: what is understood


def turned(orientation: int, file_format: str) -> bytes:
    """What a camera stores for an upright picture of 3×2 with a red left column."""
    upright = np.full((2, 3, 3), BLUE, np.uint8)
    upright[:, 0] = RED
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1),
        7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if file_format == "WEBP" else {}
    return encode(Image.fromarray(np.ascontiguousarray(stored)), file_format, exif=exif, **options)


@pytest.mark.parametrize("file_format", ["PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_once(orientation: int, file_format: str, red_left: Image.Image):
    once = load_image(turned(orientation, file_format))
    assert np.array_equal(np.asarray(once), np.asarray(red_left))
    assert np.array_equal(pixels(once), pixels(red_left))
    assert np.array_equal(pixels(encode(once, "PNG")), pixels(red_left))


@pytest.mark.parametrize("file_format", ["PNG", "TIFF", "WEBP", "JPEG"])
def test_turning_is_told_for_a_mask_drawn_on_the_stored_pixels_would_not_fit(file_format: str):
    (note,) = read_image(turned(3, file_format)).notes
    assert "EXIF" in note and "mask" in note
    assert read_image(turned(1, file_format)).notes == ()


def test_masks_are_turned_like_their_pictures():
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = Image.fromarray(np.array([[255, 0, 0]], np.uint8))
    assert load_mask(encode(stored, "PNG", exif=exif)).tolist() == [[True], [False], [False]]


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_broken_exif_does_not_cost_the_picture(red_left: Image.Image):
    assert load_image(encode(red_left, "PNG", exif=b"Exif\0\0II*\0garbage")).size == (3, 2)


def test_16_bit_grey_keeps_its_full_range(tmp_path: Path):
    grey = np.array([[0, 257, 32896, 65535]], np.uint16)
    Image.fromarray(grey).save(tmp_path / "deep.png")
    Image.fromarray(grey).save(tmp_path / "deep.tif")
    for source in (tmp_path / "deep.png", tmp_path / "deep.tif", grey, Image.fromarray(grey.astype(np.int32))):
        assert pixels(source)[0, :, 0].tolist() == [0, 1, 128, 255]


@pytest.mark.parametrize(("bits", "highest"), [(8, 200), (10, 1023), (12, 4095), (12, 3000), (14, 16383), (14, 4096)])
def test_what_uses_fewer_than_16_bits_is_scaled_by_them_and_told(tmp_path: Path, bits: int, highest: int):
    grey = np.array([[0, highest]], np.uint16)
    Image.fromarray(grey).save(tmp_path / "deep.png")
    Image.fromarray(grey).save(tmp_path / "deep.tif")
    expected = [0, round(highest * 255 / (2**bits - 1))]
    older_pillow = Image.fromarray(grey.astype(np.int32))  # opens such files in mode "I"
    for source in (tmp_path / "deep.png", tmp_path / "deep.tif", grey, older_pillow):
        read = read_image(source)
        assert np.asarray(read.image)[0, :, 0].tolist() == expected
        assert read.notes == (f"The picture uses {bits} of its 16 bits; it was scaled by those.",)


def test_full_depth_and_black_are_not_noted():
    assert read_image(np.array([[0, 20000]], np.uint16)).notes == ()
    assert read_image(np.array([[0, 0]], np.uint16)).notes == ()
    assert read_image(np.array([[0, 7]], np.uint8)).notes == ()


@pytest.mark.parametrize(
    ("values", "expected", "is_told"),
    [
        ([0.0, 0.5, 1.0], [0, 128, 255], False),
        ([0.0, 2048.0, 4096.0], [0, 128, 255], True),
        ([0.0, 0.01, 0.02], [0, 128, 255], True),
        ([-1.0, 0.0, 1.0], [0, 128, 255], True),
        ([0.0, 0.0, 0.0], [0, 0, 0], False),
    ],
)
def test_float_files_are_stretched_where_they_must_be(tmp_path: Path, values: list, expected: list, is_told: bool):
    Image.fromarray(np.array([values], np.float32)).save(tmp_path / "float.tif")
    read = read_image(tmp_path / "float.tif")
    assert np.asarray(read.image)[0, :, 0].tolist() == expected
    assert any("stretched" in note for note in read.notes) == is_told


def colour_png_of_16_bits(levels: list[int]) -> bytes:
    """One row of grey pixels with 16 bits a channel, which Pillow cannot write."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", len(levels), 1, 16, 2, 0, 0, 0)
    rows = b"\0" + b"".join(struct.pack(">HHH", level, level, level) for level in levels)
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def test_12_bits_in_a_16_bit_colour_file_are_not_black():
    read = read_image(colour_png_of_16_bits([0, 4095]))
    assert np.asarray(read.image)[0, :, 0].tolist() == [0, 255]
    assert "uses 12 of its 16 bits a channel" in read.notes[0]
    assert read_image(colour_png_of_16_bits([0, 65535])).notes == ()
    assert "it is black" in read_image(colour_png_of_16_bits([0, 200])).notes[0]
    with pytest.raises(ImageError, match="upper halves are 0"):
        load_mask(colour_png_of_16_bits([0, 1]))


@pytest.mark.parametrize("file_format", ["GIF", "PNG", "WEBP", "TIFF"])
def test_frames_that_are_left_out_are_told(file_format: str):
    frames = [Image.new("L", (8, 8), level) for level in (255, 0)]
    data = encode(frames[0], file_format, save_all=True, append_images=frames[1:])
    assert [NOTE_FRAMES in read.notes for read in (read_image(data), read_mask(data))] == [True, True]
    assert NOTE_FRAMES not in read_image(encode(frames[0], file_format)).notes
    second = Image.open(io.BytesIO(data))
    second.seek(1)
    assert NOTE_FRAMES not in read_image(second).notes  # the frame that the caller chose


def test_32_bit_files_of_8_bit_content():
    assert pixels(Image.fromarray(np.array([[7, 200]], np.int32)))[0, :, 0].tolist() == [7, 200]
    with pytest.raises(ImageError, match=r"0\.\.70000; expected 8 or 16 bits"):
        load_image(Image.fromarray(np.array([[0, 70000]], np.int32)))


def test_float_files_are_read_like_float_arrays(tmp_path: Path):
    Image.fromarray(np.array([[0.0, 0.5, 1.0]], np.float32)).save(tmp_path / "float.tif")
    assert pixels(tmp_path / "float.tif")[0, :, 0].tolist() == [0, 128, 255]


@pytest.mark.parametrize("mode", ["1", "L", "P", "PA", "LA", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV"])
def test_white_is_white_in_every_mode(mode: str):
    assert (pixels(Image.new("RGB", (2, 2), WHITE).convert(mode)) >= 254).all()


def test_cmyk_jpeg():
    image = Image.new("CMYK", (8, 8), (0, 255, 255, 0))
    red, green, blue = pixels(encode(image, "JPEG", quality=95))[4, 4].astype(int)
    assert red > 200 and green < 60 and blue < 60


@pytest.mark.parametrize(
    ("mode", "colour", "seen"),
    [
        ("RGBA", (0, 0, 0, 0), WHITE),
        ("RGBA", (0, 0, 0, 255), BLACK),
        ("RGBA", (255, 0, 0, 128), (255, 127, 127)),
        ("LA", (0, 0), WHITE),
        ("LA", (0, 255), BLACK),
    ],
)
def test_transparency_shows_white(mode: str, colour: tuple[int, ...], seen: tuple[int, int, int]):
    assert np.abs(pixels(encode(Image.new(mode, (1, 1), colour), "PNG"))[0, 0].astype(int) - seen).max() <= 1


def test_a_transparent_palette_colour_shows_white():
    image = Image.new("P", (2, 1))
    image.putpalette([*RED, *GREEN])
    image.putpixel((1, 0), 1)
    assert pixels(encode(image, "PNG", transparency=0))[0].tolist() == [list(WHITE), list(GREEN)]


@pytest.mark.parametrize("file_format", ["GIF", "PNG", "WEBP", "TIFF"])
def test_an_animation_gives_its_first_frame(file_format: str):
    frames = [Image.new("RGB", (8, 8), colour) for colour in (RED, GREEN, BLUE)]
    options = {"lossless": True} if file_format == "WEBP" else {}
    data = encode(frames[0], file_format, save_all=True, append_images=frames[1:], **options)
    assert pixels(data)[0, 0].tolist() == list(RED)


# Pictures: arrays


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (np.array([[False, True]]), [0, 255]),
        (np.array([[0, 200]], np.uint8), [0, 200]),
        (np.array([[0, 65535]], np.uint16), [0, 255]),
        (np.array([[0.0, 0.5, 1.0]]), [0, 128, 255]),
        (np.array([[0.0, 1.0]], np.float16), [0, 255]),
        (np.array([[[9], [8]]], np.uint8), [9, 8]),
        (np.array([[[9, 1, 1], [8, 1, 1]]], np.uint8), [9, 8]),
        (np.array([[[9, 1, 1, 255], [8, 1, 1, 0]]], np.uint8), [9, 255]),
    ],
)
def test_arrays_of_each_kind(array: np.ndarray, expected: list[int]):
    assert pixels(array)[0, :, 0].tolist() == expected


def test_arrays_need_not_be_contiguous():
    array = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    assert np.array_equal(pixels(array[:, ::-1, ::-1]), array[:, ::-1, ::-1])


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((3, 10, 20), np.uint8), r"\(3, 10, 20\).*channels first.*transpose\(1, 2, 0\)"),
        (np.zeros((5, 6, 7), np.uint8), r"expected a shape \(H, W\)"),
        (np.zeros(5, np.uint8), r"expected a shape \(H, W\)"),
        (np.zeros((0, 5), np.uint8), "not empty"),
        (np.zeros((2, 2), np.int64), "got int64"),
        (np.zeros((2, 2), complex), "got complex128"),
        (np.full((2, 2), 255.0), r"must lie in 0\.\.1, got 255\.\.255"),
        (np.full((2, 2), -0.5), r"must lie in 0\.\.1"),
        (np.full((2, 2), np.nan), "NaN or infinite"),
    ],
)
def test_arrays_that_are_no_pictures(array: np.ndarray, message: str):
    with pytest.raises(ImageError, match=message):
        load_image(array)


# Pictures: what cannot be read


@pytest.mark.parametrize("load", [load_image, load_mask])
def test_unreadable_files_are_named(tmp_path: Path, load):
    (tmp_path / "notes.jpg").write_text("not an image")
    (tmp_path / "empty.png").touch()
    for name, message in [
        ("absent.png", r"no image file '.*absent\.png'"),
        ("notes.jpg", r"notes\.jpg' is not an image"),
        ("empty.png", r"empty\.png' is not an image"),
        ("", "Cannot open the image"),
        ("a\0b.png", "Cannot open the image"),
        ("x" * 5000, "Cannot open the image"),
    ]:
        with pytest.raises(ImageError, match=message):
            load(tmp_path / name)


def test_what_is_no_source_at_all_is_named():
    """In a process of its own, for in this one the types of arguments are checked."""
    code = """
from conceptseg.images import ImageError, load_image, load_mask
for load in (load_image, load_mask):
    for source in (None, 5):
        try:
            load(source)
        except ImageError as error:
            print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    complaint = "Expected an image as a file name, bytes, a PIL image or an array, got <{}>."
    assert done.stdout.splitlines() == [complaint.format(name) for name in ("NoneType", "int") * 2]


def test_only_local_files_are_read():
    with pytest.raises(ImageError, match="only local files"):
        load_image("https://example.org/a.png")


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "JPEG2000"])
def test_truncated_files_are_errors(tmp_path: Path, file_format: str):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    data = encode(noise, file_format)
    path = tmp_path / "cut.img"
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(ImageError, match=r"cut\.img"):
        load_image(path)


@settings(max_examples=150)
@given(st.sampled_from(["PNG", "JPEG", "GIF", "TIFF", "WEBP", "BMP"]), st.data())
def test_damaged_files_give_a_picture_or_an_image_error(file_format: str, data: st.DataObject):
    ramp = Image.fromarray(np.arange(12 * 9 * 3, dtype=np.uint8).reshape(12, 9, 3))
    broken = bytearray(encode(ramp, file_format))
    for _ in range(data.draw(st.integers(1, 6))):
        broken[data.draw(st.integers(0, len(broken) - 1))] = data.draw(st.integers(0, 255))
    for load in (load_image, load_mask):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Pillow's remarks on the damage
                load(bytes(broken))
        except ImageError as error:
            assert str(error)


def test_too_many_pixels_are_refused_before_decoding(tmp_path: Path):
    Image.new("1", (400, 300)).save(tmp_path / "wide.png")
    with pytest.raises(ImageError, match=r"wide\.png' has 400×300 pixels, more than the limit of 119999.*max_pixels"):
        load_image(tmp_path / "wide.png", max_pixels=119_999)
    assert load_image(tmp_path / "wide.png", max_pixels=120_000).size == (400, 300)


def test_a_decompression_bomb_is_refused(tmp_path: Path):
    bomb = encode(Image.new("1", (8, 8)), "BMP").replace((8).to_bytes(4, "little"), (60_000).to_bytes(4, "little"))
    with pytest.raises(ImageError, match=r"too large: .*3600000000 pixels.*Shrink it first.*max_pixels"):
        load_image(bomb)


def test_files_that_would_run_a_program_are_refused():
    with pytest.raises(ImageError, match="EPS file, which only Ghostscript"):
        load_image(encode(Image.new("RGB", (4, 4)), "EPS"))


# Masks


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (np.array([[False, True]]), [False, True]),
        (np.array([[0, 1]], np.uint8), [False, True]),
        (np.array([[0, 1]], np.int64), [False, True]),
        (np.array([[0, 255]], np.int32), [False, True]),
        (np.array([[1, 1]], np.uint8), [True, True]),
        (np.array([[0, 0]], np.uint8), [False, False]),
        (np.array([[0, 127, 128, 129, 255]], np.uint8), [False, False, False, True, True]),
        (np.array([[0.0, 0.49, 0.5, 1.0]]), [False, False, True, True]),
        (np.array([[0.0, 255.0]], np.float32), [False, True]),
        (np.array([[0, 65535]], np.uint16), [False, True]),
        (np.array([[0, 1]], np.uint16), [False, True]),
        (np.array([[[0], [1]]], np.uint8), [False, True]),
        (np.array([[BLACK, (90, 0, 0)]], np.uint8), [False, True]),
    ],
)
def test_masks_of_each_kind(source: np.ndarray, expected: list[bool]):
    assert load_mask(source)[0].tolist() == expected


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA", "CMYK", "I", "I;16", "F"])
@pytest.mark.parametrize("fill", [0, 1])
def test_a_blank_and_a_full_mask_in_every_mode(mode: str, fill: int):
    grey = Image.new("L", (2, 3), 255 * fill)
    image = grey.convert("I").convert("I;16") if mode == "I;16" else grey.convert(mode)
    assert load_mask(image).all() == bool(fill) == load_mask(image).any()


def palette_mask(*colours: tuple[int, int, int]) -> Image.Image:
    """One row with the palette's colours in order."""
    image = Image.fromarray(np.arange(len(colours), dtype=np.uint8)[None])
    image.putpalette([channel for colour in colours for channel in colour])
    return image


def test_palettes_count_by_colour_not_by_index():
    assert load_mask(encode(palette_mask(WHITE, BLACK), "PNG"))[0].tolist() == [True, False]
    assert load_mask(encode(palette_mask(BLACK, WHITE), "PNG"))[0].tolist() == [False, True]


def test_palettes_of_several_objects_want_a_label():
    davis = encode(palette_mask(BLACK, (128, 0, 0), (0, 128, 0), (64, 0, 0), (128, 128, 128)), "PNG")
    assert load_mask(davis, label="any")[0].tolist() == [False, True, True, True, True]
    assert load_mask(davis, label=3)[0].tolist() == [False, False, False, True, False]
    assert load_mask(davis, label="#400000")[0].tolist() == [False, False, False, True, False]
    with pytest.raises(ImageError, match="palette indices 0, 1, 2, 3, 4"):
        load_mask(davis)


def test_a_cut_out_is_masked_by_its_alpha_whatever_its_colour():
    strokes = Image.fromarray(
        np.array([[(0, 0, 0, 255), (255, 255, 255, 0), (9, 9, 9, 200), (9, 9, 9, 127)]], np.uint8)
    )
    assert load_mask(encode(strokes, "PNG"))[0].tolist() == [True, False, True, False]
    assert not load_mask(Image.new("RGBA", (2, 2), (255, 255, 255, 0))).any()


def test_ignored_pixels_are_neither_target_nor_background(tmp_path: Path):
    Image.fromarray(np.array([[0, 128, 255]], np.uint8)).save(tmp_path / "mask.png")
    read = read_mask(tmp_path / "mask.png")
    assert (read.target[0].tolist(), read.ignore[0].tolist()) == ([False, False, True], [False, True, False])


def outcome(source: object) -> tuple[list, list] | None:
    """Target and ignored pixels, or None where it is refused."""
    try:
        read = read_mask(source)
    except ImageError:
        return None
    assert not (read.target & read.ignore).any()
    return read.target.tolist(), read.ignore.tolist()


@given(arrays.arrays(np.uint8, (3, 4), elements=st.sampled_from([0, 1, 2, 127, 128, 129, 250, 254, 255])))
def test_any_8_bit_mask_is_read_the_same_from_array_and_file(levels: np.ndarray):
    in_memory, from_file = outcome(levels), outcome(encode(Image.fromarray(levels), "PNG"))
    assert in_memory == from_file


def test_a_mask_of_another_size_names_both(tmp_path: Path):
    Image.new("L", (20, 10)).save(tmp_path / "small.png")
    assert load_mask(tmp_path / "small.png", (10, 20)).shape == (10, 20)
    with pytest.raises(ImageError, match=r"small\.png' has 10×20 pixels \(height × width\), its image has 20×10"):
        load_mask(tmp_path / "small.png", (20, 10))


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.array([[-1, 1]]), r"label map.* values -1, 1\."),
        (np.array([[0, 70000]]), r"label map.* values 0, 70000\."),
        (np.array([[0.0, 1.2]]), r"mask values 0\.\.1\.2.*probabilities"),
        (np.array([[np.inf, 0.0]]), "NaN or infinite"),
        (np.zeros((1, 8, 9), bool), r"channels first"),
        (np.array([["a"]]), "must hold booleans or numbers"),
        (np.array([[None]]), "must hold booleans or numbers"),
    ],
)
def test_arrays_that_are_no_masks(array: np.ndarray, message: str):
    with pytest.raises(ImageError, match=message):
        load_mask(array)


# Resizing


def test_pictures_are_stretched_to_height_and_width(red_left: Image.Image):
    stretched = resize_image(red_left, (4, 6))
    assert stretched.size == (6, 4)
    assert stretched.getpixel((0, 0)) == RED and stretched.getpixel((5, 3)) == BLUE


def test_shrinking_averages():
    stripes = np.zeros((8, 8), np.uint8)
    stripes[:, ::2] = 254
    assert np.abs(pixels(resize_image(load_image(stripes), (1, 1))).astype(int) - 127).max() <= 1


def test_shrinking_a_mask_takes_the_nearest_pixel():
    mask = np.array([[True, False, True, True, True, True]])
    assert resize_mask(mask, (1, 2)).tolist() == [[False, True]]


@given(arrays.arrays(np.bool_, (3, 5)), st.integers(1, 4))
def test_enlarging_a_mask_repeats_its_pixels(mask: np.ndarray, times: int):
    enlarged = resize_mask(mask, (3 * times, 5 * times))
    assert enlarged.dtype == bool
    assert np.array_equal(enlarged, mask.repeat(times, axis=0).repeat(times, axis=1))


def test_target_and_what_is_not_judged_come_as_a_pair() -> None:
    target, ignore = load_mask_with_ignore(np.array([[0, 1], [255, 0]], dtype=np.uint8))
    assert target.tolist() == [[False, True], [False, False]]
    assert ignore.tolist() == [[False, False], [True, False]]
