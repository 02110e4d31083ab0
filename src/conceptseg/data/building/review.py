"""The review sheet: every built mask on its picture, the doubtful ones first, for a person to look through."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from conceptseg.errors import ImageError
from conceptseg.files import replacing
from conceptseg.geometry import BoxXYXY, pixel_corners
from conceptseg.images import ImageSource, load_image, load_mask

__all__ = ["Exhibit", "write_review"]

_SIDE_PX = 220
_RED, _YELLOW = (255, 64, 64), (255, 210, 0)
_STYLE = """
body { font: 13px/1.4 system-ui, sans-serif; margin: 1.5rem } main { display: flex; flex-wrap: wrap; gap: .8rem }
figure { margin: 0; padding: .3rem; border: 2px solid #ccc; border-radius: 6px } figure.out { border-color: #c33 }
img { display: block; height: 200px } figcaption { max-width: 260px }
"""


@dataclass(frozen=True)
class Exhibit:
    """A mask as the sheet shows it."""

    id: str
    image: ImageSource
    mask: Path
    """Its file, if there is one."""
    box_xyxy: BoxXYXY | None
    quality: float
    reason: str
    """Why it was not kept; empty if it was."""


def write_review(path: Path, exhibits: Sequence[Exhibit]) -> Path:
    """Write the sheet, by quality from the lowest.

    Args:
        path: the HTML file.
        exhibits: one an item.
    """
    figures = "".join(map(_figure, sorted(exhibits, key=lambda one: (one.quality, one.id))))
    kept = sum(not one.reason for one in exhibits)
    page = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>review</title>'
        f"<style>{_STYLE}</style></head><body><h1>{kept} of {len(exhibits)} masks kept</h1><p>Worst first; what is not "
        "kept has a red frame. To throw a mask out, write its id on a line of rejected.txt beside this page and build "
        "again.</p>"
        f"<main>{figures}</main></body></html>\n"
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as fresh:
        fresh.write_text(page, encoding="utf-8")
    return path


def _figure(one: Exhibit) -> str:
    state = f"quality {one.quality:.2f}" + (f", {one.reason}" if one.reason else "")
    caption = f"<figcaption><b>{escape(one.id)}</b><br>{escape(state)}</figcaption>"
    kind = "out" if one.reason else "kept"
    try:
        told = f"{one.id} with its box and mask"
        return f'<figure class="{kind}"><img src="{_drawn(one)}" alt="{escape(told)}">{caption}</figure>'
    except ImageError:
        return f'<figure class="{kind}">{caption}</figure>'


def _drawn(one: Exhibit) -> str:
    """The picture with mask and box, small, as a data URI."""
    image = load_image(one.image)
    if one.mask.is_file():
        pixels = np.asarray(image, dtype=np.float32).copy()
        marked = load_mask(one.mask, (image.height, image.width))
        pixels[marked] = (pixels[marked] + np.array(_RED, dtype=np.float32)) / 2
        image = Image.fromarray(pixels.astype(np.uint8))
    if one.box_xyxy is not None:
        ImageDraw.Draw(image).rectangle(pixel_corners(one.box_xyxy), outline=_YELLOW, width=max(1, image.width // 150))
    image.thumbnail((2 * _SIDE_PX, _SIDE_PX))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
