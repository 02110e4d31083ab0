"""The results folder of `segment` is input: whatever it says, nothing is written elsewhere and nothing is a bug."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from PIL import Image

from conceptseg.interfaces.cli import main, segment
from tests.interfaces.fakes import FakeSegmenter


@pytest.fixture
def fake(monkeypatch) -> FakeSegmenter:
    segmenter = FakeSegmenter()
    monkeypatch.setattr(segment, "load_segmenter", lambda args: segmenter)
    return segmenter


@pytest.fixture
def out(tmp_path, fake, monkeypatch, capsys) -> Path:
    """The results of two pictures, a and b, two folders deep."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pictures").mkdir()
    for number, name in enumerate("ab"):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(tmp_path / f"pictures/{name}.png")
    assert run() == 0
    fake.seen.clear()
    capsys.readouterr()
    return tmp_path / "x/out"


def run(*more: str) -> int:
    return main(["segment", "pictures", "--concept", "cat", "--out", "x/out", *more])


def rows(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]


def edit(out: Path, **changes: object) -> None:
    first, second = rows(out)
    (out / "results.jsonl").write_text(json.dumps(first | changes) + "\n" + json.dumps(second) + "\n")


def tree(top: Path) -> list[str]:
    return sorted(str(path.relative_to(top)) for path in top.rglob("*"))


@pytest.mark.skipif(os.name == "nt", reason="such names are none on Windows")
@pytest.mark.parametrize("name", ["a\\b.png", ".a.png", "a..png", " .png", "é" * 101 + ".png"])
def test_whatever_a_picture_is_called_its_row_is_known_again(tmp_path, fake, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pictures").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "pictures" / name)
    for expected in (1, 0):
        fake.seen.clear()
        assert main(["segment", f"pictures/{name}", "--concept", "cat", "--out", "out"]) == 0
        assert len(fake.seen) == expected


@pytest.mark.parametrize(
    "changes",
    [
        *({"stem": stem} for stem in ("../../escaped", "/escaped", "..", ".", "", "a\0", "a/b", "x" * 300, "\ud800")),
        *({"stem": stem} for stem in (None, 3, ["a"])),
        *({"source": source} for source in (None, 3, ["a"])),
        *({"file": file} for file in (None, 3, [1, 2])),
        {"error": {"a": 1}},
        {"stem": "b"},  # of the other picture
    ],
)
def test_a_row_that_cannot_be_ours_is_done_again_and_told(out, tmp_path, fake, capsys, changes):
    before = tree(tmp_path)
    edit(out, **changes)
    assert run() == 0
    assert tree(tmp_path) == before
    count = 2 if changes.get("stem") == "b" else 1
    told = f"{count} lines of x/out/results.jsonl are damaged or name files that cannot be its own"
    assert told in capsys.readouterr().err
    assert {row["stem"] for row in rows(out)} == {"a", "b"} and len(rows(out)) == 2
    fake.seen.clear()
    assert run() == 0 and fake.seen == []


@pytest.mark.parametrize("content", [b"null", b"[]", b"\xff\xfe", b"{", b"", b"[" * 99_999, b'"x"'])
def test_a_request_that_cannot_be_read_is_told_in_a_line(out, fake, capsys, content):
    (out / "request.json").write_bytes(content)
    assert run() == 2
    told = capsys.readouterr().err
    assert "request.json is damaged" in told and "--overwrite" in told and told.count("\n") == 1
    assert run("--overwrite") == 0 and sorted(fake.seen) == ["a.png", "b.png"]


def test_a_request_that_is_missing_is_told(out, capsys):
    (out / "request.json").unlink()
    assert run() == 2
    assert "holds results, but no request.json that says what they answer" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["results.jsonl", "request.json"])
def test_a_folder_in_a_ledgers_place_is_told(out, capsys, name):
    (out / name).unlink()
    (out / name).mkdir()
    assert run() == 2
    told = capsys.readouterr().err
    assert "Is a directory" in told and "a bug" not in told and told.count("\n") == 1


def test_another_programs_results_are_not_replaced(tmp_path, fake, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (8, 8)).save("a.png")
    Path("mine").mkdir()
    Path("mine/results.jsonl").write_text('{"step": 1}\n')
    assert main(["segment", "a.png", "--concept", "cat", "--out", "mine"]) == 2
    assert "mine/results.jsonl is no file of results of ours" in capsys.readouterr().err
    assert Path("mine/results.jsonl").read_text() == '{"step": 1}\n'


def test_a_link_in_the_results_is_not_written_through(out, tmp_path, fake):
    (tmp_path / "outside").write_text("kept")
    for name in ("a.mask.png", "results.jsonl", ".a.mask.part.png"):
        (out / name).unlink(missing_ok=True)
        (out / name).symlink_to(tmp_path / "outside")
    assert run() in (0, 2)
    assert (tmp_path / "outside").read_text() == "kept"


def test_a_changed_picture_is_done_again_and_told(out, tmp_path, fake, capsys):
    Image.new("RGB", (8, 8), (77, 0, 0)).save(tmp_path / "pictures/a.png")
    assert run() == 0
    assert fake.seen == ["a.png"]
    assert "1 images have changed since they were segmented, and are done again." in capsys.readouterr().err


def test_pictures_that_change_places_are_noticed(out, tmp_path, fake):
    """Of one size and one time, as from an archive: neither tells them apart."""
    a, b = tmp_path / "pictures/a.png", tmp_path / "pictures/b.png"
    contents = a.read_bytes(), b.read_bytes()
    a.write_bytes(contents[1])
    b.write_bytes(contents[0])
    for path in (a, b):
        os.utime(path, ns=(1, 1))
    run()
    assert sorted(fake.seen) == ["a.png", "b.png"]


def test_a_copy_with_another_time_is_no_change(out, tmp_path, fake):
    os.utime(tmp_path / "pictures/a.png", ns=(1, 1))
    assert run() == 0 and fake.seen == []


def test_what_is_left_out_is_told_at_the_end(out, tmp_path, capsys):
    (tmp_path / "pictures/.hidden.png").touch()
    (tmp_path / "pictures/notes.txt").touch()
    assert run() == 0
    assert capsys.readouterr().err.splitlines() == [
        "left out, 1 hidden: .hidden.png",
        "left out, 1 no pictures: notes.txt",
    ]


def test_a_second_run_does_not_take_the_first_ones_masks_for_pictures(tmp_path, fake, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (8, 8)).save("a.png")
    for name in ("one", "two"):
        assert main(["segment", ".", "--concept", name, "--out", name]) == 0
    assert fake.seen == ["a.png", "a.png"]
    assert "results of earlier runs: one/" in capsys.readouterr().err
