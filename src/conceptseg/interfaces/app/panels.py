"""The answer as HTML: what was found, how sure that is, and why. Everything that is not ours is escaped."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np

from conceptseg.geometry import mask_iou
from conceptseg.images import resize_mask
from conceptseg.inference import Instance, Route, SegmentationResult
from conceptseg.inference.instances import DEFAULT_AGREEMENT, DEFAULT_SCORE
from conceptseg.interfaces.app.uploads import shown_small, tinted_layer, to_url
from conceptseg.interfaces.mosaics import draw_mosaic, draw_proxy
from conceptseg.protocol import Mosaic

__all__ = [
    "mosaic_panel",
    "overlay_panel",
    "problem_line",
    "progress_line",
    "reasons_panel",
    "response_panel",
    "verdict_panel",
]

_MOSAIC_PX = 640
_PROXY_PX = 300
_PALETTE = ((255, 64, 64), (0, 150, 255), (255, 180, 0), (0, 190, 110), (190, 90, 255), (255, 110, 190))
_STAGES = {
    "encode": "Looking at the picture",
    "screen": "Asking SAM 3 alone",
    "reason": "Reasoning",
    "decode": "Drawing the mask",
}
_MOST_INSTANCES = 24
"""Drawn on the page; all are counted."""
_JUDGED_WH = (256, 256)
"""At which the objects are held against the mask."""


def progress_line(stage: str, share: float | None = None) -> str:
    """What is being done, while it is; with a share (0…1) how far it is."""
    bar = "" if share is None else f"<progress max='1' value='{share:.3f}'></progress>"
    busy = " cs-busy" if stage != "Done" else ""
    return f"<p class='cs-stage{busy}' role='status'>{escape(stage)}{'…' if busy else ''}</p>{bar}"


def problem_line(told: str) -> str:
    """What went wrong, where people look for the answer."""
    return f"<p class='cs-problem' role='alert'>{escape(told)}</p>"


def overlay_panel(result: SegmentationResult) -> str:
    """The picture with layers that can be switched on and off: the mask, the response's box, single objects."""
    if result.image is None or result.mask is None:
        return ""
    base = shown_small(result.image)
    layers = [("Mask", to_url(tinted_layer(result.mask, base.size), "PNG"), True)] if result.mask.any() else []
    drawn = [_image(url, name.lower(), f"cs-layer cs-layer-{name.lower()}") for name, url, _ in layers]
    if result.box is not None:
        drawn.append(_box_layer(result))
        layers.append(("Box", "", True))
    objects = _objects(result, base.size)[:_MOST_INSTANCES]
    if objects:
        drawn.append(_objects_layer(objects, base.size))
        layers.append(("Objects", "", False))
    switches = "".join(_switch(name, is_on) for name, _, is_on in layers)
    picture = _image(to_url(base, "JPEG"), f"the picture, {result.source}", "cs-base")
    width, height = base.size
    return (
        f"<div class='cs-overlay'><div class='cs-switches' role='group' aria-label='Layers'>{switches}</div>"
        f"<div class='cs-stack' style='aspect-ratio:{width}/{height};--cs-ratio:{width / height:.4f}'>"
        f"{picture}{''.join(drawn)}</div></div>"
    )


def verdict_panel(result: SegmentationResult) -> str:
    """Whether it is there, and how good the mask may be."""
    if result.found:
        share = 0.0 if result.mask is None else float(result.mask.mean())
        word, kind, told = "Found", "yes", f"{_percent(share)} of the picture is marked."
    else:
        word, kind, told = "Not here", "no", _why_not(result)
    sure = ""
    if result.confidence is not None:
        source = "calibrated on known pictures" if result.calibrated else "a mean of the signs, not calibrated"
        sure = (
            f"<div class='cs-sure' title='{source}'><b>{result.confidence:.2f}</b>"
            f"<span>IoU to expect<br><small>{source}</small></span></div>"
        )
    return (
        f"<div class='cs-verdict cs-{kind}'><div><strong>{word}</strong>"
        f"<span class='cs-concept'>{escape(result.concept)}</span><p>{told}</p></div>{sure}</div>"
    )


def reasons_panel(result: SegmentationResult, mosaic: Mosaic | None) -> str:
    """Rule, check, route, objects, time and notes."""
    blocks = [
        _rule_block(result),
        _route_block(result),
        _check_block(result, mosaic),
        _objects_block(result),
        _time_block(result),
        _notes_block(result.notes),
    ]
    return f"<div class='cs-reasons'>{''.join(blocks)}</div>"


def mosaic_panel(mosaic: Mosaic | None, result: SegmentationResult | None = None) -> str:
    """The references as the model sees them."""
    if mosaic is None:
        return ""
    check = result.response.check if result is not None and result.response is not None else None
    url = to_url(draw_mosaic(mosaic, check, _MOSAIC_PX), "PNG")
    legend = "<span class='cs-key cs-key-shown'>shown to the model</span>" if mosaic.shown_boxes else ""
    if mosaic.proxy_index is not None:
        legend += "<span class='cs-key cs-key-true'>withheld from it</span>"
        legend += "<span class='cs-key cs-key-check'>where it says it is</span>" if check else ""
    else:
        legend += "<span>Nothing is withheld: that takes two marked references.</span>"
    return (
        f"<figure class='cs-mosaic'>{_image(url, 'the references as one picture', '')}"
        f"<figcaption><b>As the model sees it.</b> {legend}</figcaption></figure>"
    )


def response_panel(text: str | None, *, is_live: bool = False) -> str:
    """What the MLLM writes, while it writes it or as it stands at the end."""
    if not text:
        return ""
    caret = "<i class='cs-caret'></i>" if is_live else ""
    live = " aria-live='off'" if is_live else ""
    return (
        f"<details class='cs-response'{' open' if is_live else ''}><summary>The model's own words</summary>"
        f"<pre{live}>{escape(text)}{caret}</pre></details>"
    )


def _rule_block(result: SegmentationResult) -> str:
    if result.response is None:
        return _block("Rule", "<p>None was needed: SAM 3 alone was sure enough.</p>")
    rule = escape(result.rule) if result.rule else "None could be read in the response."
    answer = f"<p>Words given to SAM 3: <b>{escape(result.answer)}</b></p>" if result.answer else ""
    return _block("Rule", f"<blockquote>{rule}</blockquote>{answer}")


def _route_block(result: SegmentationResult) -> str:
    way = "SAM 3 alone" if result.route is Route.DIRECT else "Reasoned"
    if result.presence is None:
        why = "SAM 3 was not asked first" + (": the concept is too long for it" if result.threshold >= 1 else "")
        return _block("Route", f"<p><b>{way}.</b> {why}.</p>")
    sign = "≥" if result.presence >= result.threshold else "&lt;"
    gauge = (
        f"<div class='cs-gauge' role='img' aria-label='presence {result.presence:.2f}, threshold "
        f"{result.threshold:.2f}'><i style='width:{_percent(result.presence)}'></i>"
        f"<u style='left:{_percent(min(result.threshold, 1.0))}'></u></div>"
    )
    told = f"<p><b>{way}</b>: presence s = {result.presence:.2f} {sign} threshold T = {result.threshold:.2f}</p>{gauge}"
    return _block("Route", told)


def _check_block(result: SegmentationResult, mosaic: Mosaic | None) -> str:
    if result.check_iou is None or mosaic is None or mosaic.proxy_index is None:
        return ""
    check = result.response.check if result.response else None
    drawn = draw_proxy(mosaic, check, _PROXY_PX)
    true = mosaic.boxes_xyxy[mosaic.proxy_index]
    rows = [("true box", true, "cs-key-true"), ("the model’s", check, "cs-key-check")]
    told = "".join(
        f"<li><span class='cs-key {kind}'>{name}</span><code>{_box_words(mosaic, box)}</code></li>"
        for name, box, kind in rows
    )
    picture = "" if drawn is None else _image(to_url(drawn, "PNG"), "the withheld reference with both boxes", "")
    return _block(
        "Check on the withheld reference",
        f"<div class='cs-check'>{picture}<div><p><b>IoU {result.check_iou:.2f}</b></p><ul>{told}</ul>"
        "<p><small>x1, y1, x2, y2 in its own pixels</small></p></div></div>",
    )


def _box_words(mosaic: Mosaic, box: tuple[float, float, float, float] | None) -> str:
    if box is None:
        return "none given"
    inside = mosaic.to_reference(mosaic.proxy_index or 0, box)
    return ", ".join(f"{value:.0f}" for value in inside)


def _objects_block(result: SegmentationResult) -> str:
    found = _objects(result, _JUDGED_WH)
    if not found or result.mask is None:
        return ""
    best, least = found[0].score, found[-1].score
    scores = f"score {best:.2f}" if len(found) == 1 else f"scores {best:.2f} to {least:.2f}"
    drawn = f"; the best {_MOST_INSTANCES} are drawn" if len(found) > _MOST_INSTANCES else ""
    union, mask = np.any([one.mask for one in found], axis=0), resize_mask(result.mask, _JUDGED_WH[::-1])
    apart = "" if mask_iou(union, mask) >= DEFAULT_AGREEMENT else "<p>They do not make up the mask: trust the mask.</p>"
    return _block("Single objects", f"<p><b>{len(found)}</b>, {scores}{drawn}</p>{apart}")


def _objects(result: SegmentationResult, size_wh: tuple[int, int]) -> tuple[Instance, ...]:
    """The single objects at another size than the picture's, where they are many times faster to draw."""
    return result.objects.above(DEFAULT_SCORE, size_wh[::-1]) if result.objects else ()


def _time_block(result: SegmentationResult) -> str:
    whole = sum(result.timings.values())
    if not whole:
        return ""
    rows = "".join(
        f"<tr><th scope='row'>{escape(_STAGES.get(stage, stage))}</th>"
        f"<td class='cs-bar'><i style='width:{_percent(seconds / whole)}'></i></td><td>{seconds:.2f} s</td></tr>"
        for stage, seconds in result.timings.items()
    )
    return _block(
        "Time", f"<table class='cs-time'>{rows}<tr><th>In all</th><td></td><td>{whole:.2f} s</td></tr></table>"
    )


def _notes_block(notes: Sequence[str]) -> str:
    if not notes:
        return ""
    return _block("Worth knowing", f"<ul>{''.join(f'<li>{escape(note)}</li>' for note in dict.fromkeys(notes))}</ul>")


def _block(title: str, body: str) -> str:
    return f"<section><h3>{title}</h3>{body}</section>"


def _why_not(result: SegmentationResult) -> str:
    presence = result.signals.presence if result.signals else None
    told = "Nothing is marked." if result.mask is None or not result.mask.any() else "The mask was kept all the same."
    return told if presence is None else f"{told} Presence in the picture: {presence:.2f}."


def _switch(name: str, is_on: bool) -> str:
    return (
        f"<label><input type='checkbox' class='cs-switch-{name.lower()}'{' checked' if is_on else ''}> {name}</label>"
    )


def _box_layer(result: SegmentationResult) -> str:
    assert result.image is not None and result.box is not None  # the caller has looked
    x1, y1, x2, y2 = result.box
    return _svg(result.image.size, f"<rect x='{x1}' y='{y1}' width='{x2 - x1}' height='{y2 - y1}'/>", "box")


def _objects_layer(objects: Sequence[Instance], size_wh: tuple[int, int]) -> str:
    drawn = [
        _image(to_url(tinted_layer(one.mask, size_wh, _PALETTE[number % len(_PALETTE)]), "PNG"), "", "")
        for number, one in enumerate(objects)
    ]
    return f"<div class='cs-layer cs-layer-objects'>{''.join(drawn)}</div>"


def _svg(size_wh: tuple[int, int], shapes: str, name: str) -> str:
    return (
        f"<svg class='cs-layer cs-layer-{name}' viewBox='0 0 {size_wh[0]} {size_wh[1]}' preserveAspectRatio='none' "
        f"aria-label='{name}'>{shapes}</svg>"
    )


def _image(url: str, alt: str, kind: str) -> str:
    return f"<img class='{kind}' src='{url}' alt='{escape(alt, quote=True)}'>"


def _percent(share: float) -> str:
    return f"{100 * share:.1f}%"
