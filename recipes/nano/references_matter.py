"""The same query with other references: how far the mask follows them (the paper's Figure 5), in figures and a picture.

python recipes/nano/references_matter.py --model nano --count 200 --out docs/figures
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from statistics import mean, stdev

import numpy as np
from PIL import Image

from conceptseg import ConceptSegmenter
from conceptseg.data.samples import ConceptSample
from conceptseg.data.world import ConceptWorld
from conceptseg.geometry import mask_iou
from conceptseg.images import load_image
from conceptseg.inference.results import SegmentationResult

TASK = "common_consistency"
_CELL_PX = 168
_GAP_PX = 6


def main() -> None:
    """Measure, draw, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--count", type=int, default=200, help="queries")
    parser.add_argument("--seed", type=int, default=101)
    parser.add_argument("--rows", type=int, default=4, help="queries in the picture: those that follow best")
    parser.add_argument("--out", type=Path, default=Path("docs/figures"))
    options = parser.parse_args()
    segmenter = ConceptSegmenter.from_pretrained(options.model)
    world = ConceptWorld(TASK, "seen_test", options.seed)
    rows, shown = [], []
    for index in range(options.count):
        pair = world.sample(TASK, index), world.rival(TASK, index)
        answers = [_ask(segmenter, sample) for sample in pair]
        own, swapped, followed = (
            mask_iou(answer.mask, np.asarray(sample.mask))
            for answer, sample in ((answers[0], pair[0]), (answers[1], pair[0]), (answers[1], pair[1]))
        )
        rows.append({"index": index, "own": own, "swapped": swapped, "followed": followed})
        shown.append((min(own, followed) - swapped, pair, answers))
    drops = [row["own"] - row["swapped"] for row in rows]
    report = {"model": options.model, "task": TASK, "seed": options.seed, "queries": options.count} | {
        "iou": mean(row["own"] for row in rows),
        "iou_with_swapped_references": mean(row["swapped"] for row in rows),
        "iou_of_swapped_with_their_own_truth": mean(row["followed"] for row in rows),
        "drop": mean(drops),
        "drop_standard_error": stdev(drops) / math.sqrt(len(drops)),
    }
    (options.out / "references_matter.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    best = sorted(shown, key=lambda entry: -entry[0])[: options.rows]
    _picture([(pair, answers) for _, pair, answers in best]).save(options.out / "references_matter.jpg", quality=90)
    print(json.dumps(report, indent=2))


def _ask(segmenter: ConceptSegmenter, sample: ConceptSample) -> SegmentationResult:
    return segmenter(sample.image, sample.concept, references=sample.references, route="reason")


def _picture(rows: list[tuple[tuple[ConceptSample, ConceptSample], list[SegmentationResult]]]) -> Image.Image:
    """A row a query: its picture, then twice four references and the mask drawn from them."""
    width, height = 5 * (_CELL_PX + _GAP_PX), len(rows) * (_CELL_PX + _GAP_PX)
    sheet = Image.new("RGB", (width, height), "white")
    for number, (pair, answers) in enumerate(rows):
        cells = [load_image(pair[0].image)]
        for sample, answer in zip(pair, answers, strict=True):
            cells += [_four(sample), answer.overlay()]
        for column, cell in enumerate(cells):
            place = (column * (_CELL_PX + _GAP_PX), number * (_CELL_PX + _GAP_PX))
            sheet.paste(cell.resize((_CELL_PX, _CELL_PX), Image.Resampling.LANCZOS), place)
    return sheet


def _four(sample: ConceptSample) -> Image.Image:
    sheet = Image.new("RGB", (_CELL_PX, _CELL_PX), "white")
    side = _CELL_PX // 2
    for number, reference in enumerate(sample.references[:4]):
        cell = load_image(reference.image).resize((side, side), Image.Resampling.LANCZOS)
        sheet.paste(cell, (number % 2 * side, number // 2 * side))
    return sheet


if __name__ == "__main__":
    main()
