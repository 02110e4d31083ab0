"""Colon polyps: five test sets of colonoscopy pictures with one training set, as PraNet bundled them.

Data set: CVC-300 (60), CVC-ClinicDB (62), CVC-ColonDB (380), ETIS-LaribPolypDB (196) and Kvasir (100) for the test;
1,450 pictures of ClinicDB and Kvasir for training. Fan et al., MICCAI 2020.
Source: https://github.com/DengPingFan/PraNet
Licence: those of the five sets, all for research.
Layout: TestDataset/<set>/{images,masks}/*.png, TrainDataset/{image,mask}/*.png (also images, masks).
Protocol: "polyp colon segmentation" of all 798 test pictures; references from train.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from conceptseg.data.benchmarks._common import BenchmarkInfo
from conceptseg.data.benchmarks._files import first_folder
from conceptseg.data.benchmarks._paired import PairedBenchmark

__all__ = ["Polyp"]

_SETS = ("CVC-300", "CVC-ClinicDB", "CVC-ColonDB", "ETIS-LaribPolypDB", "Kvasir")


class Polyp(PairedBenchmark):
    """Polyps in colonoscopy."""

    task: ClassVar[str] = "polyp_lesion"
    concept: ClassVar[str] = "polyp colon segmentation"
    info: ClassVar[BenchmarkInfo] = BenchmarkInfo(
        name="polyp",
        title="Colon polyps",
        source="https://github.com/DengPingFan/PraNet",
        licence="those of the five sets (research use)",
        layout=f"TestDataset/{{{','.join(_SETS)}}}/{{images,masks}}, TrainDataset/{{image,mask}}",
        protocol="all five test sets together, references from train",
        fetch="download TrainDataset.zip and TestDataset.zip by the links in https://github.com/DengPingFan/PraNet",
        splits=("train", "test"),
        expected={("test", "polyp_lesion"): 798},
    )

    def folders(self, root: Path, split: str) -> list[tuple[Path, Path]]:
        """Five folders for the test, one for training."""
        parts = [root / "TrainDataset"] if split == "train" else [root / "TestDataset" / name for name in _SETS]
        return [(first_folder(part, "images", "image"), first_folder(part, "masks", "mask")) for part in parts]
