"""Masks made of annotations: COCO run lengths, plain and compressed, polygons, and maps of labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image, ImageDraw

from conceptseg.errors import ImageError
from conceptseg.images import IGNORE_VALUE
from conceptseg.shapes import decode_run_lengths, fill_polygon

__all__ = ["decode_regions", "draw_polygon", "labelled_polygons", "read_labels"]


def decode_regions(regions: Sequence[Any], size_hw: tuple[int, int]) -> Bool[np.ndarray, "h w"]:
    """The union of COCO `segmentation` entries: lists of polygons, or run lengths.

    A polygon covers the pixels whose centres it holds, as in pycocotools but for its rounding to fifths of a pixel.

    Raises:
        ImageError: run lengths do not fill the picture, or polygons are none.
    """
    mask = np.zeros(size_hw, dtype=bool)
    for region in regions:
        if isinstance(region, Mapping):
            mask |= decode_run_lengths(region["counts"], size_hw)
        else:
            for polygon in region:
                mask |= fill_polygon(polygon, size_hw)
    return mask


def draw_polygon(points_xy: Sequence[Sequence[float]], size_hw: tuple[int, int]) -> Bool[np.ndarray, "h w"]:
    """A filled polygon with its outline, in pixels; what lies outside the picture is cut off."""
    canvas = Image.new("1", (size_hw[1], size_hw[0]))
    if len(points_xy) > 1:
        ImageDraw.Draw(canvas).polygon([(float(x), float(y)) for x, y in points_xy], fill=1, outline=1)
    return np.array(canvas)


def labelled_polygons(
    polygons: Sequence[tuple[Sequence[Sequence[float]], bool]], size_hw: tuple[int, int]
) -> UInt8[np.ndarray, "h w"]:
    """Polygons drawn from the largest to the smallest, each over those before.

    Args:
        polygons: (points, whether it is the target); what is not the target is ignored.
        size_hw: Height and width in pixels.

    Returns:
        255 target, 128 ignored, 0 background.
    """
    drawn = [(draw_polygon(points, size_hw), 255 if is_target else IGNORE_VALUE) for points, is_target in polygons]
    levels = np.zeros(size_hw, dtype=np.uint8)
    for mask, level in sorted(drawn, key=lambda pair: -int(pair[0].sum())):
        levels[mask] = level
    return levels


def read_labels(path: Path) -> UInt8[np.ndarray, "h w"]:
    """A picture whose grey values or palette indices are labels, as they are.

    Raises:
        ImageError: it cannot be read, or has several channels.
    """
    try:
        with Image.open(path) as image:
            labels = np.asarray(image)
    except (OSError, SyntaxError, ValueError) as error:
        raise ImageError(f"Cannot read the label map {path}: {error}.") from error
    if labels.ndim != 2 or labels.dtype != np.uint8:
        raise ImageError(f"{path} is no label map of one 8-bit channel: shape {labels.shape}, dtype {labels.dtype}.")
    return labels
