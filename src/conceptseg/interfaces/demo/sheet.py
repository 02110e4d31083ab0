"""The demo as one picture: a card an episode with mosaic, mask and truth side by side."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import shorten

from PIL import Image, ImageDraw, ImageFont

from conceptseg.interfaces.demo.episodes import Episode

__all__ = ["draw_sheet"]

_TILE_PX = 132
_GAP_PX = 6
_CAPTION_PX = 34
_CARD_WH = (3 * _TILE_PX + 4 * _GAP_PX, _TILE_PX + _CAPTION_PX + 2 * _GAP_PX)
_TEXT_COLOUR = (40, 40, 40)
_MARGIN_COLOUR = (236, 236, 236)


def draw_sheet(episodes: Sequence[Episode], *, columns: int = 4) -> Image.Image:
    """A contact sheet: on each card the references' mosaic (the bare picture without any), the mask, and the truth."""
    rows = -(-len(episodes) // columns)
    sheet = Image.new("RGB", (columns * _CARD_WH[0], rows * _CARD_WH[1]), "white")
    for number, episode in enumerate(episodes):
        row, column = divmod(number, columns)
        sheet.paste(_draw_card(episode), (column * _CARD_WH[0], row * _CARD_WH[1]))
    return sheet


def _draw_card(episode: Episode) -> Image.Image:
    card = Image.new("RGB", _CARD_WH, "white")
    shown = (episode.draw_mosaic() or episode.loaded.image, episode.result.overlay(), episode.draw_truth())
    for number, picture in enumerate(shown):
        card.paste(_tile(picture), (_GAP_PX + number * (_TILE_PX + _GAP_PX), _GAP_PX))
    draw = ImageDraw.Draw(card)
    for line, (text, size_px) in enumerate(((_headline(episode), 13), (_reason(episode), 11))):
        position = (_GAP_PX, _TILE_PX + _GAP_PX + 3 + 16 * line)
        draw.text(position, text, fill=_TEXT_COLOUR, font=ImageFont.load_default(size_px))
    return card


def _tile(picture: Image.Image) -> Image.Image:
    """A picture fitted into a square, centred on grey."""
    tile = Image.new("RGB", (_TILE_PX, _TILE_PX), _MARGIN_COLOUR)
    fitted = picture.copy()
    fitted.thumbnail(tile.size)
    tile.paste(fitted, ((_TILE_PX - fitted.width) // 2, (_TILE_PX - fitted.height) // 2))
    return tile


def _headline(episode: Episode) -> str:
    route = episode.result.route
    iou = "" if episode.iou is None else f"  IoU {episode.iou:.2f}"
    return f"{shorten(episode.sample.concept, 28)}  {route.value if route else 'failed'}{iou}"


def _reason(episode: Episode) -> str:
    if episode.result.response is None:
        return f"SAM 3 alone: presence {episode.result.presence or 0:.2f}"
    check = "" if episode.result.check_iou is None else f"check {episode.result.check_iou:.2f}: "
    return shorten(f"{check}{episode.result.rule or 'no rule could be read'}", 76, placeholder="…")
