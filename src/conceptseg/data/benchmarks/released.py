"""The benchmark suite as the paper's authors release it: one metadata file over sixteen folders.

Data set: ConceptSeg-Benchmark, of the paper itself (Tables 5 and 6 without Cityscapes and ReasonSeg).
Source: https://huggingface.co/datasets/zhaoyuan666/ConceptSeg-Benchmark
Licence: that of every data set inside.
Layout: all_meta.json beside isic2018, rare, Breast_Tumor, transparent1024, MGrounding-630k, Polyp, Shadow_detection,
MIG-Bench, coco2014_Living, coco2014_Artifact, CoSOD3k1024, ultra_rare, fewshot1000, DUTS, ESDIDefects, COD10K1024.
The file is {"train": {name: [row…]}, "test": {…}}; a row has `img_path` (one path: the target; several: references,
then the target), `mask_path` (the target's), `cls_name`, `dataset_name`, `task_name`, and optionally `problem` (the
question) and `ref_box` (a box a reference, as fractions of it).
Protocol: the released questions (INTEROP §1); rows of one picture get references of their class from train.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from PIL import Image, UnidentifiedImageError

from conceptseg.data.benchmarks._common import MALFORMED, Benchmark, BenchmarkInfo, Item, Scan, missing_files
from conceptseg.data.benchmarks._files import inside, read_json
from conceptseg.data.benchmarks.mig_bench import MIG_TASKS
from conceptseg.data.samples import Reference
from conceptseg.decoding import upright_size_hw
from conceptseg.errors import SampleError
from conceptseg.geometry import BoxXYXY, scale_box

__all__ = ["META_FILE", "Released"]

META_FILE = "all_meta.json"
"""The metadata file's name."""

_ASK_CLASS = ""
_QUESTIONS = {
    "CoSOD3k1024": ("common_consistency", "Common object segmentation"),
    "fewshot1000": ("common_consistency", "Common object segmentation"),
    "Shadow_detection": ("shadow", "shadow"),
    "transparent1024": ("transparency", "transparent"),
    "COD10K1024": ("camouflage", "camouflaged object segmentation"),
    "DUTS": ("saliency", "salient object segmentation"),
    "Breast_Tumor": ("breast_lesion", "breast tumor segmentation"),
    "isic2018": ("skin_lesion", "skin melanocytic tumor segmentation"),
    "Polyp": ("polyp_lesion", "polyp colon segmentation"),
    "ESDIDefects": ("industrial_anomaly", "industrial defect segmentation"),
    "rare": ("fine_grained", _ASK_CLASS),
    "ultra_rare": ("ultra_rare", _ASK_CLASS),
    "iNaturalist": ("fine_grained", _ASK_CLASS),
    "SASilver_inaturalist": ("fine_grained", _ASK_CLASS),
    "coco2014_Living": ("living", _ASK_CLASS),
    "coco2014_Artifact": ("artifact", _ASK_CLASS),
    "cityscape": ("urban_scene", _ASK_CLASS),
    **{f"MIG_{name}": (task, _ASK_CLASS) for name, task in MIG_TASKS.items()},
}
"""`dataset_name` → the task, and the question where it is always the same."""

_COUNTS = {
    "living": 1_700,
    "artifact": 6_244,
    "fine_grained": 5_325,
    "ultra_rare": 52,
    "transparency": 4_428,
    "shadow": 638,
    "camouflage": 2_026,
    "saliency": 5_017,
    "industrial_anomaly": 717,
    "polyp_lesion": 798,
    "breast_lesion": 161,
    "skin_lesion": 808,
    "common_consistency": 477,
    "correspondence_consistency": 84,
    "reference_consistency": 93,
    "static_difference": 187,
    "view_difference": 85,
    "logical_rationality": 89,
    "cross_view": 224,
    "cross_frame": 543,
}


@dataclass(frozen=True)
class Released(Benchmark):
    """All twenty tasks of the paper, with its own masks."""

    datasets: tuple[str, ...] | None = None
    """Only rows of these `dataset_name`s; None for all."""

    info: ClassVar[BenchmarkInfo] = BenchmarkInfo(
        name="released",
        title="ConceptSeg-Benchmark",
        source="https://huggingface.co/datasets/zhaoyuan666/ConceptSeg-Benchmark",
        licence="that of every data set inside",
        layout=f"{META_FILE} beside the folders that its rows name",
        protocol="the released questions; rows of one picture get references of their class from train",
        fetch="huggingface-cli download zhaoyuan666/ConceptSeg-Benchmark --repo-type dataset --local-dir .",
        splits=("train", "test"),
        expected={("test", task): count for task, count in _COUNTS.items()},
    )

    def scan(self, root: Path, split: str) -> Scan:
        """One item a row."""
        index = root / META_FILE
        items: list[Item] = []
        problems: list[str] = []
        try:
            rows = [row for of_name in read_json(index)[split].values() for row in of_name]
        except SampleError as error:
            return Scan([], [str(error)])
        except MALFORMED as error:
            return Scan([], [f"{index} is not the released metadata: {error!r}"])
        for number, row in enumerate(rows):
            try:
                chosen = self.datasets is None or row["dataset_name"] in self.datasets
                items += [_item(root, row, f"{split}/{number:05}")] if chosen else []
            except MALFORMED as error:
                problems.append(f"{index}, {split} row {number}: {error!r}")
        return Scan(items, [*problems, *missing_files(items)])


def _item(root: Path, row: dict[str, Any], item_id: str) -> Item:
    dataset = row["dataset_name"]
    *before, image = [inside(root, name) for name in row["img_path"]]
    task, question = _task_and_question(row)
    return Item(
        id=f"{dataset}/{item_id}",
        task=task,
        concept=question,
        image=image,
        mask=inside(root, row["mask_path"]),
        group=row["cls_name"],
        references=_references(before, row.get("ref_box")) if before else None,
    )


def _task_and_question(row: dict[str, Any]) -> tuple[str, str]:
    dataset = row["dataset_name"]
    if dataset == "MGrounding":
        is_difference = "diff" in row["task_name"].lower()
        return "static_difference" if is_difference else "common_consistency", row["problem"]
    if dataset not in _QUESTIONS:
        raise SampleError(f"unknown dataset_name {dataset!r}; known: {', '.join(_QUESTIONS)}, MGrounding")
    task, question = _QUESTIONS[dataset]
    if dataset.startswith("MIG_"):
        return task, row["problem"]
    return task, question or row["cls_name"].replace(dataset, "").replace("_", " ").strip()


def _references(images: list[Path], boxes: list[list[float]] | None) -> tuple[Reference, ...]:
    """The row's own references; boxes, where there are any, in the references' own pixels."""
    if not boxes:
        return tuple(Reference(image) for image in images)
    return tuple(Reference(image, box=_in_pixels(image, box)) for image, box in zip(images, boxes, strict=True))


def _in_pixels(image: Path, fractions: list[float]) -> BoxXYXY:
    try:
        with Image.open(image) as opened:
            size_hw = upright_size_hw(opened)
    except (OSError, UnidentifiedImageError) as error:
        raise SampleError(f"cannot tell the size of {image}: {error}") from error
    x1, y1, x2, y2 = fractions
    return scale_box((x1, y1, x2, y2), (1, 1), size_hw)
