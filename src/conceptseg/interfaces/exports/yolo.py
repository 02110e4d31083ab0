"""YOLO-seg: a text file a picture, a polygon a line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import yaml

from conceptseg.interfaces.exports.exporter import Exporter, ExportOptions, Masks
from conceptseg.interfaces.exports.results import Picture, Results
from conceptseg.shapes import trace_parts

__all__ = ["YoloExporter"]

_HEADER = "# Written by conceptseg export. All pictures are in one part: give train and val pictures of their own.\n"
_OFF_CENTRE = 0.1  # pixels, so that readers that round find the same pixel as those that cut off fractions


class YoloExporter(Exporter):
    """`images/`, `labels/` and `data.yaml`.

    A line is one connected part of a mask: its class and points in pixels, divided by width and height. The polygon
    runs through the centres of the outermost pixels, as YOLO's reader draws its line too, and gives the very mask at
    the picture's size. Holes are reached by slits of no width. A picture without the concept has an empty file, which
    YOLO takes for background.
    """

    def __init__(self, folder: Path, results: Results, options: ExportOptions) -> None:
        super().__init__(folder, results, options)
        (folder / "labels").mkdir()
        self._parts = self._holes = 0

    def add(self, picture: Picture, masks: Masks) -> None:
        """The picture and its text file."""
        lines = []
        for number, mask in enumerate(masks):
            for part in trace_parts(mask, along="centres"):
                self._parts += 1
                self._holes += len(part.holes)
                lines.append(_line(number, part.bridged, picture.size_hw))
        self.put_picture(picture, "images")
        (self.folder / "labels" / f"{picture.name}.txt").write_text("".join(lines), encoding="utf-8")

    def finish(self) -> Sequence[str]:
        """Write `data.yaml`."""
        content = {"train": "images", "val": "images", "names": dict(enumerate(self.results.concepts))}
        text = _HEADER + yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
        (self.folder / "data.yaml").write_text(text, encoding="utf-8")
        bridged = [f"{self._holes} holes are reached by slits of no width."] if self._holes else []
        return [
            f"{self._parts} connected parts are a line each.",
            *bridged,
            "data.yaml names the same pictures for train and val: part them before training.",
        ]


def _line(number: int, points_xy: np.ndarray, size_hw: tuple[int, int]) -> str:
    shares = (points_xy - _OFF_CENTRE) / np.array([size_hw[1], size_hw[0]])
    return " ".join([str(number), *(f"{share:.8g}" for share in shares.ravel())]) + "\n"
