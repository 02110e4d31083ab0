"""A digest changes with what a source holds, and with nothing else."""

from __future__ import annotations

import os

import numpy as np
import pytest
from PIL import Image

from conceptseg.data.fingerprints import fingerprint_picture, fingerprint_source
from conceptseg.images import LazyImage


def test_a_file_is_told_by_its_bytes(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"one")
    times = (path.stat().st_atime_ns, path.stat().st_mtime_ns)
    before = fingerprint_source(path)
    assert fingerprint_source(str(path)) == before
    path.write_bytes(b"two")
    os.utime(path, ns=times)  # as a copy that keeps times does, of the same size
    assert fingerprint_source(path) != before
    path.write_bytes(b"one")
    assert fingerprint_source(path) == before == fingerprint_source(b"one")


def test_an_array_is_told_by_values_shape_and_dtype():
    array = np.zeros((4, 6), dtype=np.uint8)
    before = fingerprint_source(array)
    assert fingerprint_source(array.copy()) == before == fingerprint_source(np.asfortranarray(array))
    assert len({before, fingerprint_source(array.reshape(6, 4)), fingerprint_source(array.astype(bool))}) == 3
    array[2, 2] = 1
    assert fingerprint_source(array) != before


def test_a_picture_is_told_by_pixels_and_palette():
    picture = Image.new("P", (4, 4))
    before = fingerprint_picture(picture)
    assert fingerprint_picture(picture.copy()) == before
    picture.putpalette([255, 0, 0])
    assert fingerprint_picture(picture) != before


@pytest.mark.parametrize("source", ["absent.png", "a\0b", np.array([object()])])
def test_what_cannot_be_told_is_none(source):
    assert fingerprint_source(source) is None


def test_what_is_made_anew_or_damaged_is_none(tmp_path):
    assert fingerprint_source(LazyImage(lambda: np.zeros((2, 2)), "made")) is None
    Image.effect_noise((64, 64), 90).save(tmp_path / "whole.png")
    content = (tmp_path / "whole.png").read_bytes()
    (tmp_path / "half.png").write_bytes(content[: len(content) // 2])
    assert fingerprint_source(Image.open(tmp_path / "whole.png")) is not None
    assert fingerprint_source(Image.open(tmp_path / "half.png")) is None
