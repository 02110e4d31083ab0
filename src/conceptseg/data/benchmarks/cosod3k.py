"""CoSOD3k: groups of pictures that share an object.

Data set: CoSOD3k, Fan et al., CVPR 2020: 3,316 pictures in 160 groups.
Source: http://dpfan.net/CoSOD3K/
Licence: none stated; research use.
Layout: image/<group>/*.jpg and groundtruth/<group>/*.png, also spelled Image, img, GroundTruth, gt.
Protocol: training only, "Common object segmentation"; references from the same group.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from conceptseg.data.benchmarks._common import BenchmarkInfo
from conceptseg.data.benchmarks._files import first_folder
from conceptseg.data.benchmarks._paired import PairedBenchmark

__all__ = ["Cosod3k"]


class Cosod3k(PairedBenchmark):
    """Co-salient objects for training the consistency of concepts."""

    task: ClassVar[str] = "common_consistency"
    concept: ClassVar[str] = "Common object segmentation"
    info: ClassVar[BenchmarkInfo] = BenchmarkInfo(
        name="cosod3k",
        title="CoSOD3k",
        source="http://dpfan.net/CoSOD3K/",
        licence="none stated (research use)",
        layout="image/<group>/*.jpg, groundtruth/<group>/*.png (or Image and GroundTruth, img and gt)",
        protocol="training only; references from the same group",
        fetch="download CoSOD3k by the link on http://dpfan.net/CoSOD3K/ and unpack it here",
        splits=("train",),
        expected={("train", "common_consistency"): 3_316},
    )

    def folders(self, root: Path, split: str) -> list[tuple[Path, Path]]:
        """Every group is a folder below the pictures, and one below the masks."""
        top = root / "CoSOD3k" if (root / "CoSOD3k").is_dir() else root
        images = first_folder(top, "image", "Image", "images", "img", "imgs")
        masks = first_folder(top, "groundtruth", "GroundTruth", "gt", "GT")
        groups = sorted(path for path in images.iterdir() if path.is_dir()) if images.is_dir() else []
        return [(group, masks / group.name) for group in groups] or [(images, masks)]

    def group_of(self, image: Path) -> str:
        """The group of pictures."""
        return image.parent.name
