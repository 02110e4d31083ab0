"""Measure a nano checkpoint on fresh ConceptWorld seeds: one row a task, Markdown to the screen, JSON beside it.

python recipes/nano/evaluate.py --model nano --count 100 --seeds 101 102
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from conceptseg import ConceptSegmenter
from conceptseg.data.loading import load_sample
from conceptseg.data.samples import ConceptSample
from conceptseg.data.world import ConceptWorld
from conceptseg.geometry import box_from_mask, box_iou
from conceptseg.inference import Query, SegmentationResult
from conceptseg.metrics import score
from conceptseg.taxonomy import LEAF_TASKS, level_of

_BATCH = 16
_TRAINED = (
    "living",
    "artifact",
    "saliency",
    "camouflage",
    "industrial_anomaly",
    "common_consistency",
    "static_difference",
)


def measure(segmenter: ConceptSegmenter, samples: Sequence[ConceptSample], route: str) -> list[dict[str, Any]]:
    """One row a sample: route, mask scores, and on the reasoned route validity, box and check IoU."""
    rows = []
    for start in range(0, len(samples), _BATCH):
        batch = samples[start : start + _BATCH]
        queries = [Query(load_sample(s).image, s.concept, segmenter.build_mosaic(s.references), s.id) for s in batch]
        for sample, result in zip(batch, segmenter.segment_batch(queries, route=route), strict=True):
            rows.append(_row(sample, result))
    return rows


def _row(sample: ConceptSample, result: SegmentationResult) -> dict[str, Any]:
    truth = load_sample(sample).mask
    scores = score(result.mask, truth)
    row = {"id": sample.id, "task": sample.task, "route": result.route.value, **{k: scores[k] for k in ("iou", "miou")}}
    if result.response is not None:
        row["valid"] = float(result.response.is_strict)
        row["rule_right"] = float((result.rule or "").strip() == sample.rule)
        row["answer_right"] = float((result.answer or "").strip() == sample.answer)
        row["box_iou"] = box_iou(result.box, box_from_mask(truth)) if result.box else 0.0
        if result.check_iou is not None:
            row["check_iou"] = result.check_iou
    return row


def _mean(rows: Iterable[dict[str, Any]], key: str) -> float | None:
    values = [row[key] for row in rows if key in row]
    return float(np.mean(values)) if values else None


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--tasks", nargs="+", default=list(LEAF_TASKS), choices=LEAF_TASKS, metavar="TASK")
    parser.add_argument("--split", default="seen_test")
    parser.add_argument("--seeds", nargs="+", type=int, default=[101, 102])
    parser.add_argument("--count", type=int, default=100, help="episodes a task and seed")
    parser.add_argument("--routes", nargs="+", default=["direct", "reason"])
    parser.add_argument("--trained", nargs="+", default=list(_TRAINED), help="tasks the checkpoint was trained on")
    parser.add_argument("--out", type=Path, help="write all numbers here (JSON)")
    options = parser.parse_args()
    segmenter = ConceptSegmenter.from_pretrained(options.model)
    keys = ("iou", "miou", "valid", "rule_right", "answer_right", "box_iou", "check_iou")
    table: list[dict[str, Any]] = []
    print("| task | level | route | n | " + " | ".join(keys) + " |")
    print("|---" * (4 + len(keys)) + "|")
    for task in options.tasks:
        worlds = [ConceptWorld([task], split=options.split, seed=seed) for seed in options.seeds]
        samples = [world.sample(task, index) for world in worlds for index in range(options.count)]
        for route in options.routes:
            rows = measure(segmenter, samples, route)
            line = {"task": task, "level": level_of(task).value, "trained": task in options.trained, "route": route}
            line["n"] = len(rows)
            line |= {key: _mean(rows, key) for key in keys}
            table.append(line)
            cells = ["–" if line[key] is None else f"{line[key]:.3f}" for key in keys]
            print(f"| {task} | {line['level']} | {route} | {len(rows)} | " + " | ".join(cells) + " |", flush=True)
    if options.out:
        options.out.write_text(json.dumps({"options": vars(options) | {"out": None}, "table": table}, indent=2))


if __name__ == "__main__":
    main()
