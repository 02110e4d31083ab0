"""COCO-20i: the eighty COCO classes, divided into living ones and artifacts.

Data set: COCO 2014, Lin et al., ECCV 2014.
Source: https://cocodataset.org/#download
Licence: annotations CC BY 4.0; the pictures' terms are Flickr's.
Layout: train2014/COCO_train2014_<id>.jpg, val2014/COCO_val2014_<id>.jpg, annotations/instances_{train,val}2014.json.
Protocol: the class name is asked of pictures of val2014, up to 100 a class (Appendix B): 17 living classes (people,
animals, and what grows: fruit, vegetables, potted plants) and 63 artifacts. All objects of the class together are the
truth; groups marked `iscrowd` belong to it. References of the class come from train2014. The paper's selection is not
published: here it is a fixed one by hash, so that counts agree with Table 5 and pictures do not.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from conceptseg.data.benchmarks._common import (
    MALFORMED,
    Benchmark,
    BenchmarkInfo,
    Item,
    Scan,
    missing_files,
)
from conceptseg.data.benchmarks._files import first_folder, read_json
from conceptseg.data.benchmarks._regions import decode_regions
from conceptseg.data.selection import take_by_hash
from conceptseg.errors import SampleError
from conceptseg.images import LazyImage

__all__ = ["LIVING_CLASSES", "Coco20i"]

LIVING_CLASSES = frozenset(
    {
        "person",
        *("bird", "cat", "dog", "horse", "sheep", "cow", "elephant", "bear", "zebra", "giraffe"),
        *("banana", "apple", "orange", "broccoli", "carrot", "potted plant"),
    }
)
"""The paper says that there are 17 and not which: people, the animals, and what has grown and is still whole."""


@dataclass(frozen=True)
class Coco20i(Benchmark):
    """Common object classes."""

    per_class: int | None = 100
    """Pictures a class in the test split; None for all."""

    info: ClassVar[BenchmarkInfo] = BenchmarkInfo(
        name="coco20i",
        title="COCO-20i",
        source="https://cocodataset.org/#download",
        licence="annotations CC BY 4.0, pictures by Flickr's terms",
        layout="{train,val}2014/COCO_{train,val}2014_<id>.jpg, annotations/instances_{train,val}2014.json",
        protocol="the class name, up to 100 pictures a class of val2014; references from train2014",
        fetch="download train2014, val2014 and their annotations from https://cocodataset.org/#download, unpack here",
        splits=("train", "test"),
        expected={("test", "living"): 1_700, ("test", "artifact"): 6_244},
    )

    def scan(self, root: Path, split: str) -> Scan:
        """One item a class and picture."""
        part = {"train": "train2014", "test": "val2014"}[split]
        folder, index = first_folder(root, part, f"images/{part}"), root / "annotations" / f"instances_{part}.json"
        try:
            content = read_json(index)
            pictures = {picture["id"]: picture for picture in content["images"]}
            names = {category["id"]: category["name"] for category in content["categories"]}
            regions = _regions_by_class(content["annotations"])
            items = [
                _item(folder, pictures[picture], names[category], of_class[picture])
                for category, of_class in sorted(regions.items())
                for picture in self._chosen(of_class, names[category], split)
            ]
        except SampleError as error:
            return Scan([], [str(error)])
        except MALFORMED as error:
            return Scan([], [f"{index} is not a COCO instance file: {error!r}"])
        return Scan(items, missing_files(items))

    def _chosen(self, of_class: dict[int, list[Any]], name: str, split: str) -> list[int]:
        if split == "train" or self.per_class is None:
            return sorted(of_class)
        return sorted(int(picture) for picture in take_by_hash(map(str, of_class), self.per_class, salt=name))


def _regions_by_class(annotations: list[dict[str, Any]]) -> dict[int, dict[int, list[Any]]]:
    """Class → picture → its regions."""
    regions: defaultdict[int, defaultdict[int, list[Any]]] = defaultdict(lambda: defaultdict(list))
    for annotation in annotations:
        regions[annotation["category_id"]][annotation["image_id"]].append(annotation["segmentation"])
    return {category: dict(of_class) for category, of_class in regions.items()}


def _item(folder: Path, picture: dict[str, Any], name: str, regions: list[Any]) -> Item:
    image = folder / picture["file_name"]
    size_hw = (picture["height"], picture["width"])
    return Item(
        id=f"{name.replace(' ', '_')}/{image.stem}",
        task="living" if name in LIVING_CLASSES else "artifact",
        concept=name,
        image=image,
        mask=LazyImage(partial(decode_regions, regions, size_hw), f"{image.name}: {name}"),
        group=name,
        answer=name,
    )
