"""Label Studio: tasks to import, with the masks as predictions that people correct."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

from conceptseg import __version__
from conceptseg.interfaces.exports.exporter import Exporter, ExportOptions, Masks
from conceptseg.interfaces.exports.results import Answer, Picture, Results
from conceptseg.shapes import encode_brush

__all__ = ["LabelStudioExporter"]

_IMAGE, _TAG = "image", "tag"


class LabelStudioExporter(Exporter):
    """`tasks.json`, and `label_config.xml` for the project that takes it.

    A picture is named by the prefix and its path from the folder that all pictures have in common; the default prefix
    is that of Label Studio's local files. A prediction's score is the least of its masks', so that what is least
    certain can be shown first.
    """

    has_pictures = False

    def __init__(self, folder: Path, results: Results, options: ExportOptions) -> None:
        super().__init__(folder, results, options)
        self._tasks: list[dict[str, Any]] = []

    def add(self, picture: Picture, masks: Masks) -> None:
        """One task; a picture without the concepts has a prediction without regions."""
        answered = zip(picture.answers, masks, strict=True)
        prediction: dict[str, Any] = {
            "model_version": f"conceptseg {__version__}",
            "result": [_region(picture, answer, mask) for answer, mask in answered if mask.any()],
        }
        scores = [answer.score for answer in picture.answers if answer.score is not None]
        if scores:
            prediction["score"] = min(scores)
        url = self.options.url_prefix + quote(picture.file_name, errors="surrogateescape")
        self._tasks.append({"data": {_IMAGE: url}, "predictions": [prediction]})

    def finish(self) -> Sequence[str]:
        """Write both files."""
        (self.folder / "tasks.json").write_text(json.dumps(self._tasks), encoding="utf-8")
        labels = "".join(f"    <Label value={quoteattr(concept)}/>\n" for concept in self.results.concepts)
        config = (
            f'<View>\n  <Image name="{_IMAGE}" value="${_IMAGE}" zoom="true"/>\n'
            f'  <BrushLabels name="{_TAG}" toName="{_IMAGE}">\n{labels}  </BrushLabels>\n</View>\n'
        )
        (self.folder / "label_config.xml").write_text(config, encoding="utf-8")
        return [f"Pictures are named {self.options.url_prefix}PATH, PATH being relative to {self.results.folder}."]


def _region(picture: Picture, answer: Answer, mask: Any) -> dict[str, Any]:
    height, width = picture.size_hw
    name = hashlib.sha256(f"{picture.file_name}/{answer.concept}".encode(errors="surrogateescape")).hexdigest()[:10]
    region = {
        "id": name,
        "from_name": _TAG,
        "to_name": _IMAGE,
        "original_width": width,
        "original_height": height,
        "image_rotation": 0,
        "type": "brushlabels",
        "value": {"format": "rle", "rle": encode_brush(mask), "brushlabels": [answer.concept]},
    }
    return region if answer.score is None else {**region, "score": answer.score}
