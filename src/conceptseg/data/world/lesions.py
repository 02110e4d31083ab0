"""Medical tasks: polyps on glossy mucosa, lesions in breast ultrasound, and spots on dermoscopic skin.

Drawn after what such pictures have in common, not after any data set: for training and transfer in small, never for
diagnosis.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from conceptseg.data.world.blobs import blob_mask, crack_mask
from conceptseg.data.world.dice import between, chance, generator, pick
from conceptseg.data.world.palettes import palette_between, rgb_of
from conceptseg.data.world.pixels import brightened, dimmed, embossed, shaded, softened
from conceptseg.data.world.stage import TextureView, random_finish
from conceptseg.data.world.studio import Studio
from conceptseg.data.world.tasks import Picture, Task, Theme

__all__ = ["LESION_TASKS"]

_HAZE = [70 + level * 184 // 255 for level in range(256)]
_POLYP_RULE = "Segment the bump that rises from the smooth lining."
_BREAST_RULE = "Segment the dark mass among the brighter speckle."
_SKIN_RULE = "Segment the irregular dark spot on the skin."


def _blob(rng: np.random.Generator, side: int, low: float, high: float, rough: float, flat: float) -> Image.Image:
    """A blob well inside the picture; `flat` is the least ratio of its axes."""
    radius = between(rng, low, high)
    margin = min(0.45, radius + 0.12)
    x, y = between(rng, margin, 1 - margin), between(rng, margin, 1 - margin)
    return blob_mask(rng, side, x, y, radius, rough, between(rng, flat, 1.0))


def _view(rng: np.random.Generator, family: str, width: float, palette: bytes) -> TextureView:
    return TextureView(
        family,
        int(rng.integers(4)),
        between(rng, 0, 1 - width),
        between(rng, 0, 1 - width),
        width,
        int(rng.integers(8)),
        palette,
    )


def _polyp_theme(rng: np.random.Generator, studio: Studio) -> Theme:
    """One bowel: its colour is the episode's; paler and yellower in `unseen_test`."""
    hue = between(rng, 0.99, 1.03) if studio.split != "unseen_test" else between(rng, 1.03, 1.075)
    stain = between(rng, 0.45, 0.68)
    return Theme("polyp", _POLYP_RULE, "polyp", f"hue {round(hue * 100) % 100}", {"hue": hue, "saturation": stain})


def _draw_polyp(theme: Theme, rng: np.random.Generator, studio: Studio, side: int, reference: int | None) -> Picture:
    """Folded, wet, veined lining with a bump of much the same colour; black corners as an endoscope has."""
    hue, stain = theme.parts["hue"], theme.parts["saturation"]
    ramp = palette_between(
        rgb_of(hue - 0.02, stain + 0.18, 0.42), rgb_of(hue, stain, 0.76), rgb_of(hue + 0.02, stain - 0.2, 0.95)
    )
    field = studio.grey_texture(_view(rng, "cloud", between(rng, 0.25, 0.5), ramp), side)
    field.putpalette(ramp)
    picture = field.convert("RGB")
    picture = shaded(picture, _folds(rng, studio, side), between(rng, 0.35, 0.7))
    veins = crack_mask(rng, side, between(rng, 0.5, 0.9), 0.008)
    if chance(rng, 0.5):
        veins = ImageChops.lighter(veins, crack_mask(rng, side, between(rng, 0.5, 0.9), 0.008))
    picture.paste(rgb_of(hue - 0.02, 0.8, 0.45), (0, 0), dimmed(softened(veins, 0.006), 0.5))
    mask = _blob(rng, side, 0.13, 0.25, 0.12, 0.62)
    _raise_bump(rng, picture, mask, hue, stain)
    _wet_spots(rng, studio, picture)
    _round_view(rng, picture, 0.62)
    return Picture(studio.finish(picture, random_finish(rng, 0.6)), np.asarray(mask) > 127)


def _folds(rng: np.random.Generator, studio: Studio, side: int) -> Image.Image:
    """The slopes of wide soft folds, mode L; from a larger sheet, because embossing wraps round at its border."""
    margin = side // 16
    sheet = studio.grey_texture(_view(rng, "ripples", between(rng, 0.12, 0.2), b""), side + 2 * margin)
    slopes = embossed(sheet.filter(ImageFilter.BoxBlur(side // 30)), margin // 2)
    return slopes.crop((margin, margin, margin + side, margin + side))


def _raise_bump(rng: np.random.Generator, picture: Image.Image, mask: Image.Image, hue: float, stain: float) -> None:
    """A dark foot around the blob, its own tone, and the shading of a dome, in place."""
    side = picture.width
    reach = side // 8
    left, top, right, bottom = mask.getbbox() or (0, 0, side, side)
    around = (left - reach, top - reach, right + reach, bottom + reach)
    near, form = picture.crop(around), mask.crop(around)
    grain = side / form.width
    foot = ImageChops.offset(softened(form, 0.025 * grain), side // 60, side // 40)
    near.paste(dimmed(near, 0.55), (0, 0), foot)
    colour = rgb_of(hue + between(rng, -0.015, 0.015), stain + between(rng, -0.08, 0.12), 0.85)
    body = Image.blend(brightened(near, 1.5), Image.new("RGB", near.size, colour), between(rng, 0.35, 0.6))
    body = shaded(body, embossed(softened(form, 0.05 * grain), max(2, side // 20)), between(rng, 0.6, 0.9))
    near.paste(body, (0, 0), softened(form, 0.008 * grain))
    x, y = (reach + 0.4 * (right - left)) / form.width, (reach + 0.35 * (bottom - top)) / form.height
    spot = blob_mask(rng, form.width, x, y * form.height / form.width, between(rng, 0.018, 0.035) * grain, 0.3, 0.6)
    near.paste((255, 250, 246), (0, 0), dimmed(softened(spot.crop((0, 0, *near.size)), 0.006 * grain), 0.85))
    picture.paste(near, around[:2])


def _wet_spots(rng: np.random.Generator, studio: Studio, picture: Image.Image) -> None:
    """Small specular lights where a fine noise peaks, in place."""
    level = int(between(rng, 190, 225))
    wet = studio.grey_texture(_view(rng, "sand", between(rng, 0.4, 0.7), b""), picture.width)
    light = wet.filter(ImageFilter.BoxBlur(1)).point([min(225, max(0, v - level) * 16) for v in range(256)])
    picture.paste((255, 248, 244), (0, 0), light)


def _round_view(rng: np.random.Generator, picture: Image.Image, radius: float) -> None:
    """Blacken what lies outside a round or cut-off lens, in place; often nothing."""
    if chance(rng, 0.6):
        side, r = picture.width, radius * picture.width
        cx, cy = side * between(rng, 0.46, 0.54), side * between(rng, 0.46, 0.54)
        lens = Image.new("L", picture.size, 255)
        ImageDraw.Draw(lens).ellipse((cx - r, cy - r, cx + r, cy + r), fill=0)
        picture.paste((6, 5, 6), (0, 0), softened(lens, 0.006))


def _breast_theme(rng: np.random.Generator, studio: Studio) -> Theme:
    gain = between(rng, 0.75, 1.15) if studio.split != "unseen_test" else between(rng, 0.5, 0.72)
    return Theme("breast lesion", _BREAST_RULE, "breast lesion", f"gain {round(gain * 10)}", {"gain": gain})


def _draw_breast(theme: Theme, rng: np.random.Generator, studio: Studio, side: int, reference: int | None) -> Picture:
    """Speckled layers of tissue, darker with depth, and a mass with few echoes and a lighter or darker tail."""
    grey = palette_between((0, 0, 0), (255, 255, 255))
    layers = studio.grey_texture(_view(rng, "cloud", 0.4, grey), side).resize((side, side // 3)).resize((side, side))
    depth = Image.frombytes("L", (1, 6), bytes((250, 150, 215, 185, 120, int(between(rng, 40, 100)))))
    depth = depth.resize((side, side), Image.Resampling.BICUBIC)
    tissue = ImageChops.multiply(layers.point(_HAZE), depth)
    mask = _blob(rng, side, 0.11, 0.25, between(rng, 0.1, 0.4), 0.5)
    _tail(rng, tissue, mask)
    inner = studio.grey_texture(_view(rng, "cloud", 0.3, grey), side)
    inner = dimmed(inner.point(_HAZE), between(rng, 0.08, 0.24))
    tissue.paste(inner, (0, 0), softened(mask, between(rng, 0.008, 0.016)))
    picture = ImageChops.multiply(tissue, _speckle(rng, studio, side))
    gain = theme.parts["gain"] * 1.7
    picture = brightened(picture, gain) if gain > 1 else dimmed(picture, gain)
    return Picture(studio.finish(picture.convert("RGB"), random_finish(rng, 0.5)), np.asarray(mask) > 127)


def _tail(rng: np.random.Generator, tissue: Image.Image, mask: Image.Image) -> None:
    """Below the mass the tissue is lighter (fluid) or darker (dense), in place."""
    left, top, right, bottom = mask.getbbox() or (0, 0, 1, 1)
    inset = (right - left) // 6
    column = Image.new("L", tissue.size, 0)
    ImageDraw.Draw(column).rectangle((left + inset, (top + bottom) // 2, right - inset, tissue.height), fill=150)
    factor = between(rng, 1.3, 1.6) if chance(rng, 0.6) else between(rng, 0.45, 0.7)
    tail = brightened(tissue, factor) if factor > 1 else dimmed(tissue, factor)
    tissue.paste(tail, (0, 0), softened(column, 0.03))


def _speckle(rng: np.random.Generator, studio: Studio, side: int) -> Image.Image:
    """Multiplicative speckle as coherent waves make it (Rayleigh), slightly wider than high; mode L."""
    large = studio.cached(("speckle", side), lambda: _speckle_sheet(side))
    left, top = int(rng.integers(large.width - side)), int(rng.integers(large.height - side))
    return large.crop((left, top, left + side, top + side))


def _speckle_sheet(side: int) -> Image.Image:
    values = generator("speckle").rayleigh(0.5, (200, 150))
    sheet = Image.fromarray(np.clip(values * 165 + 40, 0, 255).astype(np.uint8))
    return sheet.resize((side * 2, side * 2), Image.Resampling.BICUBIC)


def _skin_theme(rng: np.random.Generator, studio: Studio) -> Theme:
    """One patient: skin tone and a brown; darker skin in `unseen_test`."""
    value = between(rng, 0.72, 0.95) if studio.split != "unseen_test" else between(rng, 0.5, 0.66)
    skin = (between(rng, 0.02, 0.075), between(rng, 0.2, 0.45), value)
    brown = (between(rng, 0.02, 0.07), between(rng, 0.5, 0.8), value * between(rng, 0.3, 0.55))
    return Theme("skin lesion", _SKIN_RULE, "skin lesion", f"tone {round(value * 10)}", {"skin": skin, "brown": brown})


def _draw_skin(theme: Theme, rng: np.random.Generator, studio: Studio, side: int, reference: int | None) -> Picture:
    """Finely grained skin with a blotchy brown spot, often hairs, sometimes bubbles and a dark lens rim."""
    skin = _shades(theme.parts["skin"], 0.1)
    picture = Image.blend(
        studio.texture(_view(rng, "cloud", 0.4, skin), side), studio.texture(_view(rng, "sand", 0.8, skin), side), 0.35
    )
    mask = _blob(rng, side, 0.15, 0.32, between(rng, 0.15, 0.4), 0.6)
    spot = studio.texture(_view(rng, pick(rng, ("cloud", "blotches")), 0.5, _shades(theme.parts["brown"], 0.34)), side)
    spot = Image.blend(picture, spot, between(rng, 0.6, 0.92))
    picture.paste(spot, (0, 0), softened(mask, between(rng, 0.008, 0.025)))
    if chance(rng, 0.6):
        _hairs(rng, picture)
    _bubbles(rng, picture)
    if chance(rng, 0.4):
        _round_view(rng, picture, 0.64)
    return Picture(studio.finish(picture, random_finish(rng, 0.6)), np.asarray(mask) > 127)


def _shades(hsv: tuple[float, float, float], span: float) -> bytes:
    hue, saturation, value = hsv
    return palette_between(
        rgb_of(hue - 0.01, saturation + 0.1, value - span / 2), rgb_of(hue + 0.01, saturation, value + span / 2)
    )


def _hairs(rng: np.random.Generator, picture: Image.Image) -> None:
    """Thin dark arcs, drawn at twice the size and softened, in place."""
    side = picture.width
    hairs = Image.new("L", (side * 2, side * 2), 0)
    pen = ImageDraw.Draw(hairs)
    for _ in range(int(rng.integers(3, 14))):
        x, y, r = rng.random() * side * 2, rng.random() * side * 2, between(rng, 0.4, 1.6) * side
        start = between(rng, 0, 360)
        pen.arc((x - r, y - r, x + r, y + r), start, start + between(rng, 25, 70), fill=200, width=2)
    picture.paste((40, 28, 24), (0, 0), hairs.reduce(2))


def _bubbles(rng: np.random.Generator, picture: Image.Image) -> None:
    """Rings of trapped gel, in place; mostly none."""
    for _ in range(int(rng.integers(0, 4)) if chance(rng, 0.3) else 0):
        x, y, r = rng.random() * picture.width, rng.random() * picture.width, between(rng, 0.01, 0.03) * picture.width
        ImageDraw.Draw(picture).ellipse((x - r, y - r, x + r, y + r), outline=(240, 232, 226))


def _texts(concept: str, rule: str) -> Iterator[str]:
    yield from (concept, rule)


LESION_TASKS: dict[str, Task] = {
    "polyp_lesion": Task(_polyp_theme, _draw_polyp, lambda: _texts("polyp", _POLYP_RULE)),
    "breast_lesion": Task(_breast_theme, _draw_breast, lambda: _texts("breast lesion", _BREAST_RULE)),
    "skin_lesion": Task(_skin_theme, _draw_skin, lambda: _texts("skin lesion", _SKIN_RULE)),
}
"""Leaf task → how it is made."""
