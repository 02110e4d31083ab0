"""What a folder stands for: a table of folder contents, and what is told of each."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from conceptseg.data.pictures import LeftOut, describe_nothing, find_pictures, is_picture
from conceptseg.errors import ImageError, InputError
from conceptseg.formats import advice_for, readable_suffixes, writable_suffixes
from conceptseg.images import load_image


def picture(path: Path, kind: str | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4), "red").save(path, format=kind)
    return path


def names(folder: Path, **how: object) -> list[str]:
    return [found.inside for found in find_pictures(folder, **how).found]


def left_out(folder: Path, **how: object) -> dict[str, int]:
    return find_pictures(folder, **how).left_out.counts


@pytest.mark.parametrize(
    "name",
    ["a.jpg", "a.JPG", "a.jfif", "a.jpe", "a.mpo", "a.tga", "a.webp", "a.TIFF", "a.bmp", "a.gif", "a.pgm", "a.jp2"],
)
def test_what_pillow_opens_is_a_picture_by_its_name(tmp_path, name):
    (tmp_path / name).touch()  # whether it can be read is seen when it is read
    assert names(tmp_path) == [name]


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a", "PNG", True),  # no suffix: its first bytes decide
        ("a", b"text", False),
        ("a", b"", False),
        ("activity.fit", b"not the astronomers' FITS", False),  # a suffix that others use too
        ("a.txt", "PNG", False),
        ("a.mpg", b"\0\0\1\xb3", False),  # Pillow names it, and cannot draw it
    ],
)
def test_in_doubt_the_first_bytes_decide(tmp_path, name, content, expected):
    path = tmp_path / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        picture(path, content)
    assert is_picture(path) is expected
    assert names(tmp_path) == ([name] if expected else [])
    assert left_out(tmp_path) == ({} if expected else {"no pictures": 1})


def test_formats_are_what_pillow_says():
    assert {".jpg", ".png", ".mpo", ".tga"} <= readable_suffixes()
    assert not {".mpg", ".eps", ".h5", ".pdf", ".txt"} & readable_suffixes()
    assert {".png", ".jpg"} <= writable_suffixes() and ".xpm" not in writable_suffixes()
    assert advice_for(".svg") == "convert to PNG" and advice_for(".png") is None and advice_for(".txt") is None


def test_pictures_that_need_a_package_are_counted_with_the_advice(tmp_path, monkeypatch):
    monkeypatch.setattr("conceptseg.formats.readable_suffixes", lambda: frozenset({".jpg"}))
    monkeypatch.setattr("conceptseg.data.pictures.readable_suffixes", lambda: frozenset({".jpg"}))
    for name in ("1.heic", "2.HEIC", "3.heic", "4.heic", "a.jpg"):
        (tmp_path / name).touch()
    assert names(tmp_path) == ["a.jpg"]
    assert find_pictures(tmp_path).left_out.lines() == [
        "left out, 4 .heic pictures, which are not read here (pip install pillow-heif): 1.heic, 2.HEIC, 3.heic, …"
    ]


def test_links_are_followed_and_those_that_lead_nowhere_are_told(tmp_path):
    elsewhere = picture(tmp_path / "disk" / "sub" / "far.jpg")
    top = tmp_path / "top"
    picture(top / "near.jpg")
    (top / "folder").symlink_to(elsewhere.parent, target_is_directory=True)
    (top / "file.jpg").symlink_to(elsewhere)
    (top / "lost.jpg").symlink_to("nowhere.jpg")
    (top / "self.jpg").symlink_to("self.jpg")
    assert names(top) == ["file.jpg", "folder/far.jpg", "near.jpg"]
    assert left_out(top) == {"links that lead nowhere": 2}
    assert find_pictures(top).found[1].path == elsewhere  # by where it lies
    (tmp_path / "alias").symlink_to(top, target_is_directory=True)
    assert names(tmp_path / "alias") == names(top)


def test_a_loop_of_links_ends_and_no_folder_is_entered_twice(tmp_path):
    for number in range(8):
        picture(tmp_path / str(number) / "a.jpg")
        for other in range(8):
            (tmp_path / str(number) / f"to{other}").symlink_to(tmp_path / str(other), target_is_directory=True)
    (tmp_path / "0" / "up").symlink_to("..", target_is_directory=True)
    assert names(tmp_path) == [f"{number}/a.jpg" for number in range(8)]
    assert left_out(tmp_path) == {"links to folders that are searched already": 65}


def test_hidden_files_are_told(tmp_path):
    for name in ("a.jpg", ".b.jpg", "._a.jpg", ".git/c.jpg"):
        picture(tmp_path / name)
    assert names(tmp_path) == ["a.jpg"]
    assert left_out(tmp_path) == {"hidden": 3}
    assert names(tmp_path / ".git") == ["c.jpg"]  # the folder itself may be hidden


def ledger(folder: Path) -> None:
    picture(folder / "cat.mask.png")
    picture(folder / "cat.overlay.jpg")
    picture(folder / "half.mask.png")
    (folder / "request.json").write_text("{}")
    (folder / "results.jsonl").write_text("")
    (folder / ".lock").touch()


def evaluation(folder: Path) -> None:
    picture(folder / "masks" / "set" / "000000.png")
    (folder / "run.json").write_text("{}")
    (folder / "rows-000.jsonl").write_text("")


def training(folder: Path) -> None:
    picture(folder / "contact_sheet.png")
    (folder / "trained_on.jsonl").write_text("")
    (folder / "config.yaml").write_text("")


def saved(folder: Path) -> None:
    picture(folder / "cat.mask.png")
    picture(folder / "cat.overlay.jpg")


@pytest.mark.parametrize(("run", "count"), [(ledger, 6), (evaluation, 1), (training, 1), (saved, 2)])
def test_what_earlier_runs_wrote_is_no_picture(tmp_path, run: Callable[[Path], None], count):
    picture(tmp_path / "cat.jpg")
    run(tmp_path / "out")
    assert names(tmp_path) == ["cat.jpg"]
    assert left_out(tmp_path) == {"results of earlier runs": count}


def test_masks_of_earlier_runs_can_be_asked_for(tmp_path):
    ledger(tmp_path)
    assert names(tmp_path, masks=True) == ["cat.mask.png", "half.mask.png"]
    assert names(tmp_path) == []


def test_somebodys_own_masks_are_pictures(tmp_path):
    picture(tmp_path / "cat.mask.png")
    (tmp_path / "results.jsonl").write_text("another program's")
    assert names(tmp_path) == ["cat.mask.png"]


def test_the_results_folder_is_left_out_wherever_it_lies(tmp_path):
    picture(tmp_path / "cat.jpg")
    picture(tmp_path / "deep" / "out" / "cat.mask.png")
    assert names(tmp_path, exclude=tmp_path / "deep" / "out") == ["cat.jpg"]
    assert left_out(tmp_path, exclude=tmp_path / "deep" / "out") == {"results of earlier runs": 1}


def test_folders_that_cannot_be_opened_are_told(tmp_path, monkeypatch):
    picture(tmp_path / "a.jpg")
    (tmp_path / "closed").mkdir()
    scan = os.scandir

    def refuse(path: str) -> object:
        if path.endswith("closed"):
            raise PermissionError(13, "Permission denied", path)
        return scan(path)

    monkeypatch.setattr("conceptseg.data.pictures.os.scandir", refuse)
    assert names(tmp_path) == ["a.jpg"]
    assert find_pictures(tmp_path).left_out.lines() == [
        "left out, 1 folders that cannot be opened: closed/ (Permission denied)"
    ]


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match=r"There is no folder '.*never'"):
        find_pictures(tmp_path / "never")


def test_accounts_add_up():
    whole = LeftOut()
    for name in "abcde":
        whole.add("hidden", name)
    part = LeftOut()
    part.add("hidden", "f")
    part.add("no pictures", "g", 2)
    part.update(whole)
    assert part.counts == {"hidden": 6, "no pictures": 2}
    assert part.lines() == ["left out, 6 hidden: f, a, b, …", "left out, 2 no pictures: g, …"]
    assert describe_nothing("'x'", part) == f"'x' holds no pictures ({'; '.join(part.lines())})."


def test_heic_is_read_where_its_package_is(tmp_path):
    pytest.importorskip("pillow_heif")
    assert ".heic" in readable_suffixes()
    stored = Image.new("RGB", (64, 48), "blue")
    stored.paste("red", (0, 0, 32, 48))
    exif = Image.Exif()
    exif[0x0112] = 6
    stored.save(tmp_path / "phone.HEIC", format="HEIF", exif=exif.tobytes(), quality=95)
    assert names(tmp_path) == ["phone.HEIC"]
    upright = load_image(tmp_path / "phone.HEIC")
    assert upright.size == (48, 64)
    assert upright.getpixel((24, 8))[0] > 200 > 60 > upright.getpixel((24, 56))[0]
    (tmp_path / "phone.HEIC").write_bytes((tmp_path / "phone.HEIC").read_bytes()[:200])
    with pytest.raises(ImageError, match=r"phone\.HEIC"):
        load_image(tmp_path / "phone.HEIC")
