"""FSS-1000: one thousand object classes, ten pictures each.

Data set: FSS-1000, Li et al., CVPR 2020; all 10,000 pictures serve for training here.
Source: https://github.com/HKUSTCV/FSS-1000
Licence: none stated with the data; the repository is for research.
Layout: fewshot_data/<class>/<1…10>.jpg with <1…10>.png beside it. Class names keep their apostrophes and brackets.
Protocol: "Common object segmentation"; references from the other pictures of the class.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from conceptseg.data.benchmarks._common import BenchmarkInfo
from conceptseg.data.benchmarks._files import first_folder
from conceptseg.data.benchmarks._paired import PairedBenchmark

__all__ = ["Fss1000"]


class Fss1000(PairedBenchmark):
    """Few-shot classes for training the consistency of concepts."""

    task: ClassVar[str] = "common_consistency"
    concept: ClassVar[str] = "Common object segmentation"
    info: ClassVar[BenchmarkInfo] = BenchmarkInfo(
        name="fss1000",
        title="FSS-1000",
        source="https://github.com/HKUSTCV/FSS-1000",
        licence="none stated (research use)",
        layout="fewshot_data/<class>/<1…10>.jpg and <1…10>.png",
        protocol="training only; references from the same class",
        fetch="download fewshot_data.zip by the link in https://github.com/HKUSTCV/FSS-1000 and unpack it here",
        splits=("train",),
        expected={("train", "common_consistency"): 10_000},
    )

    def folders(self, root: Path, split: str) -> list[tuple[Path, Path]]:
        """Every class is a folder that holds both its pictures and its masks."""
        top = first_folder(root, "fewshot_data/fewshot_data", "fewshot_data")
        classes = sorted(path for path in top.iterdir() if path.is_dir()) if top.is_dir() else []
        return [(path, path) for path in classes] or [(root / "fewshot_data", root / "fewshot_data")]

    def is_image(self, path: Path) -> bool:
        """JPEGs are the pictures, PNGs the masks."""
        return path.suffix.lower() in (".jpg", ".jpeg")

    def group_of(self, image: Path) -> str:
        """The class."""
        return image.parent.name
