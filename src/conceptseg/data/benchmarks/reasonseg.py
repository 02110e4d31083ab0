"""ReasonSeg: one implicit question a picture, with regions that do not count.

Data set: ReasonSeg, Lai et al., "LISA", CVPR 2024: 239 + 200 + 779 pictures.
Source: https://github.com/dvlab-research/LISA
Licence: Apache-2.0 for the annotations, as stated there; pictures from OpenImages and ScanNet by their terms.
Layout: {train,val,test}/<name>.jpg with <name>.json: `text` (several wordings), `is_sentence`, and `shapes`, polygons
labelled `target` or `ignore`; shapes labelled `flag` mean nothing. Some files are Windows-1252, not UTF-8.
Protocol (Table 3): the first wording; no references; polygons drawn from the largest to the smallest; gIoU and cIoU.
Ignored regions are 128 in the mask: whether they are left out of the score (the default), or count as foreground or
background, is for the metrics to say (`ignore_as`).
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from jaxtyping import UInt8

from conceptseg.data.benchmarks._common import MALFORMED, Benchmark, BenchmarkInfo, Item, Scan
from conceptseg.data.benchmarks._files import first_folder, images_in, read_json
from conceptseg.data.benchmarks._regions import labelled_polygons
from conceptseg.errors import SampleError
from conceptseg.images import LazyImage, load_image

__all__ = ["ReasonSeg"]

_ENCODINGS = ("utf-8", "cp1252")
_MEANINGLESS = "flag"


class ReasonSeg(Benchmark):
    """Questions that take reasoning to understand."""

    default_references: ClassVar[int] = 0
    info: ClassVar[BenchmarkInfo] = BenchmarkInfo(
        name="reasonseg",
        title="ReasonSeg",
        source="https://github.com/dvlab-research/LISA",
        licence="annotations Apache-2.0, pictures by OpenImages' and ScanNet's terms",
        layout="{train,val,test}/<name>.jpg, <name>.json",
        protocol="the first wording, no references, gIoU and cIoU; ignored regions excluded unless said otherwise",
        fetch="download train.zip, val.zip and test.zip by the link in https://github.com/dvlab-research/LISA",
        splits=("train", "val", "test"),
        expected={("val", "reasoning"): 200, ("test", "reasoning"): 779},
    )

    def scan(self, root: Path, split: str) -> Scan:
        """One item a picture."""
        folder = first_folder(root, split, f"ReasonSeg/{split}")
        images = images_in(folder)
        items: list[Item] = []
        problems = [] if images else [f"there is no folder {folder}, or nothing in it"]
        known = {image.stem for image in images}
        lone = [path for path in sorted(folder.glob("*.json")) if path.stem not in known]
        problems += [f"{path} has no picture {path.stem}.jpg" for path in lone]
        for image in images:
            try:
                items.append(_item(image, read_json(image.with_suffix(".json"), _ENCODINGS), split))
            except SampleError as error:
                problems.append(str(error))
            except MALFORMED as error:
                problems.append(f"{image.with_suffix('.json')} is not a ReasonSeg annotation: {error!r}")
        return Scan(items, problems)


def _item(image: Path, annotation: dict[str, Any], split: str) -> Item:
    polygons = [
        (shape["points"], "ignore" not in shape["label"].lower())
        for shape in annotation["shapes"]
        if shape["label"].lower() != _MEANINGLESS
    ]
    return Item(
        id=f"{split}/{image.stem}",
        task="reasoning",
        concept=annotation["text"][0].strip(),
        image=image,
        mask=LazyImage(partial(_draw, polygons, image), str(image.with_suffix(".json"))),
        group=f"{split}/{image.stem}",
        references=(),
        extra={"is_sentence": bool(annotation["is_sentence"])},
    )


def _draw(polygons: list[tuple[Any, bool]], image: Path) -> UInt8[np.ndarray, "h w"]:
    """The annotation says nothing of the size, so the picture is opened for it."""
    picture = load_image(image)
    return labelled_polygons(polygons, (picture.height, picture.width))
