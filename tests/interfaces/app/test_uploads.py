"""Uploads: only what lies in the folder, only what is small enough, and small previews that tell the true size."""

from __future__ import annotations

import base64
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from conceptseg.errors import ImageError
from conceptseg.interfaces.app.uploads import Uploads, tinted_layer


def opened(url: str) -> Image.Image:
    return Image.open(BytesIO(base64.b64decode(url.partition(",")[2])))


@pytest.mark.parametrize("path", ["{outside}", "{folder}/../secret.png", "{folder}/link.png", "/etc/passwd"])
def test_what_lies_elsewhere_is_never_read(folder, uploads, path):
    outside = folder.parent / "secret.png"
    Image.new("RGB", (4, 4)).save(outside)
    (folder / "link.png").symlink_to(outside)
    with pytest.raises(ImageError, match="x is no upload of this page"):
        uploads.content(path.format(outside=outside, folder=folder), "x")


@pytest.mark.parametrize("path", ["{folder}/gone.png", "a\0b", "x" * 5000])
def test_what_is_not_there_is_told(folder, uploads, path):
    with pytest.raises(ImageError, match=r"x is no longer there\. Add it again"):
        uploads.content(path.format(folder=folder), "x")


def test_a_file_that_is_too_large_is_not_read(folder, uploads):
    (folder / "big").write_bytes(b"0" * (2 << 20))
    with pytest.raises(ImageError, match="big has 2 MiB; a file may have 1"):
        uploads.content(str(folder / "big"), "big")


def test_a_preview_is_upright_and_small_and_knows_the_true_size(folder):
    exif = Image.Exif()
    exif[274] = 6
    Image.new("RGB", (4000, 3000), "teal").save(folder / "portrait.jpg", exif=exif)
    told = Uploads([folder]).preview({"path": str(folder / "portrait.jpg"), "name": "portrait.jpg"})
    assert (told["width"], told["height"], told["mask"]) == (3000, 4000, None)
    assert opened(told["src"]).size == (960, 1280)


def test_a_preview_shows_the_mask_that_lies_beside(squares, uploads):
    told = uploads.preview(squares[0])
    layer = np.asarray(opened(told["mask"]))
    mask = np.asarray(Image.open(squares[0]["mask"])) > 0
    assert np.array_equal(layer[..., 3] > 0, mask)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "p.png is empty: 0 bytes."),
        (b"hello", "p.png: <5 bytes> is not an image in a format that Pillow reads"),
        (None, "p.png is no longer there"),
        ("wide", "p.png: it has 600×500 pixels; all pictures of a request together may have 200000"),
    ],
)
def test_what_is_wrong_with_a_picture_is_a_line(folder, uploads, content, why):
    if content == "wide":
        Image.new("1", (600, 500)).save(folder / "p.png")
    elif content is not None:
        (folder / "p.png").write_bytes(content)
    told = uploads.preview({"path": str(folder / "p.png"), "name": "p.png"})
    assert list(told) == ["error"] and told["error"].startswith(why) and "\n" not in told["error"]


@pytest.mark.parametrize("told", [None, 3, "x", {}, {"path": 5}, {"path": "/etc/passwd", "mask": "/etc/passwd"}])
def test_a_preview_of_nonsense_is_a_line_too(uploads, told):
    assert list(uploads.preview(told)) == ["error"]


def test_a_layer_is_strong_on_the_edge_and_clear_elsewhere():
    mask = np.zeros((20, 20), dtype=bool)
    mask[5:15, 5:15] = True
    alpha = np.asarray(tinted_layer(mask, (20, 20)))[..., 3]
    assert alpha[5, 5] == 255 and alpha[10, 10] == 120 and alpha[0, 0] == 0
