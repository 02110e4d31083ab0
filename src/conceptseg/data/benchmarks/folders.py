"""Plain folders: pictures in one, masks of the same names in another.

Data set: any.
Source: one's own.
Licence: one's own.
Layout: images/ and masks/ in the root, or in train/ and test/ below it, at any depth; the usual other spellings are
understood (image, imgs, JPEGImages; mask, gt, GT, labels, SegmentationClass), and masks may end in _mask, -gt, _seg …
Protocol: the concept given; references from train where there is one, else from the same pictures.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from conceptseg.data.benchmarks._common import Benchmark, BenchmarkInfo, Item, Scan
from conceptseg.data.benchmarks._files import first_folder, means_a_loss
from conceptseg.data.folders import match_folders
from conceptseg.errors import SampleError
from conceptseg.taxonomy import level_of

__all__ = ["Folders"]

_IMAGES = ("images", "image", "imgs", "Imgs", "Images", "JPEGImages", "img")
_MASKS = ("masks", "mask", "gt", "GT", "Masks", "labels", "SegmentationClass", "groundtruth")


@dataclass(frozen=True)
class Folders(Benchmark):
    """One's own pictures and masks, with one concept for all of them."""

    concept: str = "target"
    """The question, in words."""
    task: str = "other_ci"

    pool_split: ClassVar[str | None] = None
    checked_splits: ClassVar[tuple[str, ...] | None] = ("all",)
    info: ClassVar[BenchmarkInfo] = BenchmarkInfo(
        name="folders",
        title="Images and masks in folders",
        source="one's own",
        licence="one's own",
        layout="images/ and masks/ with the same names, in the root or in train/ and test/",
        protocol="the concept given; references from the same pictures",
        fetch="put the pictures into images/ and masks of the same names into masks/",
        splits=("train", "test", "all"),
    )

    def __post_init__(self) -> None:
        level_of(self.task)

    def scan(self, root: Path, split: str) -> Scan:
        """One item a pair; `all` is the root's own folders, or train and test together, as far as there are both."""
        tops = self._all_tops(root) if split == "all" else [root / split]
        scans = [self._scan_pair(first_folder(top, *_IMAGES), first_folder(top, *_MASKS), root) for top in tops]
        items = [item for scan in scans for item in scan.items]
        return Scan(items, [problem for scan in scans for problem in scan.problems])

    def _scan_pair(self, images: Path, masks: Path, root: Path) -> Scan:
        missing = [f"there is no folder {folder}" for folder in (images, masks) if not folder.is_dir()]
        if missing:
            return Scan([], missing)
        try:
            found = match_folders(images, masks)
        except SampleError as error:  # one of them is empty
            return Scan([], [str(error)])
        items = [self._item(images / name, *pair, root) for name, pair in found.pairs.items()]
        problems = [f"{images / name}: {why} in {masks}" for name, why in found.unpaired]
        lost = [f"{images} or {masks}: {line}" for line in found.no_pictures.lines() if means_a_loss(line)]
        return Scan(items, problems + lost)

    def _all_tops(self, root: Path) -> list[Path]:
        if any((root / name).is_dir() for name in _IMAGES):
            return [root]
        return [root / name for name in ("train", "test") if (root / name).is_dir()] or [root]

    def _item(self, name: Path, image: Path, mask: Path, root: Path) -> Item:
        below = name.relative_to(root).as_posix()
        return Item(id=below, task=self.task, concept=self.concept, image=image, mask=mask, group=self.concept)
