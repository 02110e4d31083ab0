"""COCO instance files of one's own: every kind of region, several annotations as one mask, and what is wrong told."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco_masks

from conceptseg.data import load_sample, read_samples
from conceptseg.data.benchmarks import get_benchmark
from conceptseg.errors import InputError, SampleError
from conceptseg.interfaces.cli import main

from .layouts import BUILDERS


@pytest.fixture
def root(tmp_path: Path) -> Path:
    BUILDERS["coco"](tmp_path)
    return tmp_path


def change(root: Path, **rows: Any) -> None:
    path = root / "annotations.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | rows))


def annotations(root: Path) -> list[dict[str, Any]]:
    return json.loads((root / "annotations.json").read_text())["annotations"]


def test_annotations_of_one_category_in_one_picture_are_one_mask(root: Path) -> None:
    samples = {sample.id: sample for sample in get_benchmark("coco").read(root / "annotations.json")}
    assert list(samples) == ["coco/cat/IMG 1.jpg", "coco/cat/b/é.jpg", "coco/hot_dog/b/é.jpg", "coco/hot_dog/c.png"]
    both = load_sample(samples["coco/cat/IMG 1.jpg"]).mask
    expected = np.zeros((6, 8), dtype=bool)
    expected[:, :3] = True  # 18 pixels of compressed runs, which cover the square of 2 × 2
    assert both is not None and np.array_equal(both, expected)
    square = load_sample(samples["coco/cat/b/é.jpg"]).mask
    assert square is not None and square.sum() == 4 and square[:2, :2].all()


def test_every_kind_of_region_is_as_in_pycocotools(root: Path) -> None:
    polygon = [1.2, 0.7, 6.4, 1.1, 5.3, 5.6, 2.2, 4.9]
    runs = {"size": [6, 8], "counts": [3, 5, 11, 20, 9]}
    mask = np.random.default_rng(0).random((6, 8)) < 0.5
    text = coco_masks.encode(np.asfortranarray(mask.astype(np.uint8)))
    regions = [[polygon], runs, {"size": [6, 8], "counts": text["counts"].decode()}]
    rows = [{"id": n, "image_id": 1, "category_id": n, "segmentation": region} for n, region in enumerate(regions)]
    change(root, annotations=rows, categories=[{"id": n, "name": str(n)} for n in range(3)])
    ours = [load_sample(sample).mask for sample in get_benchmark("coco").read(root)]
    theirs = [coco_masks.decode(coco_masks.frPyObjects(region, 6, 8)).astype(bool) for region in ([polygon], runs)]
    assert np.array_equal(ours[0], theirs[0][..., 0]) and np.array_equal(ours[1], theirs[1])
    assert np.array_equal(ours[2], mask)


def test_crowds_belong_to_the_target_or_do_not_count(root: Path) -> None:
    as_target, left_out = (
        load_sample(get_benchmark("coco", category="hot dog", crowd=crowd).read(root)[0])
        for crowd in ("target", "ignore")
    )
    assert as_target.mask is not None and as_target.mask.sum() == 12
    assert left_out.mask is not None and not left_out.mask.any()
    assert left_out.ignore is not None and left_out.ignore.sum() == 12


def test_categories_are_chosen_by_name_and_asked_for_in_other_words(root: Path) -> None:
    samples = get_benchmark("coco", category="cat", concept="a small animal").read(root, references=1)
    assert {(sample.concept, sample.answer) for sample in samples} == {("a small animal", "cat")}
    assert all(len(sample.references) == 1 for sample in samples)
    assert len(get_benchmark("coco", category="cat,hot dog").read(root)) == 4
    with pytest.raises(SampleError, match="no annotations of category 'dog'; its categories: cat, hot dog"):
        get_benchmark("coco", category="dog").read(root)
    change(root, categories=[{"id": 1, "name": "7"}, {"id": 2, "name": "8"}])
    assert len(get_benchmark("coco", category=7).read(root)) == 2


def test_the_folder_of_pictures_may_be_named(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "images").rename(root / "photos")
    monkeypatch.chdir(root)
    for folder in (str(root / "photos"), "photos"):
        assert len(get_benchmark("coco", images=folder).read(root / "annotations.json")) == 4
    monkeypatch.chdir("/")
    assert len(get_benchmark("coco", images="photos").read(root)) == 4  # as seen from the file


def test_file_names_may_begin_with_the_folder(root: Path) -> None:
    content = json.loads((root / "annotations.json").read_text())
    for row in content["images"]:
        row["file_name"] = f"images/{row['file_name']}"
    change(root, images=content["images"])
    assert len(get_benchmark("coco").read(root)) == 4


def test_missing_pictures_are_counted_and_refused_or_left_out(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    (root / "images/b/é.jpg").unlink()
    with pytest.raises(SampleError, match=r"1 of 3 pictures of annotations\.json are not there: .*é\.jpg"):
        get_benchmark("coco").read(root)
    with caplog.at_level(logging.WARNING):
        samples = get_benchmark("coco", missing="skip").read(root)
    assert [sample.id for sample in samples] == ["coco/cat/IMG 1.jpg", "coco/hot_dog/c.png"]
    assert "1 of 3 pictures of annotations.json are not there" in caplog.text and "left out" in caplog.text


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ({"segmentation": []}, "1 annotations have no segmentation, a box at best"),
        ({"segmentation": None}, "1 annotations have no segmentation"),
        ({"segmentation": {"size": [8, 6], "counts": [48]}}, "1 annotations have run lengths of another size"),
        ({"segmentation": [[0, 0, 1, 1]]}, "1 annotations have polygons that are no lists"),
        ({"segmentation": [[0, 0, 1, 1, 2, 0, 3]]}, "1 annotations have polygons that are no lists"),
        ({"segmentation": [[0, 0, 1, 1, 2, "x"]]}, "1 annotations have polygons that are no lists"),
        ({"segmentation": {"size": [6, 8], "counts": None}}, "1 annotations have run lengths of another size"),
        ({"image_id": 99}, "1 annotations belong to no picture of the file: 0"),
        ({"category_id": 99}, "1 annotations have no category of the file: 0"),
    ],
)
def test_wrong_annotations_are_counted_and_named(root: Path, fault: dict[str, Any], told: str) -> None:
    rows = annotations(root)
    change(root, annotations=[rows[0] | fault, *rows[1:]])
    with pytest.raises(SampleError, match=told):
        get_benchmark("coco").read(root)


def test_what_has_no_area_is_left_out_and_told(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    empty = coco_masks.encode(np.zeros((6, 8), dtype=np.uint8, order="F"))["counts"].decode()
    regions = [
        [[1, 1, 1, 1, 1, 1]],
        [[1, 2, 5, 2, 3, 2], [2, 0, 2, 4, 2, 3]],
        {"size": [6, 8], "counts": [48]},
        {"size": [6, 8], "counts": empty},
        [[1, 1, 1, 1, 1, 1], [0, 0, 4, 0, 4, 4]],
    ]
    rows = [{"id": n, "image_id": 1, "category_id": 7, "segmentation": region} for n, region in enumerate(regions)]
    rows += [{"id": 9, "image_id": 2, "category_id": 90, "segmentation": regions[0]}]
    change(root, annotations=rows, categories=[{"id": 7, "name": "leaf"}, {"id": 90, "name": "stone"}])
    with caplog.at_level(logging.WARNING):
        (sample,) = get_benchmark("coco").read(root)
    assert sample.concept == "leaf" and load_sample(sample).mask.sum() > 0
    assert "5 annotations without area are left out: 0, 1, 2, 3, 9" in caplog.text


def test_categories_of_one_name_are_one_and_told(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    square = [[0, 0, 4, 0, 4, 4, 0, 4]]
    rows = [{"id": n, "image_id": 1, "category_id": n, "segmentation": square, "iscrowd": 0} for n in (3, 500)]
    change(root, annotations=rows, categories=[{"id": 500, "name": "写真"}, {"id": 3, "name": "写真"}])
    with caplog.at_level(logging.WARNING):
        (sample,) = get_benchmark("coco").read(root)
    assert sample.concept == "写真"
    assert "1 names stand for several categories, taken for one: 写真" in caplog.text


@pytest.mark.parametrize("content", [[], {"images": []}, {"images": [1], "categories": [], "annotations": []}, "x"])
def test_another_file_is_refused(root: Path, content: object) -> None:
    (root / "annotations.json").write_text(json.dumps(content))
    with pytest.raises(SampleError, match=r"annotations\.json is not a COCO instance file"):
        get_benchmark("coco").read(root)


def test_paths_that_leave_the_folder_are_refused(root: Path) -> None:
    change(root, images=[{"id": n, "file_name": f"../{n}.jpg", "height": 6, "width": 8} for n in (1, 2, 3)])
    with pytest.raises(SampleError, match=r"'\.\./1\.jpg' leaves the folder"):
        get_benchmark("coco").read(root)


def test_a_file_name_that_stands_twice_is_told(root: Path) -> None:
    change(root, images=[{"id": n, "file_name": "c.png", "height": 6, "width": 8} for n in (1, 2, 3)])
    with pytest.raises(SampleError, match=r"1 file names stand for several pictures: c\.png"):
        get_benchmark("coco").read(root)


@pytest.mark.parametrize("height", [0, -3, "6", None, 6.5, True, [6], 2**40, float("nan")])
def test_pictures_without_a_size_are_told(root: Path, height: object) -> None:
    rows = json.loads((root / "annotations.json").read_text())["images"]
    change(root, images=[rows[0] | {"height": height}, *rows[1:]])
    with pytest.raises(SampleError, match="1 pictures have no height and width in pixels"):
        get_benchmark("coco").read(root)


def test_ids_that_stand_twice_are_told(root: Path) -> None:
    content = json.loads((root / "annotations.json").read_text())
    change(root, images=[*content["images"], content["images"][0] | {"file_name": "other.png"}])
    with pytest.raises(SampleError, match="1 ids stand for several pictures"):
        get_benchmark("coco").read(root)
    change(root, images=content["images"], categories=[*content["categories"], content["categories"][0]])
    with pytest.raises(SampleError, match="1 ids stand for several categories"):
        get_benchmark("coco").read(root)


def test_a_folder_to_train_on_is_built_from_it(root: Path, tmp_path: Path) -> None:
    assert main(["data", "build", "coco", str(root / "annotations.json"), "--out", str(tmp_path / "mine")]) == 0
    samples = read_samples(tmp_path / "mine")
    assert (samples[0].id, samples[0].concept) == ("coco/cat/IMG 1.jpg", "cat")
    masks = [load_sample(sample).mask for sample in samples]
    assert [int(mask.sum()) for mask in masks if mask is not None] == [18, 4, 12, 4]


def test_options_are_checked() -> None:
    with pytest.raises(InputError, match="'coco': crowd is 'perhaps'"):
        get_benchmark("coco", crowd="perhaps")
    with pytest.raises(InputError, match="Unknown task 'cats'"):
        get_benchmark("coco", task="cats")
