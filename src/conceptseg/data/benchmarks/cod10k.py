"""COD10K: camouflaged objects.

Data set: COD10K-v3, Fan et al., CVPR 2020: 3,040 + 2,026 camouflaged pictures beside others without any. The usual
training set adds the 1,000 training pictures of CAMO (Le et al., CVIU 2019): the paper's 4,040.
Source: https://github.com/DengPingFan/SINet
Licence: non-commercial research, as stated there.
Layout: Train/Image/*.jpg, Train/GT_Object/*.png, and Test likewise, beside CAMO-V.1.0-CVIU2019/{Images/Train,GT}; or
SINet's bundle, TrainDataset/{Imgs,GT} and TestDataset/COD10K/{Imgs,GT}. Names: COD10K-CAM-1-Aquatic-1-BatFish-2.jpg;
COD10K-NonCAM-… show nothing camouflaged and take no part.
Protocol: "camouflaged object segmentation" of the 2,026 camouflaged test pictures; references from train.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from conceptseg.data.benchmarks._common import BenchmarkInfo
from conceptseg.data.benchmarks._files import first_folder
from conceptseg.data.benchmarks._paired import PairedBenchmark

__all__ = ["Cod10k"]


class Cod10k(PairedBenchmark):
    """Camouflaged animals and objects."""

    task: ClassVar[str] = "camouflage"
    concept: ClassVar[str] = "camouflaged object segmentation"
    info: ClassVar[BenchmarkInfo] = BenchmarkInfo(
        name="cod10k",
        title="COD10K",
        source="https://github.com/DengPingFan/SINet",
        licence="non-commercial research",
        layout=(
            "Train/Image/*.jpg, Train/GT_Object/*.png, Test/Image, Test/GT_Object, CAMO-V.1.0-CVIU2019/Images/Train, "
            "CAMO-V.1.0-CVIU2019/GT; or TrainDataset/{Imgs,GT}, TestDataset/COD10K/{Imgs,GT}"
        ),
        protocol="the camouflaged test pictures (COD10K-CAM-…), references from COD10K and CAMO train",
        fetch=(
            "follow the links to COD10K-v3 and CAMO, or to TrainDataset and TestDataset, in "
            "https://github.com/DengPingFan/SINet and unpack them here"
        ),
        splits=("train", "test"),
        expected={("train", "camouflage"): 4_040, ("test", "camouflage"): 2_026},
    )

    def folders(self, root: Path, split: str) -> list[tuple[Path, Path]]:
        """The authors' own layout, or SINet's bundle where that is what is there."""
        bundle = root / {"train": "TrainDataset", "test": "TestDataset/COD10K"}[split]
        if bundle.is_dir():
            return [(first_folder(bundle, "Imgs", "Image"), bundle / "GT")]
        part = split.capitalize()
        shipped = first_folder(root, part, f"COD10K-v3/{part}")
        folders = [(shipped / "Image", shipped / "GT_Object")]
        camo = root / "CAMO-V.1.0-CVIU2019"
        return [*folders, (camo / "Images" / "Train", camo / "GT")] if split == "train" and camo.is_dir() else folders

    def is_image(self, path: Path) -> bool:
        """Pictures with nothing camouflaged in them take no part."""
        return "-NonCAM-" not in path.name
