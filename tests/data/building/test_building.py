"""Appendix B with a segmenter that fills boxes: what is kept, what is set aside, and what a second run does again."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from conceptseg.data import read_samples
from conceptseg.data.benchmarks import get_benchmark
from conceptseg.data.building import DrawnMask, build_masks, build_selection, build_strata
from conceptseg.data.building.progress import resume
from conceptseg.errors import InputError, SampleError
from conceptseg.geometry import round_box
from tests.data.benchmarks import layouts

SETTINGS = {"sam": "digest"}


class FillBoxes:
    """Fills every box; surer the further left it starts, and blind where nothing is to be found."""

    def __init__(self, blind_from_x: float = 99.0) -> None:
        self.calls = 0
        self.blind_from_x = blind_from_x

    def __call__(self, image: Image.Image, box_xyxy):
        self.calls += 1
        if box_xyxy[0] >= self.blind_from_x:
            return None
        left, top, right, bottom = round_box(box_xyxy)
        mask = np.zeros((image.height, image.width), dtype=bool)
        mask[top:bottom, left:right] = True
        return DrawnMask(mask, 1.0 if left == 0 else 0.2)


def write_mig(root: Path) -> None:
    """Four questions about two pictures of 8 × 6 pixels; the boxes are fractions."""
    for name in "ab":
        layouts.picture(root / f"images/{name}.jpg")
    boxes = ([0.0, 0.0, 0.5, 1.0], [0.5, 0.0, 1.0, 1.0], [0.0, 0.0, 1.0, 0.5], [0.5, 0.5, 0.5, 0.9])
    kinds = ("diff", "diff", "common_object", "reasoning")
    rows = [
        {
            "task": kind,
            "images": ["./MIG-Bench/images/a.jpg", "./MIG-Bench/images/b.jpg"],
            "question": "Which?",
            "answer": b,
        }
        for kind, b in zip(kinds, boxes, strict=True)
    ]
    layouts.write_json(root / "MIG_data.json", rows)


@pytest.fixture
def mig(tmp_path) -> Path:
    write_mig(tmp_path / "mig")
    return tmp_path / "mig"


def build(root: Path, draw: FillBoxes, **options):
    return build_masks(get_benchmark("mig_bench"), root, draw, settings=SETTINGS, **options)


def test_masks_are_made_of_boxes_and_the_doubtful_set_aside(mig):
    built = build(mig, FillBoxes())
    assert [(one.id, one.kept) for one in built] == [
        ("diff/0000", True),
        ("diff/0001", False),
        ("common_object/0002", True),
        ("reasoning/0003", False),
    ]
    assert built[0].quality == 1.0 and built[0].box_xyxy == (0, 0, 4, 6)
    assert built[1].quality == pytest.approx(0.2) and "below 0.5" in built[1].reason
    assert "covers nothing" in built[3].reason
    mask = np.asarray(Image.open(mig / "masks/diff/0000.png"))
    assert (mask[:, :4] == 255).all() and not mask[:, 4:].any()
    assert (mig / "masks/low_quality/diff/0001.png").is_file() and not (mig / "masks/diff/0001.png").exists()


def test_the_reader_takes_what_was_kept(mig):
    reader = get_benchmark("mig_bench")
    assert len(reader.read(mig)) == 4 and reader.read(mig)[0].mask is None
    build(mig, FillBoxes())
    samples = reader.read(mig)
    assert [sample.id for sample in samples] == ["mig_bench/diff/0000", "mig_bench/common_object/0002"]
    assert [sample.task for sample in samples] == ["static_difference", "common_consistency"]
    assert samples[0].mask == mig / "masks/diff/0000.png"
    assert "static_difference            1 of 187" in reader.check(mig).text()


def test_the_manifest_holds_hashes_and_a_second_build_changes_nothing(mig):
    draw = FillBoxes()
    build(mig, draw)
    files = {path: path.read_bytes() for path in (mig / "masks").rglob("*") if path.is_file()}
    manifest = json.loads((mig / "masks/manifest.json").read_text())
    assert manifest["settings"] == {"benchmark": "mig_bench", "split": "test", "sam": "digest", "least_quality": 0.5}
    entry = manifest["masks"][0]
    assert entry["mask_sha256"] == hashlib.sha256((mig / "masks/diff/0000.png").read_bytes()).hexdigest()
    assert entry["image_sha256"] == hashlib.sha256((mig / "images/b.jpg").read_bytes()).hexdigest()
    calls = draw.calls
    build(mig, draw)
    assert draw.calls == calls == 3
    assert {path: path.read_bytes() for path in (mig / "masks").rglob("*") if path.is_file()} == files


def test_a_person_has_the_last_word(mig):
    build(mig, FillBoxes())
    (mig / "masks/rejected.txt").write_text("diff/0000\n")
    built = build(mig, FillBoxes())
    assert built[0].reason == "rejected by hand" and not (mig / "masks/diff/0000.png").exists()
    assert [sample.id for sample in get_benchmark("mig_bench").read(mig)] == ["mig_bench/common_object/0002"]
    (mig / "masks/rejected.txt").unlink()
    assert build(mig, FillBoxes(), least_quality=0.1)[1].kept and (mig / "masks/diff/0001.png").is_file()
    page = (mig / "masks/review.html").read_text()
    assert "3 of 4 masks kept" in page and page.index("reasoning/0003") < page.index("diff/0000")


def test_a_stopped_build_goes_on_and_leaves_the_reader_alone(mig):
    class Stops(FillBoxes):
        def __call__(self, image, box_xyxy):
            if self.calls == 2:
                raise KeyboardInterrupt
            return super().__call__(image, box_xyxy)

    with pytest.raises(KeyboardInterrupt):
        build(mig, Stops())
    assert len(get_benchmark("mig_bench").read(mig)) == 4  # nothing is left out before all is built
    draw = FillBoxes()
    assert len(build(mig, draw)) == 4 and draw.calls == 1


def test_a_mask_that_went_missing_is_drawn_again_and_other_settings_draw_all_again(mig):
    build(mig, FillBoxes())
    (mig / "masks/diff/0000.png").unlink()
    draw = FillBoxes()
    build(mig, draw)
    assert draw.calls == 1
    build_masks(get_benchmark("mig_bench"), mig, draw, settings={"sam": "another"})
    assert draw.calls == 4


def test_where_nothing_is_found_nothing_is_kept(mig):
    built = build(mig, FillBoxes(blind_from_x=4.0))
    assert not built[1].kept and built[1].mask_sha256 is None and "found nothing" in built[1].reason


def test_a_data_set_without_boxes_is_refused(tmp_path):
    layouts.duts(tmp_path)
    with pytest.raises(SampleError, match="gives no boxes"):
        build_masks(get_benchmark("duts"), tmp_path, FillBoxes(), settings=SETTINGS)


def write_species(root: Path, species: int) -> None:
    """Two pictures each of some species; the number in the name is how unsure one should be."""
    images, annotations = [], []
    for number in range(2 * species):
        layouts.picture(root / f"images/{number}.jpg", shade=number)
        name = f"species {number // 2}"
        images.append({"id": number, "file_name": f"{number}.jpg", "text_input": name, "height": 6, "width": 8})
        annotations.append({"image_id": number, "segmentation": {"counts": [0, 12, 36], "size": [6, 8]}})
    layouts.write_json(root / "silver_inaturalist_merged_test.json", {"images": images, "annotations": annotations})


def test_the_least_sure_hundredth_is_ultra_rare(tmp_path):
    write_species(tmp_path, 101)
    asked = []

    def confidence(image: Image.Image, words: str) -> float:
        asked.append(words)
        return 1 - int(words.split()[1]) / 200

    rare = build_strata(get_benchmark("inaturalist"), tmp_path, confidence, settings=SETTINGS)
    assert rare == ["species 100", "species 99"]  # 1 % of 101, rounded up
    counts = {row.task: row.found for row in get_benchmark("inaturalist").check(tmp_path).counts if row.split == "test"}
    assert counts == {"fine_grained": 2 * 99, "ultra_rare": 2 * 2}
    manifest = json.loads((tmp_path / "strata/manifest.json").read_text())
    assert manifest["classes"]["species 100"] == pytest.approx(0.5) and len(manifest["pictures"]) == 202
    before = len(asked)
    build_strata(get_benchmark("inaturalist"), tmp_path, confidence, settings=SETTINGS)
    assert len(asked) == before == 202
    with pytest.raises(InputError, match="between 0 and 1, got 1"):
        build_strata(get_benchmark("inaturalist"), tmp_path, confidence, settings=SETTINGS, rare_share=1.0)


def test_a_selection_is_a_folder_with_hashes(tmp_path):
    layouts.duts(tmp_path / "duts")
    paths = [build_selection(get_benchmark("duts"), tmp_path / "duts", tmp_path / name, references=1) for name in "ab"]
    assert paths[0].read_bytes() == paths[1].read_bytes()
    manifest = json.loads(paths[0].read_text())
    samples = read_samples(tmp_path / "a")
    assert [entry["id"] for entry in manifest["samples"]] == [sample.id for sample in samples]
    picture = hashlib.sha256(Path(samples[0].image).read_bytes()).hexdigest()
    assert manifest["samples"][0]["image_sha256"] == picture and len(samples[0].references) == 1


def test_a_torn_line_is_made_again(tmp_path):
    made = []

    def make(item_id: str) -> dict:
        made.append(item_id)
        return {"value": len(made)}

    list(resume(tmp_path, "abc", {"s": 1}, make))
    path = tmp_path / "progress.jsonl"
    path.write_bytes(path.read_bytes()[:-3])
    assert [record["value"] for record in resume(tmp_path, "abc", {"s": 1}, make)] == [1, 2, 4]
    assert made == ["a", "b", "c", "c"]
