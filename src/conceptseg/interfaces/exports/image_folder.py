"""Hugging Face image folders: pictures, masks, and a table of both."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from conceptseg.interfaces.exports.exporter import Exporter, ExportOptions, Masks
from conceptseg.interfaces.exports.results import Picture, Results

__all__ = ["ImageFolderExporter"]

_TOLD = ("answer", "rule", "route", "presence", "check_iou")


class ImageFolderExporter(Exporter):
    """`images/`, `masks/` and `metadata.jsonl`: a row a concept and picture, for `load_dataset("imagefolder", …)`.

    Masks are one-channel PNGs, 0 or 255, empty ones included. The reader `image_folder` takes the folder as well.
    """

    def __init__(self, folder: Path, results: Results, options: ExportOptions) -> None:
        super().__init__(folder, results, options)
        (folder / "masks").mkdir()
        self._rows: list[dict[str, Any]] = []

    def add(self, picture: Picture, masks: Masks) -> None:
        """The picture, and a mask and a row for every concept."""
        file_name = f"images/{self.put_picture(picture, 'images')}"
        for number, (answer, mask) in enumerate(zip(picture.answers, masks, strict=True)):
            name = f"masks/{picture.name}.png" if len(masks) == 1 else f"masks/{picture.name}.{number}.png"
            Image.fromarray(mask.astype(np.uint8) * np.uint8(255)).save(self.folder / name)
            told = {key: answer.record.get(key) for key in _TOLD}
            row = {"file_name": file_name, "mask_file_name": name, "concept": answer.concept}
            self._rows.append({**row, **told})

    def finish(self) -> Sequence[str]:
        """Write the table."""
        lines = [json.dumps(row) + "\n" for row in self._rows]
        (self.folder / "metadata.jsonl").write_text("".join(lines), encoding="utf-8")
        return ()
