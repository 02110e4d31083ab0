"""SBU: shadows.

Data set: SBU, Vicente et al., ECCV 2016: 4,089 training and 638 test pictures.
Source: https://www3.cs.stonybrook.edu/~cvl/projects/shadow_noisy_label/index.html
Licence: none stated; research use.
Layout: SBU-shadow/SBUTrain4KRecoveredSmall/{ShadowImages,ShadowMasks}, SBU-shadow/SBU-Test/{ShadowImages,ShadowMasks}.
Protocol: "shadow" on every test picture; references from train.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from conceptseg.data.benchmarks._common import BenchmarkInfo
from conceptseg.data.benchmarks._files import first_folder
from conceptseg.data.benchmarks._paired import PairedBenchmark

__all__ = ["Sbu"]


class Sbu(PairedBenchmark):
    """Cast shadows outdoors and indoors."""

    task: ClassVar[str] = "shadow"
    concept: ClassVar[str] = "shadow"
    info: ClassVar[BenchmarkInfo] = BenchmarkInfo(
        name="sbu",
        title="SBU shadow",
        source="https://www3.cs.stonybrook.edu/~cvl/projects/shadow_noisy_label/index.html",
        licence="none stated (research use)",
        layout="SBU-shadow/{SBUTrain4KRecoveredSmall,SBU-Test}/{ShadowImages,ShadowMasks}",
        protocol="all 638 test pictures, references from train",
        fetch="download SBU-shadow.zip by the link on the source's page and unpack it here",
        splits=("train", "test"),
        expected={("test", "shadow"): 638},
    )

    def folders(self, root: Path, split: str) -> list[tuple[Path, Path]]:
        """Pictures and masks of a split lie beside each other, next to edge maps that nobody needs here."""
        top = first_folder(root, "SBU-shadow", ".")
        part = top / {"train": "SBUTrain4KRecoveredSmall", "test": "SBU-Test"}[split]
        return [(part / "ShadowImages", part / "ShadowMasks")]
