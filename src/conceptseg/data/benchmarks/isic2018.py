"""ISIC 2018, task 1: skin lesions in dermoscopy.

Data set: the 2,594 training and 100 validation pictures of the challenge that have had masks from the start; Codella
et al., 2019.
Source: https://challenge.isic-archive.com/data/#2018
Licence: stated by the ISIC archive for every picture: CC0 or CC BY-NC.
Layout: ISIC2018_Task1-2_{Training,Validation}_Input/ISIC_<n>.jpg beside
ISIC2018_Task1_{Training,Validation}_GroundTruth/ISIC_<n>_segmentation.png.
Protocol: "skin melanocytic tumor segmentation". The paper tests on 808 pictures, three in ten of these 2,694, without
publishing which: a list test.txt (one ISIC_<n> a line) in the root decides, otherwise a fixed selection by hash.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from conceptseg.data.benchmarks._common import BenchmarkInfo, Scan
from conceptseg.data.benchmarks._held_out import split_off
from conceptseg.data.benchmarks._paired import PairedBenchmark

__all__ = ["Isic2018"]


class Isic2018(PairedBenchmark):
    """Skin lesions."""

    task: ClassVar[str] = "skin_lesion"
    concept: ClassVar[str] = "skin melanocytic tumor segmentation"
    info: ClassVar[BenchmarkInfo] = BenchmarkInfo(
        name="isic2018",
        title="ISIC 2018 task 1",
        source="https://challenge.isic-archive.com/data/#2018",
        licence="CC0 or CC BY-NC, by picture",
        layout=(
            "ISIC2018_Task1-2_{Training,Validation}_Input/ISIC_<n>.jpg, "
            "ISIC2018_Task1_{Training,Validation}_GroundTruth/ISIC_<n>_segmentation.png, optionally test.txt"
        ),
        protocol="three in ten pictures are the test (by test.txt, else by hash), the others give references",
        fetch=(
            "download the training and validation data and ground truth of task 1 from "
            "https://challenge.isic-archive.com/data/#2018 and unpack the four archives here"
        ),
        splits=("train", "test"),
        expected={("train", "skin_lesion"): 1_886, ("test", "skin_lesion"): 808},
    )

    def folders(self, root: Path, split: str) -> list[tuple[Path, Path]]:
        """Both parts with masks; which of their pictures are the test is settled afterwards."""
        return [
            (root / f"ISIC2018_Task1-2_{part}_Input", root / f"ISIC2018_Task1_{part}_GroundTruth")
            for part in ("Training", "Validation")
        ]

    def is_image(self, path: Path) -> bool:
        """Superpixel pictures lie among the originals."""
        return not path.stem.endswith("_superpixels")

    def mask_stem(self, stem: str) -> str:
        """Masks say that they are."""
        return f"{stem}_segmentation"

    def scan(self, root: Path, split: str) -> Scan:
        """All pictures, cut down to the split."""
        return split_off(super().scan(root, split), root, split, share=0.3)
