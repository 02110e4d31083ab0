"""Small operations on whole pictures, in Pillow's C code because they run thousands of times a second."""

from __future__ import annotations

from PIL import Image, ImageChops, ImageFilter

__all__ = ["brightened", "dimmed", "embossed", "shaded", "softened"]


def softened(mask: Image.Image, radius: float) -> Image.Image:
    """The mask with an edge about as wide as `radius` (a fraction of its side)."""
    return mask.filter(ImageFilter.BoxBlur(1.6 * radius * mask.width))


def dimmed(picture: Image.Image, factor: float) -> Image.Image:
    """The picture (L or RGB) times a factor in [0, 1]."""
    level = round(255 * factor)
    return ImageChops.multiply(picture, Image.new(picture.mode, picture.size, (level,) * len(picture.getbands())))


def brightened(picture: Image.Image, factor: float) -> Image.Image:
    """The picture (L or RGB) times a factor in [1, 2], clipped at 255."""
    return ImageChops.add(picture, dimmed(picture, factor - 1))


def embossed(field: Image.Image, step: int) -> Image.Image:
    """Slopes of a grey field: 128 where it is flat, lighter on those that face the upper left (for a light there).

    Args:
        step: pixels over which a slope is measured. The field wraps round at its border.
    """
    return ImageChops.subtract(ImageChops.offset(field, -step), ImageChops.offset(field, step), 2.0, 128)


def shaded(picture: Image.Image, slopes: Image.Image, strength: float = 1.0) -> Image.Image:
    """An RGB picture lit as slopes tell (128 = unchanged), `strength` times as strongly; negative for hollows."""
    if strength != 1.0:
        slopes = Image.blend(Image.new("L", slopes.size, 128), slopes, strength)
    return ImageChops.add(picture, Image.merge("RGB", (slopes,) * 3), 1.0, -128)
