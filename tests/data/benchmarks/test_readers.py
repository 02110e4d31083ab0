"""What is particular to one benchmark: its questions, its masks, its odd names."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from conceptseg.data import ConceptSample, load_reference
from conceptseg.data.benchmarks import get_benchmark
from conceptseg.data.benchmarks.cityscapes import CITYSCAPES_CLASSES, resolve_overlaps
from conceptseg.data.benchmarks.coco20i import LIVING_CLASSES
from conceptseg.data.folders import pair_folders
from conceptseg.data.selection import take_by_hash
from conceptseg.errors import InputError, SampleError
from conceptseg.images import load_mask, read_mask

from .layouts import BUILDERS, mask, picture, write_json


def read(name: str, root: Path, split: str | None = None, **options: object) -> dict[str, ConceptSample]:
    """The samples of a freshly laid out benchmark by their ids without its name."""
    BUILDERS[name](root)
    return {sample.id.removeprefix(f"{name}/"): sample for sample in get_benchmark(name, **options).read(root, split)}


def area(sample: ConceptSample) -> int:
    assert sample.mask is not None
    return int(load_mask(sample.mask).sum())


@pytest.mark.parametrize(
    ("name", "question"),
    [
        ("duts", "salient object segmentation"),
        ("cod10k", "camouflaged object segmentation"),
        ("fss1000", "Common object segmentation"),
        ("cosod3k", "Common object segmentation"),
        ("trans10k", "transparent"),
        ("sbu", "shadow"),
        ("esdis_sod", "industrial defect segmentation"),
        ("polyp", "polyp colon segmentation"),
        ("busi", "breast tumor segmentation"),
        ("isic2018", "skin melanocytic tumor segmentation"),
    ],
)
def test_fixed_questions_are_those_the_benchmark_was_run_with(name: str, question: str, tmp_path: Path) -> None:
    assert {sample.concept for sample in read(name, tmp_path).values()} == {question}


def test_references_come_from_the_train_split(tmp_path: Path) -> None:
    for sample in read("duts", tmp_path).values():
        assert len(sample.references) == 3
        assert all("DUTS-TR-Image" in str(reference.image) for reference in sample.references)
        assert all("DUTS-TR-Mask" in str(reference.mask) for reference in sample.references)


def test_zero_references_need_no_train_split(tmp_path: Path) -> None:
    picture(tmp_path / "DUTS-TE/DUTS-TE-Image/a.jpg")
    mask(tmp_path / "DUTS-TE/DUTS-TE-Mask/a.png")
    assert get_benchmark("duts").read(tmp_path, references=0)[0].references == ()
    with pytest.raises(SampleError, match="DUTS-TR"):
        get_benchmark("duts").read(tmp_path)


def test_other_seeds_draw_other_references_and_other_items_do_not_matter(tmp_path: Path) -> None:
    for number in range(30):
        picture(tmp_path / f"DUTS-TR/DUTS-TR-Image/{number}.jpg")
        mask(tmp_path / f"DUTS-TR/DUTS-TR-Mask/{number}.png")
    for name in ("a", "b"):
        picture(tmp_path / f"DUTS-TE/DUTS-TE-Image/{name}.jpg")
        mask(tmp_path / f"DUTS-TE/DUTS-TE-Mask/{name}.png")
    reader = get_benchmark("duts")
    first, second, other = (reader.read(tmp_path, seed=seed) for seed in (0, 0, 1))
    drawn = [[reference.image for reference in sample.references] for sample in (first[1], second[1], other[1])]
    assert drawn[0] == drawn[1] != drawn[2]
    (tmp_path / "DUTS-TE/DUTS-TE-Image/a.jpg").unlink()
    (tmp_path / "DUTS-TE/DUTS-TE-Mask/a.png").unlink()
    assert [reference.image for reference in reader.read(tmp_path)[0].references] == drawn[0]


def test_cod10k_leaves_out_what_is_not_camouflaged_and_adds_camo(tmp_path: Path) -> None:
    samples = read("cod10k", tmp_path, "train")
    assert sorted(samples) == [
        "CAMO-V.1.0-CVIU2019/Images/Train/camourflage_00001",
        "Train/Image/COD10K-CAM-1-Aquatic-0-BatFish-0",
        "Train/Image/COD10K-CAM-1-Aquatic-1-BatFish-1",
    ]


def test_cod10k_reads_the_bundle_of_sinet(tmp_path: Path) -> None:
    for part in ("TrainDataset", "TestDataset/COD10K"):
        picture(tmp_path / part / "Imgs/COD10K-CAM-1.jpg")
        mask(tmp_path / part / "GT/COD10K-CAM-1.png")
    (sample,) = get_benchmark("cod10k").read(tmp_path)
    assert "TestDataset" in str(sample.image) and "TrainDataset" in str(sample.references[0].image)


def test_fss1000_references_stay_in_the_class(tmp_path: Path) -> None:
    sample = read("fss1000", tmp_path)["fewshot_data/abe's_flyingfish/10"]
    assert sample.group == "abe's_flyingfish" and len(sample.references) == 2
    assert all("abe's_flyingfish" in str(reference.image) for reference in sample.references)
    assert area(sample) == 18


def test_mgrounding_gives_questions_boxes_and_the_other_pictures(tmp_path: Path) -> None:
    samples = read("mgrounding", tmp_path)
    shared, changed = samples["common_consistency/000000"], samples["static_difference/000000"]
    assert shared.concept == "Find the shared dog." and Path(str(shared.image)).name == "a.jpg"
    assert shared.extra["box_fractions"] == [0.1, 0.2, 0.3, 0.999]
    assert Path(str(changed.image)).name == "d.jpg"
    assert [Path(str(reference.image)).name for reference in changed.references] == ["c.jpg"]


def test_coco_joins_objects_and_divides_by_life(tmp_path: Path) -> None:
    samples = read("coco20i", tmp_path)
    assert len(LIVING_CLASSES) == 17
    assert samples["potted_plant/COCO_val2014_000000000200"].task == "living"
    assert samples["toothbrush/COCO_val2014_000000000202"].task == "artifact"
    with_crowd, alone = (samples[f"person/COCO_val2014_00000000020{number}"] for number in (0, 1))
    assert area(with_crowd) == area(alone) + 12  # the crowd's last two columns
    assert load_mask(with_crowd.mask)[:, 6:].all()
    assert all("train2014" in str(reference.image) for reference in alone.references)


def test_coco_takes_a_fixed_selection_of_every_class(tmp_path: Path) -> None:
    assert len(read("coco20i", tmp_path, per_class=1)) == 3
    assert len(read("coco20i", tmp_path, per_class=None)) == 6


def test_inaturalist_strata_and_negatives(tmp_path: Path) -> None:
    samples = read("inaturalist", tmp_path)
    assert {sample.concept: sample.task for sample in samples.values()} == {
        "Danaus plexippus": "fine_grained",
        "Gulo gulo": "ultra_rare",
    }
    rare = samples["10003"]
    assert area(rare) == 18
    assert [Path(str(reference.image)).name for reference in rare.references] == ["Insecta_4.jpg"]


def test_trans10k_takes_things_and_stuff_together(tmp_path: Path) -> None:
    assert [area(sample) for sample in read("trans10k", tmp_path).values()] == [18, 18]


def test_esdis_leaves_out_kinds_3_and_5_and_keeps_kinds_together(tmp_path: Path) -> None:
    samples = read("esdis_sod", tmp_path)
    assert sorted(samples) == ["test/images/10_9", "test/images/7_12"]
    references = samples["test/images/7_12"].references
    assert sorted(Path(str(reference.image)).stem for reference in references) == ["7_1", "7_2"]


def test_busi_joins_masks_and_follows_the_list(tmp_path: Path) -> None:
    samples = read("busi", tmp_path)
    assert sorted(path.split("/")[-1] for path in samples) == ["benign (10)", "malignant (1)"]
    assert area(samples["Dataset_BUSI_with_GT/benign/benign (10)"]) == 12 + 6


def test_isic_holds_out_three_in_ten_and_nothing_twice(tmp_path: Path) -> None:
    train, test = read("isic2018", tmp_path, "train"), read("isic2018", tmp_path, "test")
    assert (len(train), len(test)) == (7, 3) and not train.keys() & test.keys()


def test_a_test_list_that_names_what_is_not_there_is_refused(tmp_path: Path) -> None:
    BUILDERS["isic2018"](tmp_path)
    (tmp_path / "test.txt").write_text("ISIC_0000001\nISIC_7777777\n")
    with pytest.raises(SampleError, match="names 'ISIC_7777777', which is not there"):
        get_benchmark("isic2018").read(tmp_path)


def test_mig_bench_asks_its_own_questions(tmp_path: Path) -> None:
    samples = read("mig_bench", tmp_path)
    reasoning = samples["reasoning/0000"]
    assert reasoning.concept.startswith("Which item in Image-2") and reasoning.task == "logical_rationality"
    assert Path(str(reasoning.image)).name == "case097_2.png"
    assert [Path(str(each.image)).name for each in reasoning.references] == ["case097_1.png", "case097_3.png"]
    assert all(each.mask is None and each.box is None for each in reasoning.references)
    assert area(reasoning) == 12 and reasoning.extra["box_fractions"] == [0.25, 0.0, 0.5, 1.0]
    assert Path(str(samples["diff/0001"].image)).name == "case097_1.png" and samples["diff/0001"].mask is None
    assert Path(str(samples["common_object/0002"].image)).name == "case097_3.png"


def test_cityscapes_asks_every_class_of_every_picture(tmp_path: Path) -> None:
    samples = read("cityscapes", tmp_path)
    assert len(CITYSCAPES_CLASSES) == 19 and all(not sample.references for sample in samples.values())
    car = samples["munster_000000_000294/car"]
    target, ignored = (told := read_mask(car.mask)).target, told.ignore
    assert car.concept == "car" and target[:, 4:6].all() and target.sum() == 12
    assert ignored[:, 6:].all() and ignored.sum() == 12
    absent = samples["munster_000000_000294/traffic_light"]
    assert absent.concept == "traffic light" and area(absent) == 0
    report = get_benchmark("cityscapes").check(tmp_path)
    assert [row.found for row in report.counts] == [1, 2]


def test_cityscapes_references_show_the_class(tmp_path: Path) -> None:
    BUILDERS["cityscapes"](tmp_path)
    samples = get_benchmark("cityscapes").read(tmp_path, references=4)
    shown = {sample.concept for sample in samples if sample.references}
    assert shown == {"road", "car"}


def test_overlaps_go_to_the_surest_class() -> None:
    masks = np.array([[[1, 1, 0]], [[0, 1, 1]], [[0, 1, 0]]], bool)
    resolved = resolve_overlaps(masks, [0.4, 0.9, 0.9])
    assert resolved.astype(int).tolist() == [[[1, 0, 0]], [[0, 1, 1]], [[0, 0, 0]]]
    with pytest.raises(InputError, match="got 1 scores and 3 masks"):
        resolve_overlaps(masks, [0.4])


def test_reasonseg_takes_the_first_wording_and_marks_what_is_ignored(tmp_path: Path) -> None:
    samples = read("reasonseg", tmp_path, "val")
    (sample,) = samples.values()
    assert sample.concept == "the part of the room where one’s guests sit"
    assert sample.extra == {"is_sentence": True} and sample.references == ()
    target, ignored = (told := read_mask(sample.mask)).target, told.ignore
    assert ignored[:, :4].all() and ignored.sum() == 24  # the smaller region is drawn over the larger one
    assert target[:, 4:6].all() and target.sum() == 12


def test_released_metadata_gives_its_questions_and_references(tmp_path: Path) -> None:
    samples = read("released", tmp_path)
    saliency, rare, difference = (
        samples[f"{name}/test/0000{n}"] for n, name in enumerate(("DUTS", "ultra_rare", "MIG_diff"))
    )
    assert saliency.concept == "salient object segmentation" and len(saliency.references) == 3
    assert rare.concept == "Gulo gulo" and rare.task == "ultra_rare"
    assert [Path(str(each.image)).name for each in rare.references] == ["u2.jpg"]  # the class has two pictures
    assert difference.concept == "What changed?" and Path(str(difference.image)).name == "c.jpg"
    assert [each.box for each in difference.references] == [(2.0, 0.0, 4.0, 6.0), (0.0, 0.0, 8.0, 3.0)]


def test_boxes_of_references_lie_on_their_pictures_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (8, 4)).save(tmp_path / "a.jpg", exif=exif)
    Image.new("RGB", (8, 8)).save(tmp_path / "b.jpg")
    Image.new("L", (8, 8)).save(tmp_path / "b.png")
    row = {"img_path": ["a.jpg", "b.jpg"], "mask_path": "b.png", "cls_name": "x", "dataset_name": "MIG_diff"}
    row |= {"problem": "What changed?", "ref_box": [[0.0, 0.5, 1.0, 1.0]]}
    write_json(tmp_path / "all_meta.json", {"train": {}, "test": {"MIG": [row]}})
    (sample,) = get_benchmark("released").read(tmp_path)
    assert sample.references[0].box == (0.0, 4.0, 4.0, 8.0) == load_reference(sample.references[0]).box


def test_released_rows_cannot_leave_the_folder(tmp_path: Path) -> None:
    row = {"img_path": ["../secret.jpg"], "mask_path": "m.png", "cls_name": "DUTS", "dataset_name": "DUTS"}
    write_json(tmp_path / "all_meta.json", {"train": {}, "test": {"DUTS": [row]}})
    with pytest.raises(SampleError, match=r"test row 0.*leaves the folder"):
        get_benchmark("released").read(tmp_path)


def test_released_can_be_cut_down_to_some_data_sets(tmp_path: Path) -> None:
    assert list(read("released", tmp_path, datasets=("MIG_diff",))) == ["MIG_diff/test/00002"]


def test_image_folder_reads_tables_of_both_kinds(tmp_path: Path) -> None:
    samples = read("image_folder", tmp_path, "all", task="other_cd")
    assert {sample.concept for sample in samples.values()} == {"leaf"} and "test/é" in samples
    assert all(len(sample.references) == 3 for sample in samples.values())


def test_image_folder_says_which_column_it_misses(tmp_path: Path) -> None:
    BUILDERS["image_folder"](tmp_path)
    reader = get_benchmark("image_folder", concept_column="species")
    with pytest.raises(SampleError, match=r"no column for the concept.*columns: file_name, mask_file_name, label"):
        reader.read(tmp_path, "train")


def test_folders_understand_other_spellings(tmp_path: Path) -> None:
    samples = read("folders", tmp_path, concept="rust", task="industrial_anomaly")
    assert sorted(samples) == ["JPEGImages/IMG 1", "JPEGImages/b", "JPEGImages/c.final"]
    assert {(sample.concept, sample.task) for sample in samples.values()} == {("rust", "industrial_anomaly")}


def test_folders_prefer_train_and_test(tmp_path: Path) -> None:
    for split in ("train", "test"):
        picture(tmp_path / split / "images/a.png")
        mask(tmp_path / split / "masks/a.png")
    assert len(get_benchmark("folders").read(tmp_path)) == 2
    assert len(get_benchmark("folders").read(tmp_path, "test")) == 1


@pytest.mark.parametrize(
    ("name", "content"),
    [("coco20i", "[]"), ("inaturalist", '{"images": [{}]}'), ("released", '{"train": 3}'), ("mig_bench", "[{}]")],
)
def test_annotations_of_another_kind_are_named(name: str, content: str, tmp_path: Path) -> None:
    BUILDERS[name](tmp_path)
    (path,) = (path for path in tmp_path.rglob("*.json") if "train2014" not in path.name)
    path.write_text(content)
    with pytest.raises(SampleError, match=path.name):
        get_benchmark(name).read(tmp_path)


def test_cut_off_annotations_are_named(tmp_path: Path) -> None:
    BUILDERS["mig_bench"](tmp_path)
    path = tmp_path / "MIG_data.json"
    path.write_text(path.read_text()[:100])
    with pytest.raises(SampleError, match=r"MIG_data\.json is not JSON, or is cut off(.|\n)*huggingface"):
        get_benchmark("mig_bench").read(tmp_path)


def test_selections_by_hash_depend_on_names_and_salt_only() -> None:
    names = [str(number) for number in range(50)]
    assert take_by_hash(names, 10) == take_by_hash(reversed(names), 10) != take_by_hash(names, 10, salt="x")
    assert take_by_hash(names, 5) < take_by_hash(names, 10)


def test_folders_are_paired_as_from_folders_pairs_them(tmp_path: Path) -> None:
    for name in ("1", "a/2", "a/b/3", "c.final"):
        picture(tmp_path / f"images/{name}.jpg")
    for name in ("1-mask", "a/2_seg", "a/b/3", "lone"):
        mask(tmp_path / f"masks/{name}.png")
    reader, told = (
        get_benchmark("folders"),
        pair_folders(tmp_path / "images", tmp_path / "masks", task="other_ci", concept="x"),
    )
    items = reader.scan(tmp_path, "all").items
    assert [(item.image, item.mask) for item in items] == [(sample.image, sample.mask) for sample in told.samples]
    assert [item.id for item in items] == ["images/1", "images/a/2", "images/a/b/3"]
    problems = reader.check(tmp_path).problems
    assert len(problems) == 2 and "c.final: an image without a mask" in problems[0] and "lone: a mask" in problems[1]


@pytest.mark.parametrize(
    ("name", "file", "change", "named"),
    [
        ("mig_bench", "MIG_data.json", lambda rows: rows[0].update(images=[]), "row 0"),
        ("mig_bench", "MIG_data.json", lambda rows: rows[0].update(answer=["left"]), "row 0"),
        ("mig_bench", "MIG_data.json", lambda rows: rows[0].update(question=7), "row 0"),
        ("mig_bench", "MIG_data.json", lambda rows: rows.insert(0, None), "row 0"),
        ("reasonseg", "ReasonSeg/val/{0}.json", lambda told: told.update(text=[5]), "is not a ReasonSeg annotation"),
        ("reasonseg", "ReasonSeg/val/{0}.json", lambda told: told.update(shapes=[7]), "is not a ReasonSeg annotation"),
        ("coco20i", "annotations/instances_val2014.json", lambda told: told["images"].clear(), "not a COCO instance"),
        ("coco20i", "annotations/instances_val2014.json", lambda told: told.update(images=3), "not a COCO instance"),
    ],
)
def test_an_annotation_that_is_built_otherwise_is_a_problem(
    tmp_path: Path, name: str, file: str, change: Callable[[Any], object], named: str
) -> None:
    BUILDERS[name](tmp_path)
    stems = [path.stem for path in sorted((tmp_path / "ReasonSeg/val").glob("*.json"))] if "{" in file else []
    path = tmp_path / file.format(*stems)
    told = json.loads(path.read_text(encoding="utf-8", errors="replace"))
    change(told)
    path.write_text(json.dumps(told), encoding="utf-8")
    assert any(named in problem for problem in get_benchmark(name).check(tmp_path).problems)


def test_boxes_of_references_that_are_none_are_a_problem(tmp_path: Path) -> None:
    Image.new("RGB", (8, 4)).save(tmp_path / "a.jpg")
    row = {"img_path": ["a.jpg", "b.jpg"], "mask_path": "b.png", "cls_name": "x", "dataset_name": "MIG_diff"}
    for boxes in ([[0, 0, 1, 1]] * 2, [[0, 0, 1]]):
        rows = [row | {"problem": "What changed?", "ref_box": boxes}]
        write_json(tmp_path / "all_meta.json", {"train": {}, "test": {"MIG": rows}})
        assert any("test row 0" in problem for problem in get_benchmark("released").check(tmp_path).problems)


def test_whatever_a_reader_did_not_foresee_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = get_benchmark("duts")
    monkeypatch.setattr(type(reader), "scan", lambda self, root, split: {}["missing"])
    assert "is not built as DUTS is: KeyError('missing')" in reader.check(tmp_path).problems[-1]
    with pytest.raises(SampleError, match="is not built as DUTS is"):
        reader.read(tmp_path)
