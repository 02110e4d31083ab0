"""The table: every way to store a mask, and what becomes of it."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from conceptseg.errors import ImageError, InputError
from conceptseg.images import load_image, load_mask, read_mask, select_label
from conceptseg.masks import Selection
from tests.masks.stored import (
    BLACK,
    DISC,
    ONES,
    READ,
    READ_WITH_VOID,
    RED,
    REFUSED,
    SOFT,
    TARGET,
    VOC,
    VOID,
    WITH_VOID,
    encode,
    painted,
    with_palette,
)


@pytest.mark.parametrize("name", READ)
def test_a_mask_is_the_same_however_it_is_stored(name: str):
    reading = read_mask(READ[name], TARGET.shape)
    assert np.array_equal(reading.target, TARGET)
    assert not reading.ignore.any()


@pytest.mark.parametrize("name", READ_WITH_VOID)
def test_a_void_is_neither_target_nor_background(name: str):
    reading = read_mask(READ_WITH_VOID[name])
    assert np.array_equal(reading.target, TARGET)
    assert np.array_equal(reading.ignore, VOID)
    assert bool(reading.notes) == ("128" not in name and "32896" not in name)  # what is guessed is told


@pytest.mark.parametrize("name", SOFT)
def test_soft_edges_are_cut_at_half_and_told(name: str):
    reading = read_mask(SOFT[name])
    assert (reading.target != (np.asarray(DISC) > 0)).mean() < 0.02
    assert any("half" in note for note in reading.notes)


@pytest.mark.parametrize("name", REFUSED)
def test_what_may_be_labels_is_refused_with_the_labels_found_and_the_way_out(name: str):
    source, found = REFUSED[name]
    with pytest.raises(ImageError, match=rf"(?s){found}.*label=….*--label N.*ignore=…"):
        read_mask(source)


@pytest.mark.parametrize("scale", [1, 2])
@pytest.mark.parametrize("kind", ["array", "L", "P", "I;16"])
def test_a_label_selects_in_every_storage(kind: str, scale: int):
    labels = np.where(VOID, 255, np.where(TARGET, 7, 18)).astype(np.uint8)
    labels = labels.repeat(scale, axis=0)
    stored = {
        "array": labels,
        "L": encode(Image.fromarray(labels)),
        "P": encode(with_palette(labels, **VOC)),
        "I;16": encode(Image.fromarray(labels.astype(np.uint16))),
    }[kind]
    for label in (7, "7"):
        reading = read_mask(stored, label=label, ignore=255)
        assert np.array_equal(reading.target, labels == 7) and np.array_equal(reading.ignore, labels == 255)
        assert reading.notes == ()
    assert "ignore is not set" in read_mask(stored, label=7).notes[0]
    assert np.array_equal(read_mask(stored, label="any", ignore="255").target, labels != 255)
    absent = read_mask(stored, label=3, ignore=255)
    assert not absent.target.any() and "does not hold the label" in absent.notes[0]


def test_colours_select_by_their_names():
    coloured = np.where(VOID[..., None], np.uint8((0, 0, 9)), painted((255, 255, 255), RED))
    reading = read_mask(coloured, label="#FF0000", ignore="#000009")
    assert np.array_equal(reading.target, TARGET) and np.array_equal(reading.ignore, VOID)
    assert np.array_equal(load_mask(painted(BLACK, RED), label="any"), TARGET)
    assert np.array_equal(load_mask(encode(with_palette(ONES * 7, **VOC)), label="#808080"), TARGET)
    with pytest.raises(ImageError, match='5 is a number; a colour is written "#rrggbb"'):
        load_mask(coloured, label=5)
    with pytest.raises(ImageError, match="holds numbers, not colours"):
        load_mask(ONES, label="#ff0000")


def test_what_is_ignored_is_set_aside_before_the_table():
    assert np.array_equal(load_mask(WITH_VOID, ignore=255), TARGET)
    assert not load_mask(np.where(VOID, 255, 0).astype(np.uint8), ignore=255).any()
    minus = read_mask(np.where(VOID, -1, ONES.astype(np.int64)), ignore=-1)
    assert np.array_equal(minus.target, TARGET) and np.array_equal(minus.ignore, VOID)
    with pytest.raises(ImageError, match="values 0, 128"):  # ours alone, when nothing else is said
        load_mask(np.where(VOID, 128, 0).astype(np.uint8), ignore=255)


def test_the_void_alone_of_a_class_map_is_no_target():
    reading = read_mask(encode(with_palette(np.where(VOID, 255, 0), **VOC)))
    assert not reading.target.any() and np.array_equal(reading.ignore, VOID)


def test_ignored_pixels_without_a_target_are_told():
    assert "marks no target" in read_mask(np.where(VOID, 128, 0).astype(np.uint8)).notes[0]
    assert "below 0.5" in read_mask(np.where(TARGET, 0.31, 0.17)).notes[0]


@pytest.mark.parametrize(
    ("label", "ignore", "message"),
    [
        ("seven", None, r'label must be a whole number or a colour "#rrggbb", or "any", got \'seven\''),
        (None, "any", "ignore must be a whole number or a colour"),
        (3, "3", "both 3"),
    ],
)
def test_wrong_selections_are_told(label: object, ignore: object, message: str):
    with pytest.raises(InputError, match=message):
        Selection.of(label, ignore)


def test_a_source_carries_its_selection():
    source = select_label(ONES * 7, 7, None)
    assert np.array_equal(load_mask(source), TARGET)
    assert np.array_equal(np.asarray(load_image(source))[..., 0] == 255, TARGET)
    with pytest.raises(ImageError, match="has 40×50 pixels"):
        load_mask(source, (50, 40))


LOSSY = {
    "JPEG": {"format": "JPEG", "quality": 90},
    "JPEG of three channels": {"format": "JPEG", "quality": 90},
    "lossy WebP": {"format": "WEBP", "quality": 80},
}


@pytest.mark.parametrize("name", LOSSY)
def test_compression_that_changes_levels_leaves_black_and_white(name: str):
    channels = 3 if "three" in name else 1
    options = dict(LOSSY[name])
    image = Image.fromarray(np.repeat(ONES[..., None] * 255, channels, axis=2).squeeze())
    reading = read_mask(encode(image, options.pop("format"), **options))
    assert np.array_equal(reading.target, TARGET) and not reading.ignore.any()


@pytest.mark.parametrize("name", LOSSY)
def test_labels_do_not_survive_it(name: str):
    channels = 3 if "three" in name else 1
    options = dict(LOSSY[name])
    image = Image.fromarray(np.repeat(ONES[..., None], channels, axis=2).squeeze())
    with pytest.raises(ImageError, match=r"nothing above \d of 255.*compression changes levels.*PNG"):
        read_mask(encode(image, options["format"], quality=options["quality"]))
    with pytest.raises(ImageError, match=r"No label can be selected.*compression changes levels"):
        read_mask(encode(image, options["format"], quality=options["quality"]), label=1)


def test_a_speck_of_ringing_is_no_label():
    levels = np.where(TARGET, 255, 0).astype(np.uint8)
    levels[0, :3] = 1  # read as exact values, 1 would be the target and 255 not judged
    opened = Image.open(io.BytesIO(encode(Image.fromarray(levels), "JPEG", quality=100, subsampling=0)))
    assert np.array_equal(read_mask(opened).target, TARGET)


def test_lossless_webp_keeps_labels():
    data = encode(Image.fromarray(WITH_VOID).convert("RGB"), "WEBP", lossless=True)
    assert np.array_equal(read_mask(data, label=1, ignore=255).target, TARGET)


def test_labels_beyond_signed_integers_are_refused():
    with pytest.raises(ImageError, match="9223372036854775808"):
        read_mask(np.full((2, 2), 2**63, np.uint64))


def test_masked_arrays_are_refused():
    hidden = np.ma.masked_array(ONES, mask=VOID)
    with pytest.raises(ImageError, match="masked array"):
        read_mask(hidden)
    assert np.array_equal(read_mask(np.ma.masked_array(ONES)).target, TARGET)
