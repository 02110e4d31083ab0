"""Masks from boxes (Appendix B: MGrounding and MIG), each with a quality, none kept below a limit, all to be reviewed.

    masks/<id>.png                kept masks, where the readers of the two data sets look for them
    masks/low_quality/<id>.png    the others
    masks/rejected.txt            ids that a person has thrown out, one a line; the next build takes them out
    masks/review.html             every mask on its picture, worst first
    masks/manifest.json           written last: hashes, qualities, settings

The paper filtered "by hand" without saying how; here a number filters first, and a person has the last word.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool
from PIL import Image

from conceptseg.data.benchmarks._common import Benchmark, Item
from conceptseg.data.benchmarks._files import read_lines
from conceptseg.data.benchmarks._grounding import MANIFEST_FILE, MASKS_FOLDER
from conceptseg.data.building.progress import resume, write_json
from conceptseg.data.building.review import Exhibit, write_review
from conceptseg.digests import file_sha256
from conceptseg.errors import ImageError, SampleError
from conceptseg.files import replacing
from conceptseg.geometry import BoxXYXY, box_area, box_from_mask, box_iou, clip_box, order_box, scale_box
from conceptseg.images import load_image

__all__ = ["REJECTED_FILE", "BuiltMask", "Drawer", "DrawnMask", "build_masks"]

REJECTED_FILE = "rejected.txt"
_LOW = "low_quality"


@dataclass(frozen=True, eq=False)
class DrawnMask:
    """What a segmenter makes of a box."""

    mask: Bool[np.ndarray, "h w"]
    """At the picture's own size."""
    confidence: float
    """How sure it is, 0 to 1."""


Drawer = Callable[[Image.Image, BoxXYXY], DrawnMask | None]
"""(picture, box in its pixels) → mask, or None where nothing is found."""


@dataclass(frozen=True)
class BuiltMask:
    """One item's mask and why it was kept or not."""

    id: str
    box_xyxy: BoxXYXY | None
    """The annotated box in pixels."""
    quality: float
    """Confidence times the IoU of the mask's own box with the annotated one."""
    kept: bool
    reason: str
    """Why it was not kept; empty if it was."""
    image_sha256: str | None
    mask_sha256: str | None


def build_masks(
    benchmark: Benchmark,
    root: Path,
    draw: Drawer,
    *,
    settings: Mapping[str, Any],
    split: str | None = None,
    least_quality: float = 0.5,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[BuiltMask]:
    """Draw a mask for every item of a data set that has a box.

    A run that was stopped goes on where it was; the same data and settings give the same files.

    Args:
        benchmark: whose items carry `box_fractions`, i.e. mig_bench or mgrounding.
        root: the data set; masks are written into it.
        draw: the segmenter.
        settings: what the segmenter is, e.g. its checkpoint's digest; other settings build anew.
        split: one of the benchmark's; its last by default.
        least_quality: masks below are set aside.
        progress: told how many items are done, of how many.

    Returns:
        One entry an item, in the order of the data set.

    Raises:
        SampleError: the data set is not complete, or gives no boxes.
    """
    items = {item.id: item for item in benchmark.complete_items(root, split) if "box_fractions" in item.extra}
    if not items:
        raise SampleError(f"Benchmark {benchmark.info.name!r} gives no boxes: its masks are not to be built.")
    folder = root / MASKS_FOLDER
    written = {"benchmark": benchmark.info.name, "split": split or benchmark.info.splits[-1], **settings}
    built = []
    for record in resume(folder, items, written, lambda item_id: _draw(items[item_id], root, draw), _is_there(folder)):
        built.append(_settled(record, folder, least_quality, _rejected(folder)))
        progress(len(built), len(items))
    write_review(folder / "review.html", [_exhibit(one, items[one.id], folder) for one in built])
    write_json(
        folder / MANIFEST_FILE,
        {"settings": {**written, "least_quality": least_quality}, "masks": [asdict(one) for one in built]},
    )
    return built


def _is_there(folder: Path) -> Callable[[Mapping[str, Any]], bool]:
    """Whether a record's mask still lies in the folder, where it has one."""

    def check(record: Mapping[str, Any]) -> bool:
        places = (folder / f"{record['id']}.png", folder / _LOW / f"{record['id']}.png")
        return record["mask_sha256"] is None or any(path.is_file() for path in places)

    return check


def _rejected(folder: Path) -> frozenset[str]:
    path = folder / REJECTED_FILE
    return frozenset(read_lines(path)) if path.is_file() else frozenset()


def _draw(item: Item, root: Path, draw: Drawer) -> dict[str, Any]:
    """An item's mask on disk and in numbers; `problem` says why there is none."""
    nothing = {"box_xyxy": None, "quality": 0.0, "image_sha256": None, "mask_sha256": None}
    try:
        image = load_image(item.image)
    except ImageError as error:
        return nothing | {"problem": str(error)}
    box = _box_in_pixels(item, (image.height, image.width))
    known = nothing | {"image_sha256": file_sha256(str(item.image)), "box_xyxy": box}
    if box is None:
        return known | {"problem": f"the box {item.extra['box_fractions']} covers nothing of the picture"}
    drawn = draw(image, box)
    own = box_from_mask(drawn.mask) if drawn else None
    if drawn is None or own is None:
        return known | {"problem": "the segmenter found nothing in the box"}
    path = root / MASKS_FOLDER / _LOW / f"{item.id}.png"
    _save(drawn.mask, path)
    return known | {"quality": drawn.confidence * box_iou(own, box), "mask_sha256": file_sha256(path), "problem": ""}


def _box_in_pixels(item: Item, size_hw: tuple[int, int]) -> BoxXYXY | None:
    x1, y1, x2, y2 = item.extra["box_fractions"]
    box = clip_box(scale_box(order_box((x1, y1, x2, y2)), (1, 1), size_hw), size_hw)
    return box if box_area(box) > 0 else None


def _save(mask: Bool[np.ndarray, "h w"], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as fresh:
        Image.fromarray(mask.astype(np.uint8) * 255).save(fresh)


def _settled(record: Mapping[str, Any], folder: Path, least_quality: float, rejected: frozenset[str]) -> BuiltMask:
    """Decide on a mask, and have its file lie where that decision says."""
    reason = record["problem"]
    if not reason and record["quality"] < least_quality:
        reason = f"quality {record['quality']:.2f} is below {least_quality}"
    if not reason and record["id"] in rejected:
        reason = "rejected by hand"
    box = None if record["box_xyxy"] is None else tuple(record["box_xyxy"])
    told = {name: record[name] for name in ("id", "quality", "image_sha256", "mask_sha256")}
    one = BuiltMask(box_xyxy=box, kept=not reason, reason=reason, **told)
    if one.mask_sha256 is not None:
        right, wrong = _path_of(folder, one), _path_of(folder, one, kept=not one.kept)
        if wrong.is_file():
            right.parent.mkdir(parents=True, exist_ok=True)
            wrong.replace(right)
    return one


def _path_of(folder: Path, one: BuiltMask, kept: bool | None = None) -> Path:
    is_kept = one.kept if kept is None else kept
    return (folder if is_kept else folder / _LOW) / f"{one.id}.png"


def _exhibit(one: BuiltMask, item: Item, folder: Path) -> Exhibit:
    return Exhibit(one.id, item.image, _path_of(folder, one), one.box_xyxy, one.quality, one.reason)
