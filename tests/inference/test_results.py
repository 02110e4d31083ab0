"""What comes back: pictures of it, its files, its JSON, its run lengths."""

from __future__ import annotations

import json
import os
import sys
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image

from conceptseg.errors import InputError, MissingExtraError
from conceptseg.inference import Route, SegmentationResult
from conceptseg.inference.instances import FoundObjects
from conceptseg.protocol import format_response, parse_response

masks = arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=12))


def result_of(mask: np.ndarray, **more) -> SegmentationResult:
    grey = Image.new("RGB", (mask.shape[1], mask.shape[0]), (100, 100, 100))
    return SegmentationResult("cat", "folder/photo.jpg", grey, mask, Route.DIRECT, presence=0.9, threshold=0.1, **more)


def decode(rle: dict) -> np.ndarray:
    """COCO's definition, from scratch: alternating runs of zeros and ones down the columns."""
    flat = [number % 2 == 1 for number, count in enumerate(rle["counts"]) for _ in range(count)]
    height, width = rle["size"]
    return np.array(flat, dtype=bool).reshape(width, height).T


@given(masks)
def test_run_lengths_give_the_mask_back(mask):
    rle = result_of(mask).to_coco_rle()
    assert np.array_equal(decode(rle), mask)
    assert all(count > 0 for count in rle["counts"][1:])
    json.dumps(rle)


def test_run_lengths_of_a_small_mask_by_hand():
    mask = np.array([[True, False, False], [True, True, False]])
    assert result_of(mask).to_coco_rle() == {"size": [2, 3], "counts": [0, 2, 1, 1, 2]}


@given(masks)
def test_the_overlay_is_as_large_as_the_picture_and_touches_the_mask_only(mask):
    overlay = result_of(mask).overlay()
    assert overlay.size == (mask.shape[1], mask.shape[0])
    changed = (np.asarray(overlay) != 100).any(axis=2)
    assert np.array_equal(changed, mask)


def test_the_overlay_is_half_tinted_within_a_full_outline():
    mask = np.zeros((9, 9), dtype=bool)
    mask[2:7, 2:7] = True
    pixels = np.asarray(result_of(mask).overlay())
    assert pixels[2, 4].tolist() == [255, 64, 64]
    assert np.abs(pixels[3:6, 3:6].astype(int) - [178, 82, 82]).max() <= 1


def test_the_overlay_of_a_large_picture_needs_a_copy_and_little_more():
    result = result_of(np.ones((2000, 3000), dtype=bool))
    tracemalloc.start()
    overlay = result.overlay()
    peak = tracemalloc.get_traced_memory()[1]  # numpy's share; Pillow's is the copy that comes back
    tracemalloc.stop()
    assert overlay.size == (3000, 2000) and peak < 6 * 2000 * 3000


def test_the_overlay_shows_the_box():
    result = result_of(np.zeros((40, 60), dtype=bool), box=(10.0, 5.0, 30.0, 20.0))
    pixels = np.asarray(result.overlay())
    assert tuple(pixels[5, 20]) != (100, 100, 100) and tuple(pixels[12, 20]) == (100, 100, 100)


def test_the_overlay_shows_a_box_that_ends_with_the_picture():
    pixels = np.asarray(result_of(np.zeros((40, 60), dtype=bool), box=(10.0, 5.0, 60.0, 40.0)).overlay())
    assert tuple(pixels[20, 59]) != (100, 100, 100) and tuple(pixels[39, 30]) != (100, 100, 100)


def test_files_are_written_whole_and_read_back_as_they_were(tmp_path):
    mask = np.eye(6, dtype=bool)
    path = result_of(mask).save(tmp_path / "new")
    assert path == tmp_path / "new" / "photo.mask.png"
    assert np.array_equal(np.asarray(Image.open(path)), mask * 255)
    assert sorted(p.name for p in path.parent.iterdir()) == ["photo.json", "photo.mask.png", "photo.overlay.jpg"]
    assert json.loads((path.parent / "photo.json").read_text())["area"] == 6


def test_a_failed_write_leaves_the_old_file_and_no_scraps(tmp_path, monkeypatch):
    result_of(np.eye(6, dtype=bool)).save(tmp_path)
    before = (tmp_path / "photo.mask.png").read_bytes()

    def fail(self, path, *args, **options):
        path.write_bytes(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(Image.Image, "save", fail)
    with pytest.raises(OSError, match="No space left"):
        result_of(np.ones((6, 6), dtype=bool)).save(tmp_path)
    assert (tmp_path / "photo.mask.png").read_bytes() == before
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize(
    ("source", "stem"), [("a/b.c.jpg", "b.c"), ("<array (4, 4, 3) uint8>", "result"), ("", "result")]
)
def test_files_are_named_after_the_picture(tmp_path, source, stem):
    mask = np.ones((4, 4), dtype=bool)
    result = SegmentationResult("cat", source, Image.new("RGB", (4, 4)), mask, Route.DIRECT)
    assert result.save(tmp_path).name == f"{stem}.mask.png"
    assert result.save(tmp_path, "other").name == "other.mask.png"


def of_picture(shade: int, source: str = "<array (4, 4, 3) uint8>", concept: str = "cat", **more) -> SegmentationResult:
    image = Image.new("RGB", (4, 4), (shade, shade, shade))
    return SegmentationResult(concept, source, image, np.ones((4, 4), dtype=bool), Route.DIRECT, **more)


def in_file(path: str, concept: str = "cat") -> SegmentationResult:
    return of_picture(9, path, concept, origin=Path("/photos") / path)


def masks_in(folder: Path) -> int:
    return len(list(folder.glob("*.mask.png")))


@pytest.mark.parametrize(
    "results",
    [
        [in_file("a.jpg"), in_file("a.png")],
        [in_file("x/a.jpg"), in_file("y/a.jpg")],
        [in_file("a.jpg"), in_file("a.jpg", "dog")],
        [of_picture(1), of_picture(2), of_picture(3)],
        [of_picture(1, "film.tif"), of_picture(2, "film.tif")],  # frames of one opened file
        [in_file("a.jpg"), of_picture(1, "a.jpg")],
        [in_file("n" * 249 + ".jpg"), in_file("n" * 249 + ".png")],
        [in_file(os.fsdecode(b"caf\xe9.jpg")), in_file(os.fsdecode(b"caf\xe8.jpg"))],
    ],
)
def test_no_result_replaces_another_and_each_replaces_itself(tmp_path, results):
    paths = [result.save(tmp_path) for result in results]
    assert len(set(paths)) == masks_in(tmp_path) == len(results)
    assert [result.save(tmp_path) for result in results] == paths and masks_in(tmp_path) == len(results)
    for path in paths:
        assert json.loads(Path(str(path).replace(".mask.png", ".json")).read_bytes())["area"] == 16


def test_a_stem_that_was_chosen_is_kept_and_stays_in_the_folder(tmp_path):
    assert in_file("a.jpg").save(tmp_path, "mine") == in_file("b.jpg").save(tmp_path, "mine")
    for stem in ("../mine", "a/b", ".."):
        with pytest.raises(InputError, match="no plain file name"):
            in_file("a.jpg").save(tmp_path / "deep", stem)
    assert masks_in(tmp_path) == 1


def test_files_of_others_are_left_alone(tmp_path):
    (tmp_path / "a.json").write_text('{"labels": []}')
    (tmp_path / "b.mask.png").write_bytes(b"theirs")
    assert in_file("a.jpg").save(tmp_path).name.startswith("a-")
    assert in_file("b.jpg").save(tmp_path).name.startswith("b-")
    assert (tmp_path / "a.json").read_text() == '{"labels": []}'
    assert (tmp_path / "b.mask.png").read_bytes() == b"theirs"


def test_a_name_is_given_back_when_nothing_could_be_written(tmp_path, monkeypatch):
    def fail(self, path, *args, **options):
        raise OSError("No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Image.Image, "save", fail)
        with pytest.raises(OSError, match="No space left"):
            in_file("a.jpg").save(tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert in_file("a.png").save(tmp_path).name == "a.mask.png"


def test_threads_that_save_lose_nothing(tmp_path):
    results = [of_picture(shade) for shade in range(12)] * 2
    with ThreadPoolExecutor(6) as pool:
        paths = list(pool.map(lambda result: result.save(tmp_path), results))
    assert paths[:12] == paths[12:] and masks_in(tmp_path) == 12


def test_nothing_is_saved_of_an_error_or_into_a_file(tmp_path):
    with pytest.raises(InputError, match="has no mask"):
        SegmentationResult("cat", "broken.jpg", error="it is no image").save(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="is a file: name a folder"):
        in_file("a.jpg").save(tmp_path / "file")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_reasoned_result_tells_why_in_json():
    text = format_response("Dark spots.", "Segment the spots.", (1, 2, 3, 4), (5, 6, 7, 8), "spot")
    response = parse_response(text)
    mask = np.ones((4, 5), dtype=bool)
    told = result_of(mask, response=response, box=(5.123, 6.0, 7.0, 8.0), check_iou=0.5, answer="spot").to_dict()
    assert (told["rule"], told["think"], told["answer"]) == ("Segment the spots.", "Dark spots.", "spot")
    assert (told["box"], told["check_iou"], told["size_hw"]) == ([5.12, 6.0, 7.0, 8.0], 0.5, [4, 5])
    assert told["response"] == text and told["problems"] == []
    assert json.loads(json.dumps(told)) == told


def test_an_error_has_no_pictures_and_says_why():
    result = SegmentationResult("cat", "broken.jpg", error="it is no image")
    for ask in (result.overlay, result.mask_image, result.to_coco_rle):
        with pytest.raises(InputError, match=r"broken\.jpg has no mask: it is no image"):
            ask()
    assert result.to_dict()["error"] == "it is no image" and result.rule is None


def test_supervision_is_named_where_it_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(MissingExtraError, match="pip install supervision"):
        result_of(np.ones((2, 2), dtype=bool)).to_supervision()


@given(st.booleans())
def test_the_mask_image_is_black_and_white(value):
    assert set(np.unique(np.asarray(result_of(np.full((3, 3), value)).mask_image()))) == {255 * value}


def test_objects_are_detections_only_where_they_make_up_the_mask(monkeypatch):
    stub = SimpleNamespace(Detections=lambda **fields: SimpleNamespace(**fields))
    monkeypatch.setitem(sys.modules, "supervision", stub)
    mask = np.zeros((8, 8), dtype=bool)
    mask[:4] = True

    def with_object(inside):
        drawn = np.where(inside, 9.0, -9.0).astype(np.float16)[None]
        return replace(result_of(mask), objects=FoundObjects(drawn, np.array([0.75], dtype=np.float32)))

    assert with_object(mask).to_supervision().confidence.tolist() == [0.75]
    elsewhere = with_object(~mask).to_supervision()
    assert np.array_equal(elsewhere.mask[0], mask) and not hasattr(elsewhere, "confidence")
