"""BUSI: breast lesions in ultrasound.

Data set: Breast Ultrasound Images, Al-Dhabyani et al., Data in Brief 2020: 437 benign and 210 malignant pictures with
lesions, 133 normal ones without.
Source: https://scholar.cu.edu.eg/?q=afahmy/pages/dataset
Licence: CC BY 4.0 (the article's); the data's page states none.
Layout: Dataset_BUSI_with_GT/{benign,malignant,normal}/benign (1).png with benign (1)_mask.png; pictures of several
lesions have benign (4)_mask_1.png and so on beside the first mask: together they are the truth.
Protocol: "breast tumor segmentation" of pictures with a lesion. The paper tests on 161, a quarter of the 647, without
publishing which: a list test.txt (one "benign (1)" a line) in the root decides, otherwise a fixed selection by hash.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import ClassVar

import numpy as np
from jaxtyping import Bool

from conceptseg.data.benchmarks._common import Benchmark, BenchmarkInfo, Item, Scan
from conceptseg.data.benchmarks._files import first_folder, images_in
from conceptseg.data.benchmarks._held_out import split_off
from conceptseg.images import ImageSource, LazyImage, load_mask

__all__ = ["Busi"]


class Busi(Benchmark):
    """Breast lesions."""

    info: ClassVar[BenchmarkInfo] = BenchmarkInfo(
        name="busi",
        title="BUSI",
        source="https://scholar.cu.edu.eg/?q=afahmy/pages/dataset",
        licence="CC BY 4.0 (the article's)",
        layout="Dataset_BUSI_with_GT/{benign,malignant}/<kind> (<n>).png, <kind> (<n>)_mask.png, …_mask_1.png",
        protocol="a quarter of the pictures with lesions are the test (by test.txt, else by hash); masks are joined",
        fetch="download Dataset_BUSI.zip from https://scholar.cu.edu.eg/?q=afahmy/pages/dataset and unpack it here",
        splits=("train", "test"),
        expected={("train", "breast_lesion"): 486, ("test", "breast_lesion"): 161},
    )

    def scan(self, root: Path, split: str) -> Scan:
        """Benign and malignant pictures with all of their masks."""
        top = first_folder(root, "Dataset_BUSI_with_GT", ".")
        items: list[Item] = []
        problems: list[str] = []
        for kind in ("benign", "malignant"):
            files = images_in(top / kind)
            problems += [] if files else [f"there is no folder {top / kind}, or nothing in it"]
            for image in (path for path in files if "_mask" not in path.stem):
                masks = [path for path in files if path.stem.startswith(f"{image.stem}_mask")]
                problems += [] if masks else [f"{image} has no mask {image.stem}_mask.png"]
                items += [_item(image, masks, root)] if masks else []
        return split_off(Scan(items, problems), root, split, share=0.25)


def _item(image: Path, masks: list[Path], root: Path) -> Item:
    source: ImageSource = masks[0]
    if len(masks) > 1:
        source = LazyImage(partial(_joined, masks), " + ".join(map(str, masks)))
    return Item(
        id=image.relative_to(root).with_suffix("").as_posix(),
        task="breast_lesion",
        concept="breast tumor segmentation",
        image=image,
        mask=source,
        group="breast tumor",
    )


def _joined(masks: list[Path]) -> Bool[np.ndarray, "h w"]:
    first = load_mask(masks[0])
    return np.logical_or.reduce([first, *(load_mask(path, first.shape) for path in masks[1:])])
