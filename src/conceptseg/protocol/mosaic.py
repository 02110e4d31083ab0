"""References as one picture: the K×K mosaic of §3.2 and Appendix D.3, with boxes carried both ways."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool
from PIL import Image

from conceptseg.errors import InputError
from conceptseg.geometry import BoxXYXY, box_area, clip_box, round_box, scale_box
from conceptseg.images import resize_image

__all__ = ["Mosaic", "build_mosaic"]

_RED = (255, 0, 0)
_BLUE = (0, 0, 255)
_MASK_SHARE = 0.5
_STROKE_PER_PX = 2 / 600  # the released mosaics: 2 px wide lines on a canvas of 600


@dataclass(frozen=True, eq=False)
class Mosaic:
    """References laid out on a square canvas, row by row from the top left, each stretched over its cell.

    Cell edges are rounded to whole pixels, so where K does not divide the canvas the cells differ by one pixel; cells
    beyond the last reference stay black.
    """

    image: Image.Image
    """The canvas, RGB, `canvas_px` × `canvas_px`, with the shown boxes drawn in red
    (and those of what the target is not in blue)."""
    grid: int
    """K, the number of cells along one side."""
    canvas_px: int
    """The canvas's side in pixels."""
    sizes_hw: tuple[tuple[int, int], ...]
    """Each reference's own size (height, width) in pixels."""
    boxes_xyxy: tuple[BoxXYXY | None, ...]
    """Each reference's box in canvas pixels, the withheld one included; None where a reference has no box."""
    proxy_index: int | None
    """The reference whose box is neither drawn nor told, for the model to find (𝒬 of §3.2); None without one."""
    notes: tuple[str, ...] = ()
    """What the reader of an answer should know of the references, e.g. that one's mask is empty."""
    unlike_boxes: tuple[BoxXYXY, ...] = ()
    """Boxes of what the target is not, drawn in blue, in canvas pixels; none of `boxes_xyxy`."""

    @property
    def shown_boxes(self) -> tuple[BoxXYXY, ...]:
        """The boxes drawn on the canvas and listed in the prompt (𝒮 of §3.2), in canvas pixels."""
        return tuple(box for index, box in enumerate(self.boxes_xyxy) if box is not None and index != self.proxy_index)

    def cell(self, index: int, side: int) -> tuple[int, int, int, int]:
        """The cell of reference `index` as left, top, right, bottom (half-open), where the canvas is `side` wide."""
        return _cell(index, self.grid, side)

    def to_reference(self, index: int, box_xyxy: BoxXYXY) -> BoxXYXY:
        """A box in canvas pixels, in the pixels of reference `index`; outside its cell it leaves the picture."""
        left, top, right, bottom = _cell(index, self.grid, self.canvas_px)
        x1, y1, x2, y2 = box_xyxy
        inside = (x1 - left, y1 - top, x2 - left, y2 - top)
        return scale_box(inside, (bottom - top, right - left), self.sizes_hw[index])


def build_mosaic(
    images: Sequence[Image.Image],
    boxes: Sequence[BoxXYXY | None],
    *,
    canvas_px: int,
    proxy: bool = True,
    unlike: Sequence[int] = (),
    masks: Sequence[Bool[np.ndarray, "_ _"] | None] = (),
) -> Mosaic:
    """Lay references out as the K×K mosaic of §3.2 / D.3, K = ⌈√n⌉.

    Reference 0 (top left) becomes the proxy when `proxy` is set, it has a box, and at least one other reference has
    one to induce a rule from; its box is then withheld. Otherwise every known box is shown.

    Args:
        images: n ≥ 1 RGB pictures of any size.
        boxes: One box a picture in its own pixels, or None; parts outside the picture are cut off.
        canvas_px: The canvas's side in pixels, at least K. Choose a multiple of the MLLM's patch × merge, so that the
            model sees the canvas unresized.
        proxy: Whether to withhold a box for verification.
        unlike: Places of pictures whose box marks what the target is not: it is drawn in blue, and never withheld.
        masks: Of each picture at its own size, or None: what it covers is tinted beside the box. The paper and released
            checkpoints show boxes alone. The withheld reference is never tinted.

    Raises:
        InputError: no pictures, another number of boxes or masks, a box outside its picture, or a canvas below K.
    """
    grid = _checked_grid(len(images), len(boxes), canvas_px)
    if masks and len(masks) != len(images):
        raise InputError(f"Expected one mask (or None) a reference image, got {len(masks)} for {len(images)} images.")
    sizes_hw = tuple((image.height, image.width) for image in images)
    like = [place for place, box in enumerate(boxes) if box is not None and place not in unlike]
    has_proxy = proxy and len(like) > 1 and like[0] == 0
    canvas = Image.new("RGB", (canvas_px, canvas_px))
    placed: list[BoxXYXY | None] = []
    for index, (image, box) in enumerate(zip(images, boxes, strict=True)):
        left, top, right, bottom = _cell(index, grid, canvas_px)
        cell_hw = (bottom - top, right - left)
        shown = resize_image(image.convert("RGB"), cell_hw)
        if masks and not (has_proxy and index == 0):
            shown = _tinted(shown, masks[index], _BLUE if index in unlike else _RED)
        canvas.paste(shown, (left, top))
        inside = None if box is None else _checked_box(box, sizes_hw[index], index)
        placed.append(None if inside is None else scale_box(inside, sizes_hw[index], cell_hw, (left, top)))
    targets = tuple(None if place in unlike else box for place, box in enumerate(placed))
    others = tuple(box for place in unlike if (box := placed[place]) is not None)
    mosaic = Mosaic(canvas, grid, canvas_px, sizes_hw, targets, 0 if has_proxy else None, unlike_boxes=others)
    _draw_boxes(canvas, others, _BLUE)
    _draw_boxes(canvas, mosaic.shown_boxes, _RED)
    return mosaic


def _checked_grid(images: int, boxes: int, canvas_px: int) -> int:
    if images == 0:
        raise InputError("A mosaic needs at least one reference image, got none.")
    if images != boxes:
        raise InputError(f"Expected one box (or None) a reference image, got {boxes} for {images} images.")
    grid = math.isqrt(images - 1) + 1
    if canvas_px < grid:
        raise InputError(f"canvas_px must be at least {grid} for {images} references, got {canvas_px}.")
    return grid


def _checked_box(box_xyxy: BoxXYXY, size_hw: tuple[int, int], index: int) -> BoxXYXY:
    inside = clip_box(box_xyxy, size_hw)
    if not box_area(inside) > 0:
        raise InputError(
            f"The box {tuple(box_xyxy)} of reference {index} covers nothing of its image of "
            f"{size_hw[1]}×{size_hw[0]} pixels (width × height); boxes are (x1, y1, x2, y2) with x1 < x2, y1 < y2."
        )
    return inside


def _cell(index: int, grid: int, canvas_px: int) -> tuple[int, int, int, int]:
    """The pixels of cell `index` as left, top, right, bottom (half-open); neighbours share their edge exactly."""
    row, column = divmod(index, grid)
    edges = [round(line * canvas_px / grid) for line in (column, row, column + 1, row + 1)]
    return edges[0], edges[1], edges[2], edges[3]


def _tinted(cell: Image.Image, mask: Bool[np.ndarray, "_ _"] | None, colour: tuple[int, int, int]) -> Image.Image:
    """A cell with what a mask covers half in a colour."""
    if mask is None:
        return cell
    share = Image.fromarray(mask.astype(np.uint8) * round(255 * _MASK_SHARE)).resize(cell.size, Image.Resampling.BOX)
    return Image.composite(Image.new("RGB", cell.size, colour), cell, share)


def _draw_boxes(canvas: Image.Image, boxes: Sequence[BoxXYXY], colour: tuple[int, int, int]) -> None:
    """Outlines inside the boxes as the prompt words them, in proportion to the canvas and at least 1 px wide."""
    stroke_px = max(1, round(canvas.width * _STROKE_PER_PX))
    for box in boxes:
        left, top, right, bottom = round_box(box)
        inner = (left + stroke_px, top + stroke_px, right - stroke_px, bottom - stroke_px)
        inside = canvas.crop(inner) if inner[0] < inner[2] and inner[1] < inner[3] else None
        canvas.paste(colour, (left, top, right, bottom))
        if inside:
            canvas.paste(inside, inner[:2])
