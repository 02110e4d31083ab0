"""DUTS: salient objects.

Data set: DUTS-TR (10,553 pictures) and DUTS-TE (5,019), Wang et al., CVPR 2017.
Source: http://saliencydetection.net/duts/
Licence: none stated; used for research throughout the field.
Layout: DUTS-TR/DUTS-TR-Image/*.jpg, DUTS-TR/DUTS-TR-Mask/*.png, and the same with TE.
Protocol: "salient object segmentation" of every picture of DUTS-TE; references from DUTS-TR. The paper counts 10,548
and 5,017: five and two fewer than are shipped, which it does not explain.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from conceptseg.data.benchmarks._common import BenchmarkInfo
from conceptseg.data.benchmarks._files import first_folder
from conceptseg.data.benchmarks._paired import PairedBenchmark

__all__ = ["Duts"]


class Duts(PairedBenchmark):
    """Salient objects in everyday photographs."""

    task: ClassVar[str] = "saliency"
    concept: ClassVar[str] = "salient object segmentation"
    info: ClassVar[BenchmarkInfo] = BenchmarkInfo(
        name="duts",
        title="DUTS",
        source="http://saliencydetection.net/duts/",
        licence="none stated (research use)",
        layout="DUTS-TR/DUTS-TR-Image/*.jpg, DUTS-TR/DUTS-TR-Mask/*.png; DUTS-TE/DUTS-TE-Image, DUTS-TE/DUTS-TE-Mask",
        protocol="every picture of DUTS-TE, references from DUTS-TR; shipped are 10,553 and 5,019 pictures",
        fetch="download DUTS-TR.zip and DUTS-TE.zip from http://saliencydetection.net/duts/ and unpack both here",
        splits=("train", "test"),
        expected={("train", "saliency"): 10_548, ("test", "saliency"): 5_017},
    )

    def folders(self, root: Path, split: str) -> list[tuple[Path, Path]]:
        """One folder a split, named after itself; some archives unpack into one more of the same name."""
        name = {"train": "DUTS-TR", "test": "DUTS-TE"}[split]
        folder = first_folder(root / name, name, ".") if (root / name).is_dir() else root / name
        return [(folder / f"{name}-Image", folder / f"{name}-Mask")]
