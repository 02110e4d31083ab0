"""What the formats have in common: a folder to write into, pictures one by one, and a word at the end."""

from __future__ import annotations

import shutil
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, TypeAlias

import numpy as np

from conceptseg.interfaces.exports.results import Picture, Results

__all__ = ["ExportOptions", "Exporter", "Masks"]

Masks: TypeAlias = Sequence[np.ndarray]


@dataclass(frozen=True)
class ExportOptions:
    """How to export; what a format has no use for is refused by the command."""

    polygons: bool = False
    """COCO: polygons with bridged holes instead of run lengths."""
    instances: bool = False
    """COCO: an annotation a single object, as `segment --instances` lists them, instead of one a mask."""
    link: bool = False
    """Symbolic links to pictures instead of copies, where a format has them inside its folder."""
    url_prefix: str = "/data/local-files/?d="
    """Label Studio: stands before a picture's path, which is relative to the folder all pictures have in common."""


class Exporter(ABC):
    """Writes one format into a folder."""

    has_pictures: ClassVar[bool] = True
    """Whether the format wants the pictures inside its folder."""

    def __init__(self, folder: Path, results: Results, options: ExportOptions) -> None:
        self.folder = folder
        self.results = results
        self.options = options

    @abstractmethod
    def add(self, picture: Picture, masks: Masks) -> None:
        """Write a picture's masks, one a concept in their order; empty masks too.

        Raises:
            ImageError: it cannot be exported; nothing of it is written then.
            OSError: the disk is full, or the like.
        """

    def finish(self) -> Sequence[str]:
        """Write what stands for all pictures; gives what the reader should know."""
        return ()

    def put_picture(self, picture: Picture, folder: str = ".") -> str:
        """Copy or link the picture into a sub-folder, and give the file's name there."""
        name = picture.name + picture.source.suffix
        target = self.folder / folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if self.options.link:
            target.symlink_to(picture.source.absolute())
        else:
            shutil.copyfile(picture.source, target)
        return name
