"""The mosaic for people: as the model sees it, with the box that was withheld from it and the one it gave instead."""

from __future__ import annotations

from PIL import Image, ImageDraw

from conceptseg.geometry import BoxXYXY
from conceptseg.protocol import Mosaic

__all__ = ["CHECK_COLOUR", "TRUE_COLOUR", "draw_mosaic", "draw_proxy"]

TRUE_COLOUR = (0, 170, 0)
"""Of the withheld box."""
CHECK_COLOUR = (255, 170, 0)
"""Of the response's check."""


def draw_mosaic(mosaic: Mosaic, check: BoxXYXY | None, side_px: int) -> Image.Image:
    """The mosaic enlarged, with the withheld box (green) and the response's check (orange) on it.

    Args:
        mosaic: the references.
        check: the response's box in canvas pixels; None without one.
        side_px: of the drawing.
    """
    factor = side_px / mosaic.canvas_px
    picture = mosaic.image.resize((side_px, side_px))
    if mosaic.proxy_index is not None:
        _draw_box(picture, mosaic.boxes_xyxy[mosaic.proxy_index], factor, TRUE_COLOUR)
    _draw_box(picture, check, factor, CHECK_COLOUR)
    return picture


def draw_proxy(mosaic: Mosaic, check: BoxXYXY | None, side_px: int) -> Image.Image | None:
    """The withheld reference alone with both boxes; None where nothing was withheld."""
    if mosaic.proxy_index is None:
        return None
    whole = draw_mosaic(mosaic, check, side_px * mosaic.grid)
    return whole.crop(mosaic.cell(mosaic.proxy_index, side_px * mosaic.grid))


def _draw_box(picture: Image.Image, box: BoxXYXY | None, factor: float, colour: tuple[int, int, int]) -> None:
    if box is not None:
        width = max(2, picture.width // 110)
        ImageDraw.Draw(picture).rectangle([value * factor for value in box], outline=colour, width=width)
