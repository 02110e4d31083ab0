"""What Label Studio sends: a labeling config, tasks with their pictures, regions that people drew."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.etree import ElementTree

import numpy as np
from jaxtyping import Bool
from PIL import Image

from conceptseg.data import Reference
from conceptseg.errors import ImageError, InputError
from conceptseg.interfaces.server.pictures import decode_base64
from conceptseg.shapes import fill_polygon
from conceptseg.shapes.brush_reading import decode_brush

__all__ = ["Drawn", "LabelConfig", "read_drawn", "read_media", "references_of"]

_LONGEST_CONFIG = 1 << 20
_MOST_LABELS = 64
_UPLOADS = "/data/upload/"
_LOCAL_FILES = "/data/local-files/"
_SHAPES = {"rectanglelabels": "rectangle", "brushlabels": "brush", "polygonlabels": "polygon"}


@dataclass(frozen=True)
class LabelConfig:
    """The part of a labeling config that a segmenter needs."""

    from_name: str
    """The name of the BrushLabels tag."""
    to_name: str
    """The name of the Image tag."""
    key: str
    """The task's field that holds the picture."""
    labels: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> LabelConfig:
        """A labeling config.

        Raises:
            InputError: it is no XML, or has no BrushLabels with labels on an Image.
        """
        brush, root = None, _parse_xml(text)
        images = {tag.get("name", ""): tag.get("value", "") for tag in root.iter("Image")}
        for brush in root.iter("BrushLabels"):
            labels = tuple(value for tag in brush.iter("Label") if (value := tag.get("value", "").strip()))
            to_name = brush.get("toName", "")
            if labels and to_name in images and len(labels) <= _MOST_LABELS:
                return cls(brush.get("name", ""), to_name, images[to_name].removeprefix("$"), labels)
        raise InputError(
            'label_config: masks need <Image name="image" value="$image"/> and <BrushLabels name="tag" toName="image"> '
            f"with 1 to {_MOST_LABELS} labels; " + ("the BrushLabels lack them." if brush is not None else "got none.")
        )

    def label_for(self, concept: str) -> str:
        """The label that a rule's masks get.

        Raises:
            InputError: none is the rule's concept, and there are several.
        """
        same = [label for label in self.labels if label.casefold() == concept.casefold()]
        if not same and len(self.labels) > 1:
            raise InputError(f"The rule finds {concept!r}, which is none of the labels {', '.join(self.labels)}.")
        return (same or self.labels)[0]


@dataclass(frozen=True, eq=False)
class Drawn:
    """A region that a person drew."""

    label: str
    kind: str
    """rectangle, brush or polygon."""
    value: dict[str, Any]


def read_media(data: dict[str, Any], key: str, root: Path | None, most_bytes: int) -> bytes:
    """The file of a task's picture: in a data: URI, or an upload under the root. Nothing is fetched.

    Raises:
        InputError: the task has no picture, or it lies elsewhere, or it is larger than `most_bytes`.
    """
    source = data.get(key)
    if not isinstance(source, str) or not source:
        raise InputError(f"The task has no {key!r}, where the labeling config expects its picture.")
    if source.startswith("data:"):
        return decode_base64(source, "the task's picture")
    path = _local_path(source)
    if path is None:
        raise InputError(
            f"The task's picture is at {source[:80]!r}: addresses are never fetched. Tasks may hold data: URIs, "
            f"or uploads ({_UPLOADS}…, {_LOCAL_FILES}?d=…) of a server started with --label-studio-root FOLDER."
        )
    if root is None:
        raise InputError("The task's picture is an upload: start the server with --label-studio-root FOLDER.")
    return _read_under(root, path, most_bytes)


def read_drawn(result: Sequence[Any]) -> tuple[list[Drawn], list[str]]:
    """Regions with a label of an annotation or a drawing in progress, and what was left out."""
    drawn, left_out = [], 0
    for region in result:
        value = region.get("value") if isinstance(region, dict) else None
        kind = _SHAPES.get(str(region.get("type")) if isinstance(region, dict) else "")
        label = _label_of(value) if isinstance(value, dict) else None
        is_positive = isinstance(region, dict) and region.get("is_positive", True) in (True, 1)
        if not isinstance(value, dict) or kind is None or label is None or not is_positive or value.get("rotation"):
            left_out += 1
            continue
        drawn.append(Drawn(label, kind, value))
    notes = []
    if left_out:
        notes.append(
            f"{left_out} of {len(result)} regions were not used: only labelled boxes (unturned), brushes and "
            "polygons around what is wanted are."
        )
    return drawn, notes


def references_of(drawn: Iterable[Drawn], image: Image.Image) -> list[Reference]:
    """A picture with what is drawn on it as references: one a box, and one for all brushes and polygons together.

    Raises:
        ImageError: a brush or a polygon is none, or is of a picture of another size.
        InputError: a box is none.
    """
    size_hw = (image.height, image.width)
    references, mask = [], np.zeros(size_hw, dtype=bool)
    for one in drawn:
        if one.kind == "rectangle":
            references.append(Reference(image, box=_box(one.value, size_hw)))
        else:
            mask |= _mask(one, size_hw)
    return [*([Reference(image, mask=mask)] if mask.any() else []), *references]


def _parse_xml(text: str) -> ElementTree.Element:
    if len(text) > _LONGEST_CONFIG or "<!" in re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL):
        raise InputError("label_config must be plain XML of at most 1 MiB, without declarations.")
    try:
        return ElementTree.fromstring(text)
    except (ElementTree.ParseError, ValueError) as error:
        raise InputError(f"label_config is no XML: {error}.") from error


def _local_path(source: str) -> str | None:
    """The path of an upload below the root; None where the source is an address or some other path."""
    if source.startswith(_UPLOADS):
        return "upload/" + unquote(source[len(_UPLOADS) :].partition("?")[0])
    if source.startswith(_LOCAL_FILES):
        return (parse_qs(urlsplit(source).query).get("d") or [""])[0]
    return None


def _read_under(root: Path, path: str, most_bytes: int) -> bytes:
    try:
        file = (root / path.lstrip("/")).resolve()
        if not file.is_relative_to(root.resolve()) or not file.is_file():
            raise InputError(f"The task's picture {path[:80]!r} is no file of the folder of uploads.")
        if file.stat().st_size > most_bytes:
            raise ImageError(f"The task's picture {path[:80]!r} is larger than {most_bytes} bytes.")
        return file.read_bytes()
    except (OSError, ValueError, RuntimeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"The task's picture {path[:80]!r} cannot be read.") from error


def _label_of(value: dict[str, Any]) -> str | None:
    for key in _SHAPES:
        labels = value.get(key)
        if isinstance(labels, list) and labels and isinstance(labels[0], str) and labels[0].strip():
            return labels[0].strip()
    return None


def _box(value: dict[str, Any], size_hw: tuple[int, int]) -> tuple[float, float, float, float]:
    try:
        x, y, width, height = (float(value[key]) / 100 for key in ("x", "y", "width", "height"))
    except (KeyError, TypeError, ValueError) as error:
        raise InputError("A box must have x, y, width and height in percent.") from error
    high, wide = size_hw
    return x * wide, y * high, (x + width) * wide, (y + height) * high


def _mask(one: Drawn, size_hw: tuple[int, int]) -> Bool[np.ndarray, "h w"]:
    if one.kind == "brush":
        rle = one.value.get("rle")
        if not isinstance(rle, list):
            raise ImageError("A brush must have its rle as a list of bytes.")
        return decode_brush(rle, size_hw)
    try:
        points = np.asarray(one.value.get("points"), dtype=float).reshape(-1, 2)
    except (TypeError, ValueError) as error:
        raise ImageError("A polygon must have points [[x, y], …] in percent.") from error
    return fill_polygon(points * (size_hw[1] / 100, size_hw[0] / 100), size_hw)
