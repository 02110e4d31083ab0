"""A rule as a page: what it says, on which references it was verified, and which of them look wrong."""

from __future__ import annotations

import base64
from html import escape
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from conceptseg.files import replacing
from conceptseg.geometry import pixel_corners
from conceptseg.inference import Rule
from conceptseg.inference.rules import RulePicture

__all__ = ["rule_figures", "rule_lines", "write_rule_page"]

_HEIGHT_PX = 160
_TINT, _UNLIKE_TINT = (255, 64, 64), (64, 96, 255)
_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 1100px; padding: 0 1rem; color: #222 }
.row { display: flex; flex-wrap: wrap; gap: .8rem } figure { margin: 0; max-width: 260px }
figcaption { color: #555; font-size: 13px } img { height: 160px; border-radius: 4px; display: block }
.suspect img { outline: 4px solid #d33 } blockquote { border-left: 3px solid #999; margin-left: 0; padding-left: 1rem }
"""


def rule_lines(rule: Rule) -> list[str]:
    """What a rule is, line by line."""
    shown = [f"{place + 1}{' (its mark withheld)' if place == rule.proxy else ''}" for place in rule.supports]
    absent = "unknown" if rule.presence_threshold is None else f"{rule.presence_threshold:.3f}"
    lines = [
        f"concept: {rule.concept}",
        f"rule: {rule.text or '– (SAM 3 alone)'}",
        f"route: {rule.route.value}",
        f"supports: references {', '.join(shown)} of {len(rule.pictures)}",
        rule.describe(),
        f"found from a presence of: {absent}",
        f"learned by: {rule.model or 'unnamed'} {rule.checkpoint[:8]}, which answered {rule.calls} pictures for it",
    ]
    if rule.unlike:
        lines.append(f"unlike: references {', '.join(str(place + 1) for place in rule.unlike)} mark what it is not")
    if rule.suspects:
        lines.append(f"suspects: references {', '.join(str(place + 1) for place in rule.suspects)}")
    return lines + [f"note: {note}" for note in rule.notes]


def write_rule_page(rule: Rule, path: Path) -> Path:
    """Write one HTML file with everything in it, and return its path."""
    facts = "".join(f"<li>{escape(line)}</li>" for line in rule_lines(rule))
    with replacing(path) as fresh:
        fresh.write_text(
            '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>a conceptseg rule</title>'
            f"<style>{_STYLE}</style></head><body><h1>{escape(rule.concept)}</h1>"
            f"<blockquote>{escape(rule.text or 'SAM 3 alone')}</blockquote><ul>{facts}</ul>{rule_figures(rule)}"
            "</body></html>\n",
            encoding="utf-8",
        )
    return path


def rule_figures(rule: Rule) -> str:
    """A rule's references as HTML: those the model is shown, those it was judged on, and what it is not."""
    groups = (
        ("Supports", "what the model is shown", rule.supports),
        ("Withheld", "what the rule was judged on, and what its kind reaches there", rule.withheld),
        ("Unlike", "what the concept is not, and how much of it masks keep clear of", rule.unlike),
    )
    return "".join(
        f"<h2>{title}</h2><p>{told}</p><div class='row'>{''.join(_figure(rule, place) for place in places)}</div>"
        for title, told, places in groups
        if places
    )


def _figure(rule: Rule, place: int) -> str:
    score, picture = rule.scores[place], rule.pictures[place]
    told = "not judged" if score is None else f"{score:.0%} clear" if picture.unlike else f"IoU {score:.2f}"
    kind = " class='suspect'" if place in rule.suspects else ""
    doubt = ", suspect" if place in rule.suspects else ""
    return (
        f"<figure{kind}><img src='{_drawn(picture)}' alt='reference {place + 1}'>"
        f"<figcaption>{place + 1}: {escape(picture.name)} ({told}{doubt})</figcaption></figure>"
    )


def _drawn(picture: RulePicture) -> str:
    """The picture in its own proportions with its mark, as a data URL."""
    image, tint = picture.image.copy(), _UNLIKE_TINT if picture.unlike else _TINT
    if picture.mask is not None:
        image.paste(tint, mask=Image.fromarray(picture.mask * np.uint8(128)))
    elif picture.box is not None:
        ImageDraw.Draw(image).rectangle(pixel_corners(picture.box), outline=tint, width=2)
    height, width = picture.size_hw
    buffer = BytesIO()
    image.resize((max(1, round(_HEIGHT_PX * width / height)), _HEIGHT_PX)).save(buffer, format="JPEG", quality=88)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
