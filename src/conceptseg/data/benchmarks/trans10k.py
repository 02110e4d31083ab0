"""Trans10K: transparent things and surfaces.

Data set: Trans10K v1, Xie et al., "Segmenting Transparent Objects in the Wild", ECCV 2020: 5,000 + 1,000 + 4,428.
Source: https://xieenze.github.io/projects/TransLAB/TransLAB.html
Licence: academic use; commercial use by request, as stated by its authors.
Layout: train/{images,masks}, validation/{easy,hard}/{images,masks}, test/{easy,hard}/{images,masks}; <n>.jpg with
<n>_mask.png, where red pixels are things (cups, bottles) and white ones stuff (windows, doors).
Protocol: "transparent", things and stuff together, over both parts of test; references from train.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from conceptseg.data.benchmarks._common import BenchmarkInfo
from conceptseg.data.benchmarks._paired import PairedBenchmark
from conceptseg.masks import ANY, Label

__all__ = ["Trans10k"]


class Trans10k(PairedBenchmark):
    """Glass in real scenes."""

    task: ClassVar[str] = "transparency"
    concept: ClassVar[str] = "transparent"
    mask_label: ClassVar[Label | None] = ANY
    info: ClassVar[BenchmarkInfo] = BenchmarkInfo(
        name="trans10k",
        title="Trans10K",
        source="https://xieenze.github.io/projects/TransLAB/TransLAB.html",
        licence="academic use",
        layout="train/{images,masks}; validation and test/{easy,hard}/{images,masks}; <n>.jpg and <n>_mask.png",
        protocol="all test pictures, easy and hard; things and stuff are one target; references from train",
        fetch="download train, validation and test from https://xieenze.github.io/projects/TransLAB/TransLAB.html",
        splits=("train", "validation", "test"),
        expected={("test", "transparency"): 4_428},
    )

    def folders(self, root: Path, split: str) -> list[tuple[Path, Path]]:
        """Only train is not divided by difficulty."""
        parts = [root / split] if split == "train" else [root / split / "easy", root / split / "hard"]
        return [(part / "images", part / "masks") for part in parts]

    def mask_stem(self, stem: str) -> str:
        """Masks say that they are."""
        return f"{stem}_mask"
