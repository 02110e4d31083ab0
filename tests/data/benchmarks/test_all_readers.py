"""What every reader owes: complete samples, honest references, and named losses."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from conceptseg.data import load_sample
from conceptseg.data.benchmarks import Benchmark, benchmark_names, get_benchmark
from conceptseg.errors import InputError, SampleError

from .layouts import BUILDERS, SIZE_HW

# name → the pictures of every split, the tasks, a file to lose (a mask or an annotation where there is one)
EXPECTED: dict[str, tuple[dict[str, int], set[str], str]] = {
    "duts": ({"train": 3, "test": 2}, {"saliency"}, "DUTS-TE/DUTS-TE-Mask/img.v2.png"),
    "cod10k": ({"train": 3, "test": 2}, {"camouflage"}, "Test/GT_Object/COD10K-CAM-1-Aquatic-0-BatFish-0.png"),
    "fss1000": ({"train": 9}, {"common_consistency"}, "fewshot_data/abe's_flyingfish/10.png"),
    "mgrounding": ({"train": 2}, {"common_consistency", "static_difference"}, "Common_Object/COCO/b.jpg"),
    "cosod3k": (
        {"train": 4},
        {"common_consistency"},
        "CoSOD3k/groundtruth/ant-bear/ILSVRC2013_ant-bear_2.png",
    ),
    "coco20i": ({"train": 6, "test": 6}, {"living", "artifact"}, "val2014/COCO_val2014_000000000201.jpg"),
    "inaturalist": ({"all": 5, "test": 4}, {"fine_grained", "ultra_rare"}, "images/Insecta_3.jpg"),
    "trans10k": ({"train": 2, "validation": 2, "test": 2}, {"transparency"}, "test/hard/masks/1091_mask.png"),
    "sbu": ({"train": 2, "test": 1}, {"shadow"}, "SBU-shadow/SBU-Test/ShadowMasks/lssd99.png"),
    "esdis_sod": ({"train": 3, "test": 2}, {"industrial_anomaly"}, "test/gt/7_12.png"),
    "polyp": ({"train": 2, "test": 5}, {"polyp_lesion"}, "TestDataset/Kvasir/masks/1.png"),
    "busi": ({"train": 6, "test": 2}, {"breast_lesion"}, "Dataset_BUSI_with_GT/malignant/malignant (1)_mask.png"),
    "isic2018": (
        {"train": 7, "test": 3},
        {"skin_lesion"},
        "ISIC2018_Task1_Validation_GroundTruth/ISIC_0000050_segmentation.png",
    ),
    "mig_bench": (
        {"test": 3},
        {"logical_rationality", "static_difference", "common_consistency"},
        "images/diff/case097_2.png",
    ),
    "cityscapes": (
        {"train": 2, "val": 38},
        {"urban_scene"},
        "gtFine/val/munster/munster_000000_000294_gtFine_labelIds.png",
    ),
    "reasonseg": ({"train": 1, "val": 1, "test": 1}, {"reasoning"}, "ReasonSeg/test/6_long.json"),
    "released": ({"train": 5, "test": 3}, {"saliency", "ultra_rare", "static_difference"}, "ultra_rare/u1.png"),
    "image_folder": ({"train": 3, "test": 1, "all": 4}, {"other_ci"}, "test/é_mask.png"),
    "coco": ({"all": 4}, {"other_ci"}, "images/c.png"),
    "folders": ({"all": 3}, {"other_ci"}, "SegmentationClass/c.final_mask.png"),
}


@pytest.fixture(params=benchmark_names())
def benchmark(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Benchmark, Path]:
    BUILDERS[request.param](tmp_path)
    return get_benchmark(request.param), tmp_path


def test_every_split_is_read_whole(benchmark: tuple[Benchmark, Path]) -> None:
    reader, root = benchmark
    counts, tasks, _ = EXPECTED[reader.info.name]
    samples = {split: reader.read(root, split) for split in counts}
    assert {split: len(found) for split, found in samples.items()} == counts
    assert {sample.task for found in samples.values() for sample in found} == tasks
    for split, found in samples.items():
        assert len({sample.id for sample in found}) == len(found)
        assert all(sample.id.startswith(f"{reader.info.name}/") and sample.split == split for sample in found)


def test_pictures_and_masks_load(benchmark: tuple[Benchmark, Path]) -> None:
    reader, root = benchmark
    for sample in reader.read(root, list(EXPECTED[reader.info.name][0])[-1]):
        loaded = load_sample(sample)
        assert (loaded.image.height, loaded.image.width) == SIZE_HW
        if reader.info.name not in ("cityscapes", "mig_bench", "mgrounding"):
            assert loaded.mask is not None and loaded.mask.any() and not loaded.mask.all()


def test_references_are_marked_and_never_the_target(benchmark: tuple[Benchmark, Path]) -> None:
    reader, root = benchmark
    split = list(EXPECTED[reader.info.name][0])[-1]
    for sample in reader.read(root, split, references=4):
        assert all(reference.image != sample.image for reference in sample.references)
        images = [reference.image for reference in sample.references]
        assert len(set(images)) == len(images)
        if reader.info.name not in ("mig_bench", "mgrounding", "released"):
            assert all(reference.mask is not None for reference in sample.references)


def test_references_depend_on_the_seed_alone(benchmark: tuple[Benchmark, Path]) -> None:
    reader, root = benchmark
    split = list(EXPECTED[reader.info.name][0])[-1]
    images = [
        [[reference.image for reference in sample.references] for sample in reader.read(root, split, seed=seed)]
        for seed in (5, 5)
    ]
    assert images[0] == images[1]


def test_a_missing_file_is_named_with_the_way_to_get_it(benchmark: tuple[Benchmark, Path]) -> None:
    reader, root = benchmark
    counts, _, lost = EXPECTED[reader.info.name]
    (root / lost).unlink()
    with pytest.raises(SampleError, match="How to get it") as caught:
        for split in counts:
            reader.read(root, split)
    assert Path(lost).stem.removesuffix("_mask") in str(caught.value)
    assert reader.info.fetch in str(caught.value)
    report = reader.check(root)
    assert not report.ok and any(Path(lost).stem.removesuffix("_mask") in problem for problem in report.problems)
    assert reader.info.fetch in report.text()


def test_a_damaged_picture_is_named(benchmark: tuple[Benchmark, Path]) -> None:
    reader, root = benchmark
    sample = reader.read(root, list(EXPECTED[reader.info.name][0])[-1])[0]
    damaged = Path(str(sample.image))
    damaged.write_bytes(damaged.read_bytes()[:30])
    report = reader.check(root, decode=True)
    assert any(damaged.name in problem for problem in report.problems)
    assert reader.info.fetch in report.text()


def test_nothing_there_is_said_so(benchmark: tuple[Benchmark, Path], tmp_path: Path) -> None:
    reader, _ = benchmark
    with pytest.raises(SampleError, match=r"is not complete in .*elsewhere(.|\n)*How to get it") as caught:
        reader.read(tmp_path / "elsewhere")
    assert reader.info.layout in str(caught.value)


def test_every_reader_opens_with_its_facts() -> None:
    for name in benchmark_names():
        doc = __import__(f"conceptseg.data.benchmarks.{name}", fromlist=["_"]).__doc__
        facts = [f"\n{fact}: " for fact in ("Data set", "Source", "Licence", "Layout")]
        assert all(fact in doc for fact in facts) and "\nProtocol" in doc, name


def test_names_are_registered_once_and_others_refused() -> None:
    assert set(benchmark_names()) == set(EXPECTED) == set(BUILDERS)
    with pytest.raises(InputError, match=r"Unknown benchmark 'imagenet'\. Known benchmarks: duts"):
        get_benchmark("imagenet")
    with pytest.raises(InputError, match=r"'duts' does not take these options: per_class\. Its options: none"):
        get_benchmark("duts", per_class=3)
    with pytest.raises(InputError, match=r"'coco20i' does not take these options: colour\. Its options: per_class"):
        get_benchmark("coco20i", colour=3)
    with pytest.raises(InputError, match=r"'coco20i': per_class is 'many'\. Input should be a valid integer"):
        get_benchmark("coco20i", per_class="many")


def test_several_names_are_one_option(tmp_path: Path) -> None:
    BUILDERS["released"](tmp_path)
    rare = get_benchmark("released", datasets="ultra_rare,rare").read(tmp_path, "test", references=0)
    assert {sample.task for sample in rare} == {"ultra_rare"}
    assert get_benchmark("released", datasets="ultra_rare").datasets == ("ultra_rare",)  # and no part of that name


def test_what_several_splits_lack_is_told_once(tmp_path: Path) -> None:
    problems = get_benchmark("isic2018").check(tmp_path).problems
    assert problems and len(problems) == len(set(problems))


@pytest.mark.parametrize("name", ["folders", "image_folder"])
def test_a_layout_of_ones_own_is_complete_without_other_splits(name: str, tmp_path: Path) -> None:
    BUILDERS[name](tmp_path)
    report = get_benchmark(name).check(tmp_path, decode=True)
    assert report.ok and sum(row.found for row in report.counts) == EXPECTED[name][0]["all"]


def test_folders_may_have_one_part_alone(tmp_path: Path) -> None:
    BUILDERS["folders"](tmp_path / "test")
    reader = get_benchmark("folders")
    assert len(reader.read(tmp_path)) == 3 and reader.check(tmp_path).ok
    with pytest.raises(SampleError, match=r"there is no folder .*nowhere/images"):
        reader.read(tmp_path / "nowhere")


def test_an_annotation_without_its_picture_is_named(tmp_path: Path) -> None:
    BUILDERS["reasonseg"](tmp_path)
    next((tmp_path / "ReasonSeg/val").glob("*.jpg")).unlink()
    (tmp_path / "ReasonSeg/val/other.jpg").touch()
    problems = get_benchmark("reasonseg").check(tmp_path).problems
    assert any("has no picture 5795235_a01c2ec6ad_o.jpg" in problem for problem in problems)


def test_damaged_references_of_a_question_are_named(tmp_path: Path) -> None:
    BUILDERS["mig_bench"](tmp_path)
    reader = get_benchmark("mig_bench")
    reference = next(s.references[0].image for s in reader.read(tmp_path) if s.references)
    Path(str(reference)).write_bytes(b"no picture")
    assert any(Path(str(reference)).name in problem for problem in reader.check(tmp_path, decode=True).problems)


def test_unknown_split_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SampleError, match=r"'duts' has no split 'dev'\. Its splits: train, test"):
        get_benchmark("duts").read(tmp_path, "dev")


def test_check_counts_beside_the_paper(tmp_path: Path) -> None:
    BUILDERS["sbu"](tmp_path)
    report = get_benchmark("sbu").check(tmp_path)
    assert [(row.split, row.task, row.found, row.expected) for row in report.counts] == [
        ("train", "shadow", 2, None),
        ("test", "shadow", 1, 638),
    ]
    assert not report.ok and not report.problems
    assert "1 of 638 in the paper" in report.text()


def test_many_losses_are_not_listed_all(tmp_path: Path) -> None:
    folder = tmp_path / "test/images"
    folder.mkdir(parents=True)
    (tmp_path / "test/gt").mkdir()
    for number in range(30):
        Image.new("L", (2, 2)).save(folder / f"1_{number}.jpg")
    with pytest.raises(SampleError, match="and 10 more"):
        get_benchmark("esdis_sod").read(tmp_path)
