"""LabelMe: a JSON file beside every picture."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from conceptseg.interfaces.exports.exporter import Exporter, ExportOptions, Masks
from conceptseg.interfaces.exports.results import Answer, Picture, Results
from conceptseg.shapes import trace_parts

__all__ = ["LabelMeExporter"]

_VERSION = "5.5.0"  # of the format; LabelMe warns of others


class LabelMeExporter(Exporter):
    """A folder that LabelMe opens: polygons, the rule as their description.

    They run through the centres of the outermost pixels, as LabelMe draws the line too when it makes masks. The parts
    of a mask share a group. Holes are reached by slits of no width.
    """

    def __init__(self, folder: Path, results: Results, options: ExportOptions) -> None:
        super().__init__(folder, results, options)
        self._holes = 0

    def add(self, picture: Picture, masks: Masks) -> None:
        """The picture and its JSON file."""
        height, width = picture.size_hw
        shapes = [
            shape
            for group, (answer, mask) in enumerate(zip(picture.answers, masks, strict=True))
            for shape in self._shapes(group, answer, mask)
        ]
        content: dict[str, Any] = {
            "version": _VERSION,
            "flags": {},
            "shapes": shapes,
            "imagePath": self.put_picture(picture),
            "imageData": None,
            "imageHeight": height,
            "imageWidth": width,
        }
        (self.folder / f"{picture.name}.json").write_text(json.dumps(content), encoding="utf-8")

    def finish(self) -> Sequence[str]:
        """Tell of holes."""
        return [f"{self._holes} holes are reached by slits of no width."] if self._holes else []

    def _shapes(self, group: int, answer: Answer, mask: Any) -> Iterator[dict[str, Any]]:
        for part in trace_parts(mask, along="centres"):
            self._holes += len(part.holes)
            yield {
                "label": answer.concept,
                "points": part.bridged.tolist(),
                "group_id": group,
                "description": answer.record.get("rule") or "",
                "shape_type": "polygon",
                "flags": {},
            }
