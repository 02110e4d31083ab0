"""ESDIs-SOD: defects on steel surfaces.

Data set: ESDIs-SOD, Cui et al.: 4,800 pictures of 14 kinds of defects.
Source: https://github.com/VDT-2048/A3Net
Licence: none stated; research use.
Layout: train/{images,gt}, test/{images,gt}; names are <kind>_<number>.jpg, e.g. 7_12.jpg with 7_12.png.
Protocol: "industrial defect segmentation" of the test pictures without kinds 3 and 5, whose labels are diffuse
(Appendix B): 717 pictures of 12 kinds; references of the same kind from train.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from conceptseg.data.benchmarks._common import BenchmarkInfo
from conceptseg.data.benchmarks._files import first_folder
from conceptseg.data.benchmarks._paired import PairedBenchmark

__all__ = ["EsdisSod"]

_LEFT_OUT = frozenset({"3", "5"})


class EsdisSod(PairedBenchmark):
    """Industrial anomalies, by kind of defect."""

    task: ClassVar[str] = "industrial_anomaly"
    concept: ClassVar[str] = "industrial defect segmentation"
    info: ClassVar[BenchmarkInfo] = BenchmarkInfo(
        name="esdis_sod",
        title="ESDIs-SOD",
        source="https://github.com/VDT-2048/A3Net",
        licence="none stated (research use)",
        layout="{train,test}/{images,gt}/<kind>_<number>.*",
        protocol="test without kinds 3 and 5; references of the same kind from train",
        fetch="download ESDIs-SOD by the link in https://github.com/VDT-2048/A3Net and unpack it here",
        splits=("train", "test"),
        expected={("test", "industrial_anomaly"): 717},
    )

    def folders(self, root: Path, split: str) -> list[tuple[Path, Path]]:
        """Pictures and masks of a split lie beside each other."""
        part = first_folder(root, split, f"ESDIs-SOD/{split}")
        return [(part / "images", part / "gt")]

    def is_image(self, path: Path) -> bool:
        """Two kinds are left out."""
        return self.group_of(path) not in _LEFT_OUT

    def group_of(self, image: Path) -> str:
        """The kind of defect, a number."""
        return image.stem.split("_")[0]
