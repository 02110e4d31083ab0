"""Benchmarks that are folders of pictures beside folders of masks: most of them."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import ClassVar

from conceptseg.data.benchmarks._common import Benchmark, Item, Scan
from conceptseg.data.benchmarks._files import pair_up
from conceptseg.images import select_label
from conceptseg.masks import Label

__all__ = ["PairedBenchmark"]


class PairedBenchmark(Benchmark):
    """A reader only says which folders belong together, and what is asked."""

    task: ClassVar[str]
    concept: ClassVar[str]
    mask_label: ClassVar[Label | None] = None
    """Which of a mask's labels are the target, where it has several."""

    @abstractmethod
    def folders(self, root: Path, split: str) -> list[tuple[Path, Path]]:
        """(pictures, masks) folders of a split."""

    def is_image(self, path: Path) -> bool:
        """Whether a file of a picture folder takes part."""
        return True

    def mask_stem(self, stem: str) -> str:
        """The name of a picture's mask, without ending."""
        return stem

    def group_of(self, image: Path) -> str:
        """What a picture shares with those that may be its references."""
        return self.concept

    def concept_of(self, image: Path) -> str:
        """The question about a picture."""
        return self.concept

    def scan(self, root: Path, split: str) -> Scan:
        """Pair up every two folders of the split."""
        items: list[Item] = []
        problems: list[str] = []
        for image_folder, mask_folder in self.folders(root, split):
            pairs, wrong = pair_up(image_folder, mask_folder, is_image=self.is_image, mask_stem=self.mask_stem)
            items += [self._item(image, mask, root) for image, mask in pairs]
            problems += wrong
        return Scan(items, problems)

    def _item(self, image: Path, mask: Path, root: Path) -> Item:
        return Item(
            id=image.relative_to(root).with_suffix("").as_posix(),
            task=self.task,
            concept=self.concept_of(image),
            image=image,
            mask=mask if self.mask_label is None else select_label(mask, self.mask_label, None),
            group=self.group_of(image),
        )
