"""Cityscapes: nineteen classes of street scenes, one question a class and picture.

Data set: Cityscapes, Cordts et al., CVPR 2016: 2,975 training and 500 validation pictures with fine labels.
Source: https://www.cityscapes-dataset.com (registration needed)
Licence: its own, non-commercial.
Layout: leftImg8bit/{train,val}/<city>/<frame>_leftImg8bit.png, gtFine/{train,val}/<city>/<frame>_gtFine_labelIds.png.
Protocol (Table 2): every one of the 19 class names is asked of every validation picture, absent classes included;
labels outside the 19 are ignored; IoU a class over the whole data set (ΣI / ΣU), then their mean. Masks of different
classes may claim one pixel: `kept` scores every mask as it came, `resolved` gives a pixel to its surest claimant
(`resolve_overlaps`) before scoring. No references by default; those asked for come from train pictures that show the
class, for which all label files of train are opened once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import ClassVar

import numpy as np
from jaxtyping import Bool, UInt8

from conceptseg.data.benchmarks._common import Benchmark, BenchmarkInfo, Item, Scan
from conceptseg.data.benchmarks._files import pair_up
from conceptseg.data.benchmarks._regions import read_labels
from conceptseg.errors import ImageError, InputError
from conceptseg.images import IGNORE_VALUE, LazyImage

__all__ = ["CITYSCAPES_CLASSES", "Cityscapes", "resolve_overlaps"]

CITYSCAPES_CLASSES = {
    "road": 7,
    "sidewalk": 8,
    "building": 11,
    "wall": 12,
    "fence": 13,
    "pole": 17,
    "traffic light": 19,
    "traffic sign": 20,
    "vegetation": 21,
    "terrain": 22,
    "sky": 23,
    "person": 24,
    "rider": 25,
    "car": 26,
    "truck": 27,
    "bus": 28,
    "train": 31,
    "motorcycle": 32,
    "bicycle": 33,
}
"""The nineteen classes that are evaluated → their labels in `labelIds` files."""

_PICTURE_END, _LABEL_END = "_leftImg8bit", "_gtFine_labelIds"


class Cityscapes(Benchmark):
    """Street scenes, class by class."""

    default_references: ClassVar[int] = 0
    info: ClassVar[BenchmarkInfo] = BenchmarkInfo(
        name="cityscapes",
        title="Cityscapes",
        source="https://www.cityscapes-dataset.com",
        licence="its own, non-commercial",
        layout=(
            "leftImg8bit/{train,val}/<city>/<frame>_leftImg8bit.png, "
            "gtFine/{train,val}/<city>/<frame>_gtFine_labelIds.png"
        ),
        protocol="19 class names a picture, IoU a class over the data set; overlaps `kept` or `resolved` by score",
        fetch=(
            "register at https://www.cityscapes-dataset.com, download leftImg8bit_trainvaltest.zip and "
            "gtFine_trainvaltest.zip, and unpack both here"
        ),
        splits=("train", "val"),
        expected={("val", "urban_scene"): 500},
    )

    def scan(self, root: Path, split: str) -> Scan:
        """Nineteen items a picture of val; of train, one item a class that the picture shows."""
        top = root / "leftImg8bit" / split
        cities = sorted(path for path in top.iterdir() if path.is_dir()) if top.is_dir() else []
        problems = [] if cities else [f"there is no folder {top}, or nothing in it"]
        items: list[Item] = []
        for city in cities:
            pairs, wrong = pair_up(
                city,
                root / "gtFine" / split / city.name,
                is_image=lambda path: path.stem.endswith(_PICTURE_END),
                is_mask=lambda path: path.stem.endswith(_LABEL_END),
                mask_stem=lambda stem: stem.removesuffix(_PICTURE_END) + _LABEL_END,
            )
            problems += wrong
            for image, labels in pairs:
                try:
                    items += _items(image, labels, shown_only=split == "train")
                except ImageError as error:
                    problems.append(str(error))
        return Scan(items, problems)

    def count(self, items: Sequence[Item]) -> Counter[str]:
        """Pictures, not questions."""
        return Counter({"urban_scene": len({item.image for item in items})} if items else {})


def resolve_overlaps(
    masks: Bool[np.ndarray, "classes h w"], scores: Sequence[float]
) -> Bool[np.ndarray, "classes h w"]:
    """Masks of one picture without overlaps: a pixel stays with the class of the highest score that claims it.

    Args:
        masks: One mask a class.
        scores: How sure the model is that the class is there; the first of equals wins.

    Raises:
        InputError: there is not one score a mask.
    """
    if len(masks) != len(scores):
        raise InputError(f"There must be one score a mask, got {len(scores)} scores and {len(masks)} masks.")
    resolved = np.zeros_like(masks)
    free = np.ones(masks.shape[1:], dtype=bool)
    for index in np.argsort(-np.asarray(scores), kind="stable"):
        resolved[index] = masks[index] & free
        free &= ~masks[index]
    return resolved


def _items(image: Path, labels: Path, shown_only: bool) -> list[Item]:
    shown = set(np.unique(read_labels(labels)).tolist()) if shown_only else set(CITYSCAPES_CLASSES.values())
    frame = image.stem.removesuffix(_PICTURE_END)
    return [
        Item(
            id=f"{frame}/{name.replace(' ', '_')}",
            task="urban_scene",
            concept=name,
            image=image,
            mask=LazyImage(partial(_class_mask, labels, label), f"{labels}: {name}"),
            group=name,
            answer=name,
        )
        for name, label in CITYSCAPES_CLASSES.items()
        if label in shown
    ]


def _class_mask(path: Path, label: int) -> UInt8[np.ndarray, "h w"]:
    """255 on the class, 128 on what is not evaluated, 0 on the other classes."""
    labels = read_labels(path)
    levels = np.where(np.isin(labels, list(CITYSCAPES_CLASSES.values())), 0, IGNORE_VALUE)
    return np.where(labels == label, 255, levels).astype(np.uint8)
