"""`conceptseg export`: every format read back to the very masks, and failures never look like pictures without."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest
import yaml
from PIL import Image, ImageDraw
from pycocotools.coco import COCO

from conceptseg.data import load_sample
from conceptseg.data.benchmarks import get_benchmark
from conceptseg.errors import InputError
from conceptseg.geometry import mask_iou
from conceptseg.images import load_mask
from conceptseg.inference import Route, SegmentationResult
from conceptseg.interfaces.cli import main
from conceptseg.interfaces.cli.ledger import Ledger
from conceptseg.interfaces.exports import FORMATS, export_results, read_results
from conceptseg.shapes import to_coco_rle
from tests.shapes.test_brush import decoded

SIZE_HW = (20, 30)


def doughnut() -> np.ndarray:
    rows, columns = np.mgrid[: SIZE_HW[0], : SIZE_HW[1]]
    distance = np.hypot(rows - 10, columns - 12)
    return (distance < 8.5) & (distance > 3.5)


def masks() -> dict[str, np.ndarray]:
    """One of every kind that has trouble in it."""
    made = {name: np.zeros(SIZE_HW, dtype=bool) for name in ("empty", "one", "border", "diagonal")}
    made["one"][7, 29] = True
    made["border"][[0, -1]] = made["border"][:, [0, -1]] = True
    made["diagonal"][np.arange(20), np.arange(20)] = True
    made["diagonal"][np.arange(20), 29 - np.arange(20)] = True
    speckled = np.random.default_rng(0).random(SIZE_HW) < 0.5
    return {**made, "doughnut": doughnut(), "speckled": speckled, "full": np.ones(SIZE_HW, dtype=bool)}


NAMES = {
    "empty": "a/photo.png",
    "one": "a/IMG 1 (copy).png",
    "border": "b/Übergröße 写真.png",
    "diagonal": "b/photo.png",
    "doughnut": "b/PHOTO.jpg",
    "speckled": "c.final.PNG",
    "full": "100% #&?.png",
}


def write_results(folder: Path, out: Path, concept: str, made: dict[str, np.ndarray], broken: int = 0) -> Path:
    """What `segment` leaves behind, by its own means."""
    sources = {kind: folder / NAMES[kind] for kind in made}
    for source in sources.values():
        source.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (SIZE_HW[1], SIZE_HW[0]), (90, 60, 30)).save(source)
    failing = [folder / f"broken {number}.png" for number in range(broken)]
    with Ledger(out, {"concept": concept}) as ledger:
        stems = ledger.begin([*sources.values(), *failing])
        for kind, mask in made.items():
            picture = Image.open(sources[kind])
            result = SegmentationResult(concept, str(sources[kind]), picture, mask, Route.DIRECT, presence=0.75)
            result.save_pictures(out, stems[sources[kind]])
            ledger.append(sources[kind], stems[sources[kind]], result.to_dict())
        for source in failing:
            error = SegmentationResult(concept, str(source), error="it is no image")
            ledger.append(source, stems[source], error.to_dict())
    return out


@pytest.fixture
def results(tmp_path: Path) -> Path:
    return write_results(tmp_path / "photos", tmp_path / "out", "hair & <dirt>", masks(), broken=2)


def exported(results: Path, to: str, *more: str, status: int = 1) -> Path:
    out = results.with_name(f"new-{to}")
    assert main(["export", str(results), "--to", to, "--out", str(out), *more]) == status
    assert not list(out.parent.glob(".*"))
    return out


def by_kind(found: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Masks by file name, as masks by kind."""
    return {kind: found[name] for kind, name in NAMES.items()}


def check(found: dict[str, np.ndarray]) -> None:
    for kind, mask in masks().items():
        assert mask_iou(found[kind], mask) == 1.0, kind


@pytest.mark.parametrize("more", [(), ("--polygons",)])
def test_pycocotools_reads_the_very_masks(results: Path, more: tuple[str, ...], capsys: pytest.CaptureFixture) -> None:
    out = exported(results, "coco", *more)
    coco = COCO(out / "annotations.json")
    images = {row["id"]: row["file_name"] for row in coco.imgs.values()}
    assert sorted(images.values()) == sorted(NAMES.values())
    assert [row["name"] for row in coco.cats.values()] == ["hair & <dirt>"]
    found = {name: np.zeros(SIZE_HW, dtype=bool) for name in images.values()}
    for annotation in coco.anns.values():
        found[images[annotation["image_id"]]] |= coco.annToMask(annotation).astype(bool)
        assert isinstance(annotation["segmentation"], list if more else dict)
    check(by_kind(found))
    assert len(coco.anns) == 6  # the empty mask has an image, and no annotation
    said = capsys.readouterr()
    assert ("slits of no width" in said.err) == bool(more)
    assert f"relative to {results.parent / 'photos'}" in said.err


def test_boxes_and_areas_are_those_of_the_masks(results: Path) -> None:
    content = json.loads((exported(results, "coco") / "annotations.json").read_text())
    number = next(row["id"] for row in content["images"] if row["file_name"] == NAMES["one"])
    (one,) = [row for row in content["annotations"] if row["image_id"] == number]
    assert (one["bbox"], one["area"], one["iscrowd"]) == ([29.0, 7.0, 1.0, 1.0], 1, 0)


@pytest.mark.parametrize("more", [(), ("--polygons",)])
def test_our_own_reader_reads_the_very_masks(results: Path, more: tuple[str, ...]) -> None:
    out = exported(results, "coco", *more)
    samples = get_benchmark("coco", images=str(results.parent / "photos")).read(out / "annotations.json")
    loaded = {str(Path(str(s.image)).relative_to(results.parent / "photos")): load_sample(s).mask for s in samples}
    check(by_kind({**loaded, NAMES["empty"]: np.zeros(SIZE_HW, dtype=bool)}))


def drawn_by_opencv(points: np.ndarray) -> np.ndarray:
    """As YOLO's reader does it: the line is drawn too."""
    canvas = np.zeros(SIZE_HW, dtype=np.uint8)
    cv2.fillPoly(canvas, [points], color=1)
    return canvas > 0


def drawn_by_pillow(points: list[list[float]]) -> np.ndarray:
    """As LabelMe does it."""
    canvas = Image.new("1", (SIZE_HW[1], SIZE_HW[0]))
    ImageDraw.Draw(canvas).polygon([(x, y) for x, y in points], fill=1, outline=1)
    return np.array(canvas)


def test_yolo_lines_give_the_very_masks(results: Path) -> None:
    out = exported(results, "yolo")
    content = yaml.safe_load((out / "data.yaml").read_text(encoding="utf-8"))
    assert content["names"] == {0: "hair & <dirt>"} and (out / content["train"]).is_dir()
    found = {}
    for picture in (out / "images").iterdir():
        found[picture.stem] = np.zeros(SIZE_HW, dtype=bool)
        for line in (out / "labels" / f"{picture.stem}.txt").read_text().splitlines():
            number, *shares = line.split()
            points = np.array(shares, dtype=float).reshape(-1, 2)
            assert number == "0" and points.min() >= 0 and points.max() <= 1
            assert len(points) > 2
            in_pixels = (points * (SIZE_HW[1], SIZE_HW[0])).astype(np.float32)
            drawn = drawn_by_opencv(in_pixels.astype(np.int32))
            assert np.array_equal(drawn, drawn_by_opencv(np.rint(in_pixels).astype(np.int32)))
            found[picture.stem] |= drawn
    check(by_stem(found, results))
    assert (out / "labels/photo.txt").read_text() == ""
    assert len((out / "labels/IMG 1 (copy).txt").read_text().splitlines()) == 1


def by_stem(found: dict[str, np.ndarray], results: Path) -> dict[str, np.ndarray]:
    """Masks by the names that exports give, which are those of the results' own files, as masks by kind."""
    rows = [json.loads(line) for line in (results / "results.jsonl").read_text().splitlines()]
    stems = {str(Path(row["source"]).relative_to(results.parent / "photos")): row["stem"] for row in rows[:7]}
    return {kind: found[stems[name]] for kind, name in NAMES.items()}


def test_labelme_polygons_give_the_very_masks(results: Path) -> None:
    out = exported(results, "labelme")
    found = {}
    for path in out.glob("*.json"):
        content = json.loads(path.read_text())
        assert (out / content["imagePath"]).is_file() and content["imageData"] is None
        assert (content["imageHeight"], content["imageWidth"]) == SIZE_HW
        found[path.stem] = np.zeros(SIZE_HW, dtype=bool)
        for shape in content["shapes"]:
            assert (shape["label"], shape["shape_type"], shape["group_id"]) == ("hair & <dirt>", "polygon", 0)
            found[path.stem] |= drawn_by_pillow(shape["points"])
    check(by_stem(found, results))


def test_image_folders_are_read_by_our_reader(results: Path) -> None:
    out = exported(results, "image-folder")
    samples = get_benchmark("image_folder").read(out, "all")
    assert {sample.concept for sample in samples} == {"hair & <dirt>"}
    found = {}
    for sample in samples:
        mask = load_sample(sample).mask
        assert mask is not None
        found[Path(str(sample.image)).stem] = mask
    check(by_stem(found, results))
    rows = [json.loads(line) for line in (out / "metadata.jsonl").read_text().splitlines()]
    assert {row["presence"] for row in rows} == {0.75} and {row["route"] for row in rows} == {"direct"}


def test_label_studio_tasks_hold_the_very_masks(results: Path) -> None:
    out = exported(results, "label-studio")
    tasks = json.loads((out / "tasks.json").read_text())
    config = ElementTree.parse(out / "label_config.xml").getroot()
    brush, image = config.find("BrushLabels"), config.find("Image")
    assert brush is not None and image is not None
    assert [label.get("value") for label in brush] == ["hair & <dirt>"]
    found = {}
    for task in tasks:
        (prediction,) = task["predictions"]
        name = task["data"][str(image.get("value"))[1:]]
        found[name] = np.zeros(SIZE_HW, dtype=bool)
        assert prediction["score"] == 0.75
        for region in prediction["result"]:
            assert (region["from_name"], region["to_name"]) == (brush.get("name"), image.get("name"))
            assert (region["original_height"], region["original_width"]) == SIZE_HW
            assert region["value"]["brushlabels"] == ["hair & <dirt>"]
            found[name] = decoded(region["value"]["rle"]).reshape(*SIZE_HW, 4)[..., 3] == 255
    start = "/data/local-files/?d="
    assert {f"{start}100%25%20%23%26%3F.png", f"{start}a/photo.png"} < found.keys()
    by_name = {name.removeprefix(start): mask for name, mask in found.items()}
    check({kind: by_name[quote(name)] for kind, name in NAMES.items()})


def test_label_studio_takes_another_prefix(results: Path) -> None:
    out = exported(results, "label-studio", "--url-prefix", "s3://bucket/")
    assert all(
        task["data"]["image"].startswith("s3://bucket/") for task in json.loads((out / "tasks.json").read_text())
    )


@pytest.mark.parametrize("to", list(FORMATS))
def test_failures_are_counted_and_told_and_in_no_file(results: Path, to: str, capsys: pytest.CaptureFixture) -> None:
    (results / "photo.mask.png").write_bytes(b"damaged since")
    lost = next(results.glob("PHOTO-*.mask.png"))
    lost.unlink()
    (results.parent / "photos" / NAMES["full"]).write_bytes(b"damaged since")
    Image.new("RGB", (9, 9)).save(results.parent / "photos" / NAMES["speckled"])
    with (results / "results.jsonl").open("a") as file:
        file.write('{"source": "cut o\n{"source": "/etc/passwd", "stem": "../../etc/passwd"}\n')
    out = exported(results, to)
    said = capsys.readouterr()
    assert said.out.splitlines()[-1] == f"9 pictures: 3 exported, 6 left out → {out}"
    left_out = [line for line in said.err.splitlines() if line.startswith("left out")]
    for name, why in {
        "broken 0.png": "it is no image",
        "broken 1.png": "it is no image",
        NAMES["empty"]: "not an image",
        NAMES["doughnut"]: f"there is no mask {lost}",
        NAMES["full"]: "can no longer be read",
        NAMES["speckled"]: "the picture is another by now: 9×9",
    }.items():
        assert any(f"{name}: " in line and why in line for line in left_out), name
    assert "2 lines of" in said.err and "are no results" in said.err
    written = "".join(path.name + (path.read_text() if path.suffix != ".png" else "") for path in out.rglob("*.*"))
    assert "broken" not in written and "100%" not in written and "final" not in written


def test_masks_that_are_empty_are_counted(results: Path, capsys: pytest.CaptureFixture) -> None:
    exported(results, "coco")
    assert "9 pictures: 7 exported, 1 of them without the concept, 2 left out" in capsys.readouterr().out


def test_a_picture_that_is_gone_is_named_or_left_out(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    results = write_results(tmp_path / "photos", tmp_path / "out", "hair", {"one": masks()["one"], "full": doughnut()})
    (tmp_path / "photos" / NAMES["full"]).unlink()
    exported(results, "coco", status=0)
    assert "1 pictures are no longer where they were segmented" in capsys.readouterr().err
    exported(results, "yolo", status=1)
    assert "100% #&?.png: the picture is no longer there, and this format needs it" in capsys.readouterr().err


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_that_are_stored_turned_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture, orientation: int
) -> None:
    results = write_results(tmp_path / "photos", tmp_path / "out", "hair", {"doughnut": doughnut()})
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = SIZE_HW if orientation > 4 else SIZE_HW[::-1]
    Image.new("RGB", stored).save(tmp_path / "photos" / NAMES["doughnut"], exif=exif)
    exported(results, "yolo", status=0)
    told = capsys.readouterr().err
    if orientation == 1:
        assert "stored turned" not in told
        return
    assert "1 pictures are stored turned (EXIF)" in told


@pytest.fixture
def two(tmp_path: Path) -> list[Path]:
    """Answers of two concepts, of which one lacks a picture."""
    made = masks()
    first = {kind: made[kind] for kind in ("one", "doughnut", "border")}
    second = {"one": made["full"], "doughnut": made["empty"]}
    return [
        write_results(tmp_path / "photos", tmp_path / name, concept, chosen)
        for name, concept, chosen in (("x", "cat", first), ("y", "dog", second))
    ]


def test_several_folders_are_several_classes(two: list[Path], tmp_path: Path) -> None:
    report = export_results(read_results(two), "coco", tmp_path / "new")
    content = json.loads((tmp_path / "new/annotations.json").read_text())
    assert [row["name"] for row in content["categories"]] == ["cat", "dog"]
    assert [(row["image_id"], row["category_id"], row["area"]) for row in content["annotations"]] == [
        *((1, 1, 1), (1, 2, 600)),
        (2, 1, int(doughnut().sum())),
    ]
    left = {Path(source).name: why for source, why in report.failures.items()}
    assert left == {"Übergröße 写真.png": "it was not asked for 'dog'"}


@pytest.mark.parametrize("to", list(FORMATS))
def test_every_format_takes_several_classes(two: list[Path], to: str, tmp_path: Path) -> None:
    report = export_results(read_results(two), to, tmp_path / "new")
    assert (report.exported, report.empty) == (2, 0)
    if to == "image-folder":
        rows = [json.loads(line) for line in (tmp_path / "new/metadata.jsonl").read_text().splitlines()]
        loaded = {
            (row["file_name"], row["concept"]): load_mask(tmp_path / "new" / row["mask_file_name"]) for row in rows
        }
        assert loaded["images/IMG 1 (copy).png", "dog"].all() and loaded["images/IMG 1 (copy).png", "cat"].sum() == 1
        ids = [sample.id for sample in get_benchmark("image_folder").read(tmp_path / "new", "all")]
        assert len(set(ids)) == 4 and "image_folder/images/PHOTO/dog" in ids
    if to == "yolo":
        lines = (tmp_path / "new/labels/IMG 1 (copy).txt").read_text().splitlines()
        assert [line.split()[0] for line in lines] == ["0", "1"]


def test_one_concept_twice_is_refused(tmp_path: Path) -> None:
    results = write_results(tmp_path / "photos", tmp_path / "x", "cat", {"one": masks()["one"]})
    shutil.copytree(results, tmp_path / "y")
    with pytest.raises(InputError, match=r"Two folders hold answers about 'cat' in .*IMG 1"):
        read_results([results, tmp_path / "y"])
    assert len(read_results([results, results]).pictures) == 1


def test_files_of_one_name_from_two_folders_stay_apart(tmp_path: Path) -> None:
    one = write_results(tmp_path / "p", tmp_path / "x", "cat", {"one": doughnut()})
    (tmp_path / "q").mkdir()
    (tmp_path / "p" / NAMES["one"]).rename(tmp_path / "q" / Path(NAMES["one"]).name)
    rows = (one / "results.jsonl").read_text().replace(f"{tmp_path}/p/a/", f"{tmp_path}/q/")
    write_results(tmp_path / "p", tmp_path / "y", "cat", {"one": masks()["one"]})
    (one / "results.jsonl").write_text(rows)
    names = [picture.name for picture in read_results([one, tmp_path / "y"]).pictures]
    assert names[0] == "IMG 1 (copy)" and names[1].startswith("IMG 1 (copy)-") and len(names) == 2


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_pictures_may_be_linked(tmp_path: Path) -> None:
    results = write_results(tmp_path / "photos", tmp_path / "out", "hair", {"one": doughnut()})
    link = exported(results, "yolo", "--link", status=0) / "images/IMG 1 (copy).png"
    assert link.is_symlink() and link.resolve() == (tmp_path / "photos" / NAMES["one"]).resolve()


def refused(capsys: pytest.CaptureFixture, *words: Any) -> str:
    assert main(["export", *map(str, words)]) == 2
    return capsys.readouterr().err


def test_wrong_requests_are_told(results: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert "has no results.jsonl" in refused(capsys, tmp_path, "--to", "coco")
    assert "--polygons means nothing for --to yolo" in refused(capsys, results, "--to", "yolo", "--polygons")
    assert "--link means nothing for --to coco" in refused(capsys, results, "--to", "coco", "--link")
    assert "--url-prefix means nothing" in refused(capsys, results, "--to", "labelme", "--url-prefix", "x")
    assert "is not empty" in refused(capsys, results, "--to", "coco", "--out", results)
    with pytest.raises(InputError, match=r"Unknown format 'voc'\. Formats: coco, yolo"):
        export_results(read_results([results]), "voc", tmp_path / "new")


def test_nothing_but_failures_leaves_nothing_behind(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    results = write_results(tmp_path / "photos", tmp_path / "out", "hair", {}, broken=1)
    assert "nothing to export: " in refused(capsys, results, "--to", "coco")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    (results / "results.jsonl").write_text("")
    assert "the folder holds no results" in refused(capsys, results, "--to", "coco")


def test_an_empty_folder_that_one_stands_in_is_filled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = write_results(tmp_path / "photos", tmp_path / "out", "hair", {"one": doughnut()})
    (tmp_path / "new").mkdir()
    monkeypatch.chdir(tmp_path / "new")
    assert main(["export", str(results), "--to", "coco", "--out", "."]) == 0
    assert (tmp_path / "new/annotations.json").is_file()


def test_the_default_folder_stands_beside_the_results(tmp_path: Path) -> None:
    results = write_results(tmp_path / "photos", tmp_path / "out", "hair", {"one": doughnut()})
    assert main(["export", str(results), "--to", "coco"]) == 0
    assert (tmp_path / "out-coco/annotations.json").is_file()


def test_single_objects_are_annotations_with_scores(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    out = write_results(tmp_path / "photos", tmp_path / "out", "hair", {"one": masks()["one"], "full": masks()["full"]})
    lines = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    parts = [masks()["doughnut"], masks()["border"]]
    lines[1]["instances"] = [
        {"rle": to_coco_rle(m, compressed=False), "score": s} for m, s in zip(parts, (0.9, 0.6), strict=True)
    ]
    (out / "results.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    told = exported(out, "coco", "--instances")
    coco = COCO(told / "annotations.json")
    assert [row["score"] for row in coco.anns.values()] == [0.9, 0.6] and len(coco.imgs) == 1
    for annotation, part in zip(coco.anns.values(), parts, strict=True):
        assert np.array_equal(coco.annToMask(annotation).astype(bool), part)
    printed = capsys.readouterr().err
    assert "2 single objects." in printed and "segmented without --instances" in printed
    lines[1]["instances"][0]["rle"]["counts"] = [1, 2]
    (out / "results.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    shutil.rmtree(told)
    assert "do not fill a picture" in refused(capsys, out, "--to", "coco", "--instances")
    assert "--instances means nothing for --to yolo" in refused(capsys, out, "--to", "yolo", "--instances")
