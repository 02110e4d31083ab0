"""Some answers of a run as one page to open from disk: the worst, the best, and some drawn by chance."""

from __future__ import annotations

import base64
import io
import random
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from conceptseg.data.loading import lay_out, load_reference, load_sample
from conceptseg.data.samples import ConceptSample
from conceptseg.errors import ConceptSegError, InputError
from conceptseg.evaluation.records import mask_path
from conceptseg.evaluation.runs import Run
from conceptseg.evaluation.sources import DataSource, open_sources
from conceptseg.files import replacing
from conceptseg.images import load_mask
from conceptseg.inference import SegmentationResult

__all__ = ["choose_rows", "write_gallery"]

_SIDE_PX = 240
_STYLE = """
body { font: 14px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 1200px; padding: 0 1rem; color: #222 }
article { border: 1px solid #ddd; border-radius: 8px; margin: 1rem 0; padding: .8rem }
.row { display: flex; flex-wrap: wrap; gap: .8rem } figure { margin: 0 } figcaption { color: #666; font-size: 12px }
img { height: 180px; width: auto; border-radius: 4px } .wrong { color: #a00 } p { margin: .4rem 0 }
"""


def choose_rows(rows: Sequence[Mapping[str, Any]], each: int, seed: int = 0) -> dict[str, list[Mapping[str, Any]]]:
    """Rows to show: `worst` and `best` by IoU, and `random`, drawn by the seed; failed questions have no picture.

    Args:
        rows: of one run.
        each: how many of each kind, at most.
        seed: of the draw.
    """
    answered = sorted((row for row in rows if row["error"] is None), key=lambda row: (row["iou"], row["id"]))
    drawn = random.Random(seed).sample(answered, min(each, len(answered)))
    return {"worst": answered[:each], "best": answered[::-1][:each], "random": drawn}


def write_gallery(run: Run, path: Path, *, each: int = 6, seed: int = 0) -> Path:
    """Write the page, pictures and all in one file.

    Every answer is shown with the picture, the mosaic of its references, the true mask, the predicted one and the rule
    in words. Pictures are read from the data again.

    Args:
        run: whose predictions were kept.
        path: the HTML file.
        each: how many of each kind.
        seed: of those drawn by chance.

    Raises:
        InputError: the data are not where they were, or not what they were.
    """
    sources = {
        source.name: source
        for source in open_sources(
            run.config.data,
            references=run.config.references,
            seed=run.config.seed,
            label=run.config.label,
            ignore=run.config.ignore,
        )
    }
    body = []
    for kind, rows in choose_rows(run.rows, each, seed).items():
        articles = [_article(run, row, _sample_of(row, sources)) for row in rows]
        body.append(f"<h2>{kind}</h2>{''.join(articles)}")
    failed = "".join(f"<li>{escape(row['id'])}: {escape(row['error'])}</li>" for row in run.failures[:100])
    body += [f"<h2>failed: {len(run.failures)}</h2><ul>{failed}</ul>"] if failed else []
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as fresh:
        fresh.write_text(_document(run, "".join(body)), encoding="utf-8", errors="replace")
    return path


def _sample_of(row: Mapping[str, Any], sources: Mapping[str, DataSource]) -> ConceptSample:
    source, place = sources.get(row["data"]), row["index"]
    if source is None or place >= len(source.ids) or source.ids[place] != row["id"]:
        raise InputError(f"question {row['id']!r} is no longer number {place} of {row['data']}: the data have changed")
    return source.samples[place]


def _document(run: Run, body: str) -> str:
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f"<title>{escape(run.label)}</title><style>{_STYLE}</style></head><body><h1>{escape(run.label)}</h1>"
        f"<p>{escape(run.note)}</p>{body}</body></html>\n"
    )


def _article(run: Run, row: Mapping[str, Any], sample: ConceptSample) -> str:
    try:
        pictures = _pictures(run, row, sample).items()
        figures = "".join(_figure(caption, row["concept"], picture) for caption, picture in pictures)
    except ConceptSegError as error:
        figures = f'<p class="wrong">{escape(str(error))}</p>'
    facts = "".join(f"<p><b>{escape(name)}</b> {escape(text)}</p>" for name, text in _facts(row).items())
    return (
        f"<article><h3>{escape(row['concept'])} <small>{escape(row['task'])}, {escape(row['id'])}</small></h3>"
        f'<div class="row">{figures}</div>{facts}</article>'
    )


def _pictures(run: Run, row: Mapping[str, Any], sample: ConceptSample) -> dict[str, Image.Image]:
    """Caption → picture, in the order of the page."""
    loaded = load_sample(sample)
    pictures = {"image": loaded.image}
    if sample.references:
        references = [load_reference(reference) for reference in sample.references]
        pictures["references"] = lay_out(references, canvas_px=_SIDE_PX).image
    size_hw = (loaded.image.height, loaded.image.width)
    truth = np.zeros(size_hw, dtype=bool) if loaded.mask is None else loaded.mask
    pictures["truth"] = _tinted(loaded.image, truth)
    if mask_path(run.folder, row).is_file():
        pictures["prediction"] = _tinted(loaded.image, load_mask(mask_path(run.folder, row), size_hw))
    return pictures


def _tinted(image: Image.Image, mask: np.ndarray) -> Image.Image:
    return SegmentationResult("", image=image, mask=mask).overlay()


def _facts(row: Mapping[str, Any]) -> dict[str, str]:
    facts = {"IoU": f"{row['iou']:.3f}, route {row['route']}"}
    if row["check_iou"] is not None:
        facts["check"] = f"IoU {row['check_iou']:.2f} with the withheld box"
    spoken = {
        "rule": row["rule"],
        "true rule": row["true_rule"],
        "answer": row["answer"],
        "notes": "; ".join(row["notes"]),
    }
    return facts | {name: str(text) for name, text in spoken.items() if text}


def _figure(caption: str, concept: str, picture: Image.Image) -> str:
    """A picture inside the page itself, with what it shows for those who cannot see it."""
    small = picture.copy()
    small.thumbnail((2 * _SIDE_PX, _SIDE_PX))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=85)
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    return (
        f'<figure><img src="data:image/jpeg;base64,{data}" alt="{escape(f"{caption}: {concept}")}" '
        f'width="{small.width}" height="{small.height}"><figcaption>{caption}</figcaption></figure>'
    )
