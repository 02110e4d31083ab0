"""Plain folders: pictures in one, masks of the same names in another.

Data set: any.
Source: one's own.
Licence: one's own.
Layout: images/ and masks/ in the root, or in train/ and test/ below it; the usual other spellings are understood
(image, imgs, JPEGImages; mask, gt, GT, labels, SegmentationClass), and masks may end in _mask, _gt or _segmentation.
Protocol: the concept given; references from train where there is one, else from the same pictures.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar

from conceptseg.data.benchmarks._common import Benchmark, BenchmarkInfo, Item, Scan
from conceptseg.data.benchmarks._files import first_folder, images_in, pair_up
from conceptseg.taxonomy import level_of

__all__ = ["Folders"]

_IMAGES = ("images", "image", "imgs", "Imgs", "Images", "JPEGImages", "img")
_MASKS = ("masks", "mask", "gt", "GT", "Masks", "labels", "SegmentationClass", "groundtruth")
_ENDINGS = ("", "_mask", "_gt", "_segmentation", "_label")


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
        items: list[Item] = []
        problems: list[str] = []
        for top in tops:
            images, masks = first_folder(top, *_IMAGES), first_folder(top, *_MASKS)
            ending = _usual_ending(images, masks)
            pairs, wrong = pair_up(images, masks, mask_stem=partial(_append, ending))
            items += [self._item(image, mask, root) for image, mask in pairs]
            problems += wrong
        return Scan(items, problems)

    def _all_tops(self, root: Path) -> list[Path]:
        if any((root / name).is_dir() for name in _IMAGES):
            return [root]
        return [root / name for name in ("train", "test") if (root / name).is_dir()] or [root]

    def _item(self, image: Path, mask: Path, root: Path) -> Item:
        name = image.relative_to(root).with_suffix("").as_posix()
        return Item(id=name, task=self.task, concept=self.concept, image=image, mask=mask, group=self.concept)


def _append(ending: str, stem: str) -> str:
    return stem + ending


def _usual_ending(images: Path, masks: Path) -> str:
    """What masks' names have after the picture's: the ending that fits most pictures."""
    names = {path.stem for path in images_in(masks)}
    stems = [path.stem for path in images_in(images)]
    return max(_ENDINGS, key=lambda ending: sum(stem + ending in names for stem in stems))
