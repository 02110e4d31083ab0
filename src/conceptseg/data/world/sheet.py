"""Contact sheets: what a world's tasks look like, for people."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from conceptseg.data.samples import ConceptSample, ImageSource
from conceptseg.data.world.world import ConceptWorld
from conceptseg.errors import InputError
from conceptseg.images import load_image, load_mask, resize_mask

__all__ = ["contact_sheet", "sample_sheet"]

_MARGIN_PX = 4
_TEXT_PX = 14
_EDGE = (255, 40, 40)


def contact_sheet(world: ConceptWorld, count: int = 2) -> Image.Image:
    """The first `count` samples of each task, as `sample_sheet` shows them.

    Raises:
        InputError: `count` is less than 1.
    """
    if count < 1:
        raise InputError(f"A contact sheet needs at least 1 sample a task, got count={count}.")
    return sample_sheet([world.sample(task, index) for task in world.tasks for index in range(count)], world.size_px)


def sample_sheet(samples: Sequence[ConceptSample], side: int) -> Image.Image:
    """Samples with equally many references, a row each: the references, the target, the target with its mask.

    Above a row stand the task, the concept, the rule and the answer; masks are outlined in red.

    Args:
        samples: at least one.
        side: of each picture, px.

    Raises:
        InputError: there is no sample.
    """
    if not samples:
        raise InputError("A sheet needs at least 1 sample, got none.")
    rows = [_row(sample, side) for sample in samples]
    sheet = Image.new("RGB", (rows[0].width, sum(row.height for row in rows)), "white")
    for number, row in enumerate(rows):
        sheet.paste(row, (0, number * row.height))
    return sheet


def _row(sample: ConceptSample, side: int) -> Image.Image:
    target = load_image(sample.image).resize((side, side), Image.Resampling.BILINEAR)
    shown = [_outlined(load_image(ref.image), ref.mask, side) for ref in sample.references]
    pictures = [*shown, target, _outlined(target, sample.mask, side)]
    step = side + _MARGIN_PX
    row = Image.new("RGB", (step * len(pictures) + _MARGIN_PX, side + _TEXT_PX + 2 * _MARGIN_PX), "white")
    caption = f"{sample.task} | {sample.concept} | {sample.rule} | {sample.answer}"
    ImageDraw.Draw(row).text((_MARGIN_PX, 1), caption, fill="black")
    for number, picture in enumerate(pictures):
        row.paste(picture, (_MARGIN_PX + number * step, _TEXT_PX + _MARGIN_PX))
    return row


def _outlined(picture: Image.Image, mask: ImageSource | None, side: int) -> Image.Image:
    """The picture at `side` px with the mask's inner edge in red, two pixels wide."""
    pixels = np.array(picture.resize((side, side), Image.Resampling.BILINEAR))
    if mask is None:
        return Image.fromarray(pixels)
    inside = resize_mask(load_mask(mask), (side, side))
    core = inside.copy()
    for _ in range(2):
        padded = np.pad(core, 1)
        core = core & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    pixels[inside & ~core] = _EDGE
    return Image.fromarray(pixels)
