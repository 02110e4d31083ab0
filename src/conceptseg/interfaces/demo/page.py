"""The demo as a web page: `index.html` and its pictures, to be opened from disk."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from html import escape
from itertools import groupby
from pathlib import Path

from PIL import Image

from conceptseg.files import replacing
from conceptseg.interfaces.demo.episodes import Episode

__all__ = ["write_page"]

_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 1180px; padding: 0 1rem; color: #222 }
h2 { border-bottom: 1px solid #ccc; margin-top: 2.5rem; padding-bottom: .3rem }
article { border: 1px solid #ddd; border-radius: 8px; margin: 1.2rem 0; padding: 1rem }
.row { display: flex; flex-wrap: wrap; gap: .8rem; align-items: flex-start }
figure { margin: 0 } figcaption { color: #666; font-size: 12px }
.row img { height: 190px; width: auto; border-radius: 4px } .references img { height: 80px }
dl { display: grid; grid-template-columns: 7rem 1fr; margin: .8rem 0 0 } dt { color: #666 } dd { margin: 0 }
footer { color: #666; font-size: 13px; margin-top: 3rem }
"""


def write_page(episodes: Sequence[Episode], folder: Path, *, model: str) -> Path:
    """Write `index.html` and `pictures/` into a folder and return the page's path.

    Args:
        episodes: in the order of the page, those of a section together (`arrange`).
        folder: created if needed; files of earlier pages are replaced.
        model: the checkpoint's name, for the heading.
    """
    (folder / "pictures").mkdir(parents=True, exist_ok=True)
    sections = []
    for section, members in groupby(episodes, key=lambda episode: episode.section):
        articles = "".join(_article(episode, folder) for episode in members)
        sections.append(f"<h2>{escape(section)}</h2>{articles}")
    page = folder / "index.html"
    with replacing(page) as fresh:
        fresh.write_text(_document("".join(sections), model), encoding="utf-8")
    return page


def _document(body: str, model: str) -> str:
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width"><title>conceptseg demo</title>'
        f"<style>{_STYLE}</style></head><body><h1>conceptseg demo: {escape(model)}</h1>"
        "<p>Every picture below was answered just now, nothing is chosen for its outcome. Masks are red, the box of a "
        "response is yellow; on the mosaic, red boxes are shown to the model, the green one is withheld, and the "
        "orange one is the model's check of its own rule against it.</p>"
        f"{body}<footer>Photographs: see each caption and NOTICE. Scenes: ConceptWorld, with sprites named in "
        "NOTICE.</footer></body></html>\n"
    )


def _article(episode: Episode, folder: Path) -> str:
    sample, slug = episode.sample, _slug(episode.sample.id)
    shown = [("image", episode.loaded.image), ("mask", episode.result.overlay()), ("truth", episode.draw_truth())]
    mosaic = episode.draw_mosaic()
    if mosaic is not None:
        shown.insert(1, ("mosaic as the model sees it", mosaic))
    figures = "".join(_figure(caption, picture, slug, folder) for caption, picture in shown)
    references = "".join(
        _figure(f"reference {number}", picture, slug, folder)
        for number, picture in enumerate(episode.draw_references(), start=1)
    )
    facts = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in _facts(episode))
    return (
        f"<article><h3>{escape(sample.concept)} <small>({escape(sample.task)}, {escape(episode.kind)})</small></h3>"
        f"<p>{escape(episode.shows)}</p>"
        f'<div class="row">{figures}</div><div class="row references">{references}</div><dl>{facts}</dl></article>'
    )


def _figure(caption: str, picture: Image.Image, slug: str, folder: Path) -> str:
    name = f"pictures/{slug}.{_slug(caption)}.jpg"
    with replacing(folder / name) as fresh:
        picture.save(fresh, quality=90)
    return (
        f'<figure><img src="{escape(name)}" alt="{escape(caption)}"><figcaption>{escape(caption)}</figcaption></figure>'
    )


def _slug(text: str) -> str:
    """A text as a part of a file name."""
    return re.sub(r"\W+", "-", text).strip("-")


def _facts(episode: Episode) -> Iterable[tuple[str, str]]:
    """Everything worth telling in words, in order."""
    result, sample = episode.result, episode.sample
    yield "route", _describe_route(episode)
    if result.response is not None:
        yield "rule", result.rule or "none could be read"
        yield "answer", result.answer or "–"
        if result.check_iou is not None:
            yield "check", f"IoU {result.check_iou:.2f} with the withheld reference's box"
    if sample.rule:
        yield "true rule", sample.rule
    if episode.iou is not None:
        yield "mask", f"IoU {episode.iou:.2f} with the true mask"
    yield "time", f"{episode.seconds:.2f} s"
    if credit := sample.extra.get("credit"):
        yield "picture", str(credit)


def _describe_route(episode: Episode) -> str:
    result = episode.result
    if result.presence is None:
        return "reasoned: SAM 3 was not asked, the concept is too long for it"
    sign = "≥" if result.route is not None and result.route.value == "direct" else "<"
    route = result.route.value if result.route is not None else "none"
    return f"{route}: presence {result.presence:.2f} {sign} threshold {result.threshold:.2f}"
