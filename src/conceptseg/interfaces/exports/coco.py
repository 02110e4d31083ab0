"""COCO instances: one annotation a concept and picture, or one a single object, as run lengths or as polygons."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool

from conceptseg.geometry import box_from_mask
from conceptseg.interfaces.exports.exporter import Exporter, ExportOptions, Masks
from conceptseg.interfaces.exports.results import Picture, Results
from conceptseg.shapes import to_coco_rle, trace_parts

__all__ = ["CocoExporter"]


class CocoExporter(Exporter):
    """`annotations.json`; its file names start from the folder that all pictures have in common.

    Run lengths are compressed, as pycocotools writes them, and keep everything. Polygons follow the edges of pixels,
    one a part; COCO has no holes, so slits of no width lead to them, and pycocotools reads the very same mask.
    """

    has_pictures = False

    def __init__(self, folder: Path, results: Results, options: ExportOptions) -> None:
        super().__init__(folder, results, options)
        self._images: list[dict[str, Any]] = []
        self._annotations: list[dict[str, Any]] = []
        self._holes = 0

    def add(self, picture: Picture, masks: Masks) -> None:
        """One image, and an annotation for every mask, or single object, that is not empty."""
        of_concepts: list[list[tuple[np.ndarray, float | None]]] = [[(mask, None)] for mask in masks]
        if self.options.instances:
            of_concepts = [list(answer.objects()) for answer in picture.answers]
        number = len(self._images) + 1
        height, width = picture.size_hw
        self._images.append({"id": number, "file_name": picture.file_name, "width": width, "height": height})
        for category, drawn in enumerate(of_concepts, start=1):
            for mask, score in drawn:
                self._annotate(number, category, mask, score)

    def _annotate(self, image: int, category: int, mask: Bool[np.ndarray, "h w"], score: float | None) -> None:
        box = box_from_mask(mask)
        if box is None:
            return
        x1, y1, x2, y2 = box
        annotation = {
            "id": len(self._annotations) + 1,
            "image_id": image,
            "category_id": category,
            "segmentation": self._segmentation(mask),
            "area": int(mask.sum()),
            "bbox": [x1, y1, x2 - x1, y2 - y1],
            "iscrowd": 0,
        }
        self._annotations.append(annotation if score is None else annotation | {"score": score})

    def finish(self) -> Sequence[str]:
        """Write the file."""
        content = {
            "info": {"description": "written by conceptseg export"},
            "images": self._images,
            "annotations": self._annotations,
            "categories": [{"id": n, "name": name} for n, name in enumerate(self.results.concepts, start=1)],
        }
        (self.folder / "annotations.json").write_text(json.dumps(content), encoding="utf-8")
        bridged = [f"{self._holes} holes are reached by slits of no width."] if self._holes else []
        counted = [f"{len(self._annotations)} single objects."] if self.options.instances else []
        return [*counted, f"File names are relative to {self.results.folder}.", *bridged]

    def _segmentation(self, mask: Bool[np.ndarray, "h w"]) -> Any:
        if not self.options.polygons:
            return to_coco_rle(mask)
        parts = trace_parts(mask)
        self._holes += sum(len(part.holes) for part in parts)
        return [part.bridged.ravel().tolist() for part in parts]
