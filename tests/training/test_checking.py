from __future__ import annotations

import json
import logging

import numpy as np
import pytest
from PIL import Image

from conceptseg.errors import TrainingError
from conceptseg.training.checking import (
    REJECTED_FILE,
    Rejection,
    check_samples,
    list_rejections,
    require_some,
    require_usable,
    sort_out,
)
from conceptseg.training.config import DataSection, WorldSection
from conceptseg.training.drawing import collect_samples
from tests.training.tiny import square_folder


def edit_row(folder, number, edit):
    lines = (folder / "samples.jsonl").read_text().splitlines()
    row = json.loads(lines[number])
    edit(row)
    lines[number] = json.dumps(row)
    (folder / "samples.jsonl").write_text("\n".join(lines) + "\n")


def blank(folder, name):
    size = Image.open(folder / name).size
    Image.new("L", size).save(folder / name)


FAULTS = {
    "no mask": (lambda folder, row: row.pop("mask"), "it has no mask"),
    "empty mask": (lambda folder, row: blank(folder, row["mask"]), "its mask is empty"),
    "broken picture": (
        lambda folder, row: (folder / row["image"]).write_bytes(b"no"),
        "cannot be read|not an image|no image",
    ),
    "mask of another size": (
        lambda folder, row: Image.new("L", (5, 5), 255).save(folder / row["mask"]),
        "5.5",
    ),
    "box outside": (
        lambda folder, row: row["references"].__setitem__(
            0, {"image": row["references"][0]["image"], "box": [30, 5, 60, 20]}
        ),
        r"reference 0: the box \(30.0, 5.0, 60.0, 20.0\) reaches outside its picture of 48×40 pixels",
    ),
    "empty reference": (
        lambda folder, row: blank(folder, row["references"][1]["mask"]),
        "reference 1 has an empty mask",
    ),
    "target as reference": (
        lambda folder, row: row["references"].append({"image": row["image"], "mask": row["mask"]}),
        "reference 2 is the target itself",
    ),
}


@pytest.mark.parametrize("kind", FAULTS)
def test_a_bad_sample_is_named_with_its_reason(tmp_path, kind):
    folder = square_folder(tmp_path / "set", 3)
    edit, reason = FAULTS[kind]
    edit_row(folder, 1, lambda row: edit(folder, row))
    train, _ = collect_samples(DataSection(folders=(folder,)), seed=0)
    bad = check_samples(train)
    assert [rejection.sample_id for rejection in bad] == ["square/001"]
    with pytest.raises(TrainingError, match=rf"1 samples cannot be learned from (.|\n)*square/001: .*{reason}"):
        require_usable(bad)


def test_good_samples_pass(squares):
    train, _ = collect_samples(DataSection(folders=(squares,), world=WorldSection(count=2)), seed=0)
    assert check_samples(train) == []
    require_usable([])
    assert sort_out(train, []) is train


def test_what_is_left_out_is_listed_and_counted(tmp_path, caplog):
    folder = square_folder(tmp_path / "set", 4)
    edit_row(folder, 2, lambda row: row.pop("mask"))
    train, _ = collect_samples(DataSection(folders=(folder,)), seed=0)
    with caplog.at_level(logging.WARNING):
        left = sort_out(train, check_samples(train))
    list_rejections(check_samples(train), tmp_path)
    assert {sample.id for sample in left} == {"square/000", "square/001", "square/003"}
    assert "1 of 4 samples are left out" in caplog.text
    listed = [json.loads(line) for line in (tmp_path / REJECTED_FILE).read_text().splitlines()]
    assert listed == [{"id": "square/002", "reason": "it has no mask"}]
    list_rejections([], tmp_path)
    assert not (tmp_path / REJECTED_FILE).exists()  # a later run of the folder leaves nothing out


def test_nothing_left_is_an_error(squares):
    train, _ = collect_samples(DataSection(folders=(squares,), limit=1), seed=0)
    bad = [Rejection(0, "x", "y")]
    require_some(train, [])
    with pytest.raises(TrainingError, match="No sample can be used:\nx: y"):
        require_some(sort_out(train, bad), bad)


def test_long_lists_are_cut(squares):
    with pytest.raises(TrainingError, match="… and 5 more"):
        require_usable([Rejection(k, f"s{k}", "bad") for k in range(25)])


def test_references_drawn_from_others_need_no_check(tmp_path):
    """A sample without references is checked by its own target alone."""
    folder = square_folder(tmp_path / "set", 2, references=0)
    train, _ = collect_samples(DataSection(folders=(folder,)), seed=0)
    assert check_samples(train) == []
    assert np.asarray(Image.open(train[0].image)).shape == (40, 48, 3)
