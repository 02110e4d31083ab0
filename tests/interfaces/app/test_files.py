"""Answers as files: the masks of the results, COCO that other tools read, one archive of all."""

from __future__ import annotations

import json
import zipfile

import numpy as np
import pytest
from PIL import Image

from conceptseg.inference import Route, SegmentationResult
from conceptseg.interfaces.app.files import write_answers


def answer(name: str, column: int | None = 3) -> SegmentationResult:
    if column is None:
        return SegmentationResult("square", name, error="no picture")
    mask = np.zeros((6, 8), dtype=bool)
    mask[:, :column] = True
    return SegmentationResult("square", name, Image.new("RGB", (8, 6)), mask, Route.DIRECT)


def test_one_answer_is_a_mask_and_coco_named_after_its_picture(tmp_path):
    files = write_answers([answer("photo.jpg")], tmp_path)
    assert [path.name for path in files.masks] == ["photo.mask.png"]
    assert (np.asarray(Image.open(files.masks[0])) > 0)[:, :3].all()
    told = json.loads(files.coco.read_text())
    assert files.coco.name == "photo.coco.json" and told["images"][0]["file_name"] == "photo.jpg"
    assert told["annotations"][0]["area"] == 18 and told["categories"][0]["name"] == "square"


def test_pictures_of_one_name_keep_their_own_answers(tmp_path):
    files = write_answers([answer("a.jpg", 2), answer("A.JPG", 5), answer("broken.jpg", None)], tmp_path)
    told = json.loads(files.coco.read_text())
    assert sorted(one["area"] for one in told["annotations"]) == [12, 30]
    with zipfile.ZipFile(files.archive) as packed:
        names = packed.namelist()
        rows = [json.loads(line) for line in packed.read("results.jsonl").splitlines()]
    assert len([name for name in names if name.endswith(".mask.png")]) == 2 and "annotations.json" in names
    assert [row["error"] for row in rows] == [None, None, "no picture"]
    assert not any("/" in row["source"] for row in rows), "nobody learns where the page keeps its files"


def test_where_nothing_was_answered_there_is_no_coco(tmp_path):
    files = write_answers([answer("broken.jpg", None)], tmp_path)
    assert files.coco is None and files.masks == ()


@pytest.mark.parametrize("name", ["../../etc/passwd", "…", "", "a\nb/c.png", "x" * 400 + ".png", "CON?*|.png"])
def test_any_name_makes_a_file_in_the_folder(tmp_path, name):
    files = write_answers([answer(name)], tmp_path)
    assert files.masks[0].parent == tmp_path / "answers" and files.coco is not None
