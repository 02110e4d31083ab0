"""`conceptseg world`: samples on disk and a contact sheet."""

from __future__ import annotations

import pytest
from PIL import Image

from conceptseg.data import load_sample, read_samples
from conceptseg.interfaces.cli import main

SMALL = ["--size", "64", "--references", "2"]


def test_made_samples_can_be_read_and_are_the_same_every_time(tmp_path, capsys):
    command = ["world", "make", "--task", "saliency,camouflage", "--count", "2", "--seed", "3", *SMALL, "--out"]
    assert main([*command, str(tmp_path / "one")]) == 0
    assert main([*command, str(tmp_path / "other")]) == 0
    assert "4 samples of 2 tasks" in capsys.readouterr().out
    one, other = (list(read_samples(tmp_path / name)) for name in ("one", "other"))
    assert [sample.task for sample in one].count("camouflage") == 2 and len(one) == 4
    for sample, again in zip(one, other, strict=True):
        loaded = load_sample(sample)
        assert loaded.image.size == (64, 64) and loaded.mask.any() and len(loaded.references) == 2
        assert loaded.image.tobytes() == load_sample(again).image.tobytes()


def test_a_sheet_is_drawn(tmp_path):
    sheet = tmp_path / "new" / "sheet.png"
    assert main(["world", "show", "--task", "saliency", "--count", "1", *SMALL, "--out", str(sheet)]) == 0
    assert Image.open(sheet).width > 3 * 64


@pytest.mark.parametrize(
    ("more", "complaint"),
    [
        (["--task", "cooking"], "no tasks ['cooking']"),
        (["--split", "tomorrow"], "Unknown ConceptWorld split 'tomorrow'"),
        (["--count", "0"], "--count must be at least 1, got 0"),
        (["--size", "3"], "size_px must be at least 32"),
    ],
)
def test_wrong_requests_are_one_line(tmp_path, capsys, more, complaint):
    assert main(["world", "make", "--out", str(tmp_path), "--task", "saliency", *more]) == 2
    printed = capsys.readouterr().err
    assert complaint in printed and len(printed.splitlines()) == 1


@pytest.mark.parametrize("name", ["w.xyz", "w"])
def test_a_sheet_must_be_a_picture_by_its_name(tmp_path, capsys, name):
    assert main(["world", "show", "--task", "saliency", *SMALL, "--out", str(tmp_path / "new" / name)]) == 2
    printed = capsys.readouterr().err
    assert f"{name}: a sheet is a picture (.apng" in printed and ".png" in printed and len(printed.splitlines()) == 1
    assert not (tmp_path / "new").exists()
