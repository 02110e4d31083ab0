"""The same query with other references: how far the mask follows them (the paper's Figure 5), in figures and a picture.

python -m nano.tools.references_matter --model nano --count 200
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from statistics import mean, stdev

import numpy as np
from PIL import Image, ImageDraw

from conceptseg import ConceptSegmenter
from conceptseg.data.loading import load_sample
from conceptseg.data.samples import ConceptSample
from conceptseg.data.world import ConceptWorld
from conceptseg.evaluation.provenance import describe_checkpoint
from conceptseg.geometry import mask_iou
from conceptseg.images import load_image
from conceptseg.inference.results import SegmentationResult
from conceptseg.protocol import build_mosaic

TASK = "common_consistency"
REPORT = Path(__file__).resolve().parents[1] / "curves" / "references_matter.json"
PICTURE = REPORT.parents[2] / "docs" / "figures" / "references_matter.jpg"
_CELL_PX = 168
_GAP_PX = 6
_HEAD_PX = 22
_HEADS = ("common object?", "references", "mask", "other references", "mask")


def main() -> None:
    """Measure, draw, write."""
    parser = argparse.ArgumentParser(
        prog="python -m nano.tools.references_matter",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--model", default="nano")
    parser.add_argument("--count", type=int, default=200, help="queries")
    parser.add_argument("--seed", type=int, default=101)
    parser.add_argument("--rows", type=int, default=4, help="queries in the picture: those that follow best")
    options = parser.parse_args()
    segmenter = ConceptSegmenter.from_pretrained(options.model)
    world = ConceptWorld(TASK, "seen_test", options.seed)
    rows, shown = [], []
    for index in range(options.count):
        pair = world.sample(TASK, index), world.rival(TASK, index)
        answers = [_ask(segmenter, sample) for sample in pair]
        own, swapped, followed = (
            mask_iou(np.asarray(answer.mask), np.asarray(sample.mask))
            for answer, sample in ((answers[0], pair[0]), (answers[1], pair[0]), (answers[1], pair[1]))
        )
        rows.append({"index": index, "own": own, "swapped": swapped, "followed": followed})
        shown.append((min(own, followed) - swapped, pair, answers))
    drops = [row["own"] - row["swapped"] for row in rows]
    report = {"model": options.model, "task": TASK, "seed": options.seed, "queries": options.count} | {
        "sha256": describe_checkpoint(options.model)["sha256"],
        "iou": mean(row["own"] for row in rows),
        "iou_with_swapped_references": mean(row["swapped"] for row in rows),
        "iou_of_swapped_with_their_own_truth": mean(row["followed"] for row in rows),
        "drop": mean(drops),
        "drop_standard_error": stdev(drops) / math.sqrt(len(drops)),
    }
    REPORT.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    best = sorted(shown, key=lambda entry: -entry[0])[: options.rows]
    _picture([(pair, answers) for _, pair, answers in best]).save(PICTURE, quality=90)
    print(json.dumps(report, indent=2))


def _ask(segmenter: ConceptSegmenter, sample: ConceptSample) -> SegmentationResult:
    return segmenter(sample.image, sample.concept, references=sample.references, route="reason")


def _picture(rows: list[tuple[tuple[ConceptSample, ConceptSample], list[SegmentationResult]]]) -> Image.Image:
    """A row a query: its picture, then twice the references as the MLLM sees them and the mask drawn from them."""
    step = _CELL_PX + _GAP_PX
    sheet = Image.new("RGB", (len(_HEADS) * step, _HEAD_PX + len(rows) * step), "white")
    draw = ImageDraw.Draw(sheet)
    for column, head in enumerate(_HEADS):
        draw.text((column * step + _CELL_PX // 2, _HEAD_PX // 2), head, fill="black", anchor="mm", font_size=13)
    for number, (pair, answers) in enumerate(rows):
        cells = [load_image(pair[0].image)]
        for sample, answer in zip(pair, answers, strict=True):
            cells += [_mosaic(sample), answer.overlay()]
        for column, cell in enumerate(cells):
            place = (column * step, _HEAD_PX + number * step)
            sheet.paste(cell.resize((_CELL_PX, _CELL_PX), Image.Resampling.LANCZOS), place)
    return sheet


def _mosaic(sample: ConceptSample) -> Image.Image:
    """The references with what they mark in red; the first one's box is withheld, to be checked."""
    used = load_sample(sample).references[:4]
    return build_mosaic([r.image for r in used], [r.box for r in used], canvas_px=2 * _CELL_PX).image


if __name__ == "__main__":
    main()
