from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from conceptseg.data import ConceptSample, load_sample, read_samples
from conceptseg.data.checking import why_unusable
from conceptseg.data.folders import PairedFolders, hold_out, pair_folders
from conceptseg.errors import ImageError, InputError, SampleError
from conceptseg.interfaces.cli.entry import main
from conceptseg.masks.values import NOTE_LABEL_ABSENT

MASK = np.zeros((6, 8), np.uint8)
MASK[1:3, 2:5] = 255


def write(folder: Path, *names: str, mask: np.ndarray | None = None) -> Path:
    """Pictures that all differ, or copies of one mask."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        level = sum(str(path).encode()) % 251
        Image.fromarray(np.full((6, 8, 3), level, np.uint8) if mask is None else mask).save(path)
    return folder


def pair(images: Path, masks: Path, **options: object) -> PairedFolders:
    return pair_folders(images, masks, task="other_cd", concept="dent", **options)


@pytest.mark.parametrize(
    ("images", "masks", "pairs", "left_out"),
    [
        (["a.jpg"], ["a.png"], {"a": "a.png"}, {}),
        (["a.jpg"], ["a_mask.png"], {"a": "a_mask.png"}, {}),
        (["a.jpg"], ["a_GT.png"], {"a": "a_GT.png"}, {}),
        (["a.jpg"], ["a.jpg.png"], {"a": "a.jpg.png"}, {}),
        (["gas_mask.jpg"], ["gas_mask.png"], {"gas_mask": "gas_mask.png"}, {}),
        (["gas_mask.jpg"], ["gas_mask_mask.png"], {"gas_mask": "gas_mask_mask.png"}, {}),
        (["gas.jpg", "gas_mask.jpg"], ["gas.png", "gas_mask.png"], {"gas": "gas.png", "gas_mask": "gas_mask.png"}, {}),
        (["a.jpg"], ["a.png", "a_mask.png"], {"a": "a.png"}, {"a_mask": "a mask without an image"}),
        (["a.jpg", "b.jpg"], ["a.png"], {"a": "a.png"}, {"b": "an image without a mask"}),
        (["a.jpg"], ["a.png", "z.png"], {"a": "a.png"}, {"z": "a mask without an image"}),
        (["a.jpg", "c.jpg", "c.png"], ["a.png", "c.png"], {"a": "a.png"}, {"c": "several images: c.jpg, c.png"}),
        (["a.jpg", "c.jpg"], ["a.png", "c.png", "c.bmp"], {"a": "a.png"}, {"c": "several masks: c.bmp, c.png"}),
        (["x/a.jpg"], ["x/a.png", "y/a.png"], {"x/a": "x/a.png"}, {"y/a": "a mask without an image"}),
        (["a.jpg", ".b.jpg"], ["a.png"], {"a": "a.png"}, {}),
        (["IMG_1.JPG"], ["img_1_mask.png"], {"IMG_1": "img_1_mask.png"}, {}),
        (["caf\u00e9.jpg"], ["cafe\u0301.png"], {"caf\u00e9": "cafe\u0301.png"}, {}),
        (
            ["a.jpg", "B.jpg", "b.jpg"],
            ["a.png", "b.png", "b_seg.png"],
            {"a": "a.png", "b": "b.png"},
            {"B": "an image without a mask", "b_seg": "a mask without an image"},
        ),
    ],
)
def test_what_pairs_with_what(tmp_path: Path, images: list, masks: list, pairs: dict, left_out: dict):
    found = pair(write(tmp_path / "i", *images), write(tmp_path / "m", *masks, mask=MASK))
    root = (tmp_path / "m").resolve()
    assert {sample.id: sample.mask.relative_to(root).as_posix() for sample in found.samples} == pairs
    assert dict(found.unpaired) == left_out


def test_one_folder_for_both_and_one_inside_the_other(tmp_path: Path):
    shared = write(write(tmp_path / "one", "a.jpg", "b.jpg"), "a_mask.png", mask=MASK)
    found = pair(shared, shared)
    assert [(s.id, s.mask.name) for s in found.samples] == [("a", "a_mask.png")]
    assert found.unpaired == [("b", "an image without a mask")]
    photos = write(write(tmp_path / "photos", "a.jpg"), "masks/a.png", mask=MASK)
    found = pair(photos, photos / "masks")
    assert [s.id for s in found.samples] == ["a"] and not found.unpaired
    (photos / "masks" / "notes.txt").write_text("of the masks")
    assert pair(photos, photos / "masks").no_pictures.counts == {"no pictures": 1}  # not once for either folder


def test_folders_without_a_pair_are_refused(tmp_path: Path):
    images, masks = write(tmp_path / "i", "a.jpg"), write(tmp_path / "m", "b.png", mask=MASK)
    with pytest.raises(SampleError, match=r"No image of .* a: an image without a mask; b: a mask without an image"):
        pair(images, masks)
    with pytest.raises(SampleError, match="There is no folder"):
        pair(tmp_path / "none", masks)
    (tmp_path / "void").mkdir()
    with pytest.raises(SampleError, match="holds no pictures"):
        pair(tmp_path / "void", masks)


def test_groups_are_made_where_they_are_asked_for(tmp_path: Path):
    images, masks = write(tmp_path / "i", "x/a.jpg", "b.jpg"), write(tmp_path / "m", "x/a.png", "b.png", mask=MASK)
    assert [s.group for s in pair(images, masks).samples] == [None, None]
    assert [s.group for s in pair(images, masks, group_by_folder=True).samples] == [None, "x"]


def test_a_share_is_held_out_by_seed_and_name():
    samples = [ConceptSample(f"s{i}", "other_cd", "dent", MASK, split="train") for i in range(40)]
    first = hold_out(samples, 0.2, seed=0)
    chosen = {s.id for s in first if s.split == "val"}
    assert len(chosen) == 8 and [s.id for s in first] == [s.id for s in samples]
    assert {s.id for s in hold_out(samples[::-1], 0.2, seed=0) if s.split == "val"} == chosen
    assert {s.id for s in hold_out(samples, 0.2, seed=1) if s.split == "val"} != chosen
    assert sorted(str(s.split) for s in hold_out(samples[:2], 0.01, seed=0)) == ["train", "val"]
    with pytest.raises(InputError, match="between 0 and 1, got 1"):
        hold_out(samples, 1.0, seed=0)
    with pytest.raises(InputError, match="1 sample cannot be divided"):
        hold_out(samples[:1], 0.5, seed=0)


def from_folders(images: Path, masks: Path, out: Path, *more: str) -> int:
    return main(["data", "from-folders", str(images), str(masks), "--concept", "dent", "--out", str(out), *more])


def test_a_second_split_is_added_and_the_first_stays(tmp_path: Path, capsys: pytest.CaptureFixture):
    out = tmp_path / "set"
    for split in ("train", "test"):
        images, masks = (
            write(tmp_path / split, "1.jpg", "2.jpg"),
            write(tmp_path / f"{split}_m", "1.png", "2.png", mask=MASK),
        )
        for _ in range(2):  # the same command again changes nothing
            assert from_folders(images, masks, out, "--split", split) == 0
    told = capsys.readouterr()
    rows = [(s.id, s.split) for s in read_samples(out)]
    assert rows == [("1", "train"), ("2", "train"), ("test/1", "test"), ("test/2", "test")]
    pictures = [np.asarray(load_sample(s).image)[0, 0, 0] for s in read_samples(out)]
    assert pictures == [
        np.asarray(Image.open(tmp_path / s / f"{n}.jpg"))[0, 0, 0] for s in ("train", "test") for n in (1, 2)
    ]
    assert "2 others kept" in told.out and "2 were there already" in told.out and "it became test/1" in told.err
    assert from_folders(tmp_path / "test", tmp_path / "test_m", out, "--overwrite") == 0
    assert [(s.id, s.split) for s in read_samples(out)] == [("1", "train"), ("2", "train")]


def test_another_truth_for_a_sample_that_is_there_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture):
    images, masks, out = write(tmp_path / "i", "a.jpg"), write(tmp_path / "m", "a.png", mask=MASK), tmp_path / "set"
    assert from_folders(images, masks, out) == 0
    before = sorted((path.name, path.read_bytes()) for path in out.rglob("*") if path.is_file())
    write(masks, "a.png", mask=MASK[::-1])
    assert from_folders(images, masks, out) == 2
    assert "holds other samples of these ids" in capsys.readouterr().err
    write(masks, "a.png", mask=MASK)
    assert from_folders(images, masks, out, "--split", "test") == 2  # one picture in two splits
    assert sorted((path.name, path.read_bytes()) for path in out.rglob("*") if path.is_file()) == before


def test_label_maps_become_masks_by_their_label(tmp_path: Path, capsys: pytest.CaptureFixture):
    labels = np.where(MASK, 7, 2).astype(np.uint8)
    labels[5] = 255
    images, masks = write(tmp_path / "i", "a.jpg", "b.jpg"), write(tmp_path / "m", "a.png", "b.png", mask=labels)
    assert from_folders(images, masks, tmp_path / "refused") == 2
    assert "values 2, 7, 255" in capsys.readouterr().err
    assert from_folders(images, masks, tmp_path / "set", "--label", "7", "--ignore", "255", "--val", "0.5") == 0
    samples = read_samples(tmp_path / "set")
    assert sorted(str(s.split) for s in samples) == ["train", "val"]
    for sample in samples:
        stored = np.asarray(Image.open(sample.mask))
        assert np.array_equal(stored, np.where(labels == 7, 255, np.where(labels == 255, 128, 0)))


def test_what_is_guessed_of_masks_is_counted(tmp_path: Path, capsys: pytest.CaptureFixture):
    with_void = np.where(MASK, 1, 0).astype(np.uint8)
    with_void[5] = 255
    images, masks = write(tmp_path / "i", "a.jpg", "b.jpg"), write(tmp_path / "m", "a.png", mask=with_void)
    write(masks, "b.png", mask=MASK)
    assert from_folders(images, masks, tmp_path / "set") == 0
    assert "note, 1 of 2 samples: The mask holds 0, 1 and its largest possible value" in capsys.readouterr().err


def test_what_does_not_pair_and_what_is_no_picture_are_both_told(tmp_path: Path, capsys: pytest.CaptureFixture):
    images, masks = write(tmp_path / "i", "a.jpg", "b.jpg", ".c.jpg"), write(tmp_path / "m", "a.png", mask=MASK)
    (masks / "notes.txt").write_text("not of mine")
    assert from_folders(images, masks, tmp_path / "set") == 1
    told = capsys.readouterr()
    assert "left out: b: an image without a mask" in told.err and "1 left out." in told.out
    assert told.err.splitlines()[-2:] == ["left out, 1 hidden: .c.jpg", "left out, 1 no pictures: notes.txt"]


def test_masks_of_an_earlier_run_are_masks(tmp_path: Path):
    run = write(write(tmp_path / "run", "a.mask.png", mask=MASK), "a.overlay.jpg")
    found = pair(write(tmp_path / "i", "a.jpg"), run)
    assert [(s.id, s.mask.name) for s in found.samples] == [("a", "a.mask.png")] and not found.unpaired
    assert found.no_pictures.counts == {"results of earlier runs": 1}


def test_val_is_of_train(tmp_path: Path, capsys: pytest.CaptureFixture):
    images, masks = write(tmp_path / "i", "a.jpg"), write(tmp_path / "m", "a.png", mask=MASK)
    assert from_folders(images, masks, tmp_path / "set", "--split", "test", "--val", "0.2") == 2
    assert "--val divides the train split" in capsys.readouterr().err
    assert not (tmp_path / "set").exists()


def test_rows_that_were_there_stay_to_the_letter(tmp_path: Path):
    images, masks, out = write(tmp_path / "i", "a.jpg"), write(tmp_path / "m", "a.png", mask=MASK), tmp_path / "set"
    write(out, "own.png")
    row = {"id": "own", "task": "other_cd", "concept": "cüp", "image": "own.png", "seed": 3, "split": None}
    (out / "samples.jsonl").write_text(json.dumps(row) + "\n")
    assert from_folders(images, masks, out) == 0
    assert json.loads((out / "samples.jsonl").read_text(encoding="utf-8").splitlines()[0]) == row


def test_a_mask_that_fits_turned_is_told(tmp_path: Path):
    exif = Image.Exif()
    exif[0x0112] = 6
    (tmp_path / "i").mkdir()
    Image.new("RGB", (8, 6)).save(tmp_path / "i" / "a.jpg", exif=exif)
    (sample,) = pair(tmp_path / "i", write(tmp_path / "m", "a.png", mask=MASK)).samples
    with pytest.raises(ImageError, match=r"6×8 pixels.*its image has 8×6.*EXIF orientation"):
        load_sample(sample)


def test_a_label_that_is_not_there_is_told(tmp_path: Path):
    images, masks = write(tmp_path / "i", "a.jpg"), write(tmp_path / "m", "a.png", mask=MASK // 255)
    (sample,) = pair(images, masks, label=9).samples
    assert why_unusable(sample) == "its mask is empty; " + NOTE_LABEL_ABSENT
