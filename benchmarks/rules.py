"""What rules promise, measured on ConceptWorld: python benchmarks/rules.py --part PART --count N [--out FILE]

calibration   `expected_iou` of rules from eight references against the true IoU, by task
confidence    expected calibration error of `result.confidence`, on the split that it was not fitted on
absence       false masks about what is not there, and true ones lost
choice        four references chosen from sixteen, of which four are spoilt, against four drawn from them
samples       the best of four responses against the likeliest one
apply         a rule on fifty pictures against asking anew: IoU, tokens written, time

Prints JSON. Every question depends on its number and the seed alone, so that parts may be run in pieces (--first) and
put together; `--tasks` names tasks, by default all.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from conceptseg import ConceptSample, ConceptSegmenter, Reference
from conceptseg.data import load_reference, load_sample
from conceptseg.data.world import ConceptWorld
from conceptseg.evaluation.calibrating import strangers
from conceptseg.geometry import mask_iou
from conceptseg.inference import Query, SegmentationResult
from conceptseg.models.calibration import expected_error

_RULE_TASK = "industrial_anomaly"


def main() -> None:
    """Measure one part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=sorted(PARTS), required=True)
    parser.add_argument("--count", type=int, default=40, help="questions, over all tasks")
    parser.add_argument("--first", type=int, default=0, help="number of the first question")
    parser.add_argument("--tasks", default="all", help="with commas")
    parser.add_argument("--split", default="seen_test")
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    import torch

    torch.set_num_threads(options.threads)
    segmenter = ConceptSegmenter.from_pretrained(options.model, device="cpu")
    told = {"part": options.part, "first_question": options.first, "count": options.count, "split": options.split}
    told |= {"seed": options.seed, "checkpoint": segmenter.model.digest()} | PARTS[options.part](segmenter, options)
    text = json.dumps(told, indent=2)
    print(text)
    if options.out:
        options.out.write_text(text + "\n", encoding="utf-8")


def _samples(options: argparse.Namespace, references: int) -> Iterator[ConceptSample]:
    """Questions in turn from every task."""
    tasks = options.tasks if options.tasks == "all" else options.tasks.split(",")
    world = ConceptWorld(tasks, options.split, options.seed, references=references)
    for number in range(options.first, options.first + options.count):
        yield world.sample(world.tasks[number % len(world.tasks)], number // len(world.tasks))


def _iou(result: SegmentationResult, sample: ConceptSample) -> float:
    truth = load_sample(sample).mask
    return mask_iou(result.mask, truth) if result.mask is not None and truth is not None else 0.0


def _calibration(segmenter: ConceptSegmenter, options: argparse.Namespace) -> dict[str, Any]:
    rows: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for sample in _samples(options, 8):
        rule = segmenter.learn(sample.concept, sample.references)
        if rule.expected_iou is not None:
            rows[sample.task].append((rule.expected_iou, _iou(segmenter(sample.image, rule, always=True), sample)))
    pairs = [pair for task in rows.values() for pair in task]
    by_task = {task: [statistics.mean(column) for column in zip(*values, strict=True)] for task, values in rows.items()}
    return {
        "rows": rows,
        "expected_and_true_by_task": by_task,
        "mean_distance_by_task": statistics.mean(abs(said - true) for said, true in by_task.values()),
        "mean_distance_by_question": statistics.mean(abs(said - true) for said, true in pairs),
        "bias": statistics.mean(said - true for said, true in pairs),
    }


def _confidence(segmenter: ConceptSegmenter, options: argparse.Namespace) -> dict[str, Any]:
    said, true = [], []
    for sample in _samples(options, 4):
        result = segmenter(sample.image, sample.concept, sample.references, always=True)
        said.append(float(result.confidence or 0.0))
        true.append(_iou(result, sample))
    calibrated = segmenter.model.calibration is not None
    return {"calibrated": calibrated, "expected_error": expected_error(said, true), "said": said, "true": true}


def _absence(segmenter: ConceptSegmenter, options: argparse.Namespace) -> dict[str, Any]:
    samples = list(_samples(options, 4))
    pairs = [(sample, sample) for sample in samples] + list(strangers(samples))
    found: dict[bool, list[bool]] = {True: [], False: []}
    for asked, picture in pairs:
        result = segmenter(picture.image, asked.concept, asked.references)
        found[asked is picture].append(bool(result.found and result.mask is not None and result.mask.any()))
    return {
        "calibrated": segmenter.model.calibration is not None,
        "there": len(found[True]),
        "absent": len(found[False]),
        "lost": 1 - statistics.mean(found[True]),
        "false": statistics.mean(found[False]) if found[False] else None,
    }


def _choice(segmenter: ConceptSegmenter, options: argparse.Namespace) -> dict[str, Any]:
    chosen, random, caught, spoilt_ones, accused = [], [], 0, 0, 0
    for number, sample in enumerate(_samples(options, 16)):
        rng = np.random.default_rng([options.seed, options.first + number])
        spoilt = {int(place) for place in rng.choice(len(sample.references), 4, replace=False)}
        pool = [_spoil(one, rng) if n in spoilt else one for n, one in enumerate(sample.references)]
        rule = segmenter.learn(sample.concept, pool)
        drawn = [pool[place] for place in rng.choice(len(pool), 4, replace=False)]
        chosen.append(_iou(segmenter(sample.image, rule, always=True), sample))
        random.append(_iou(segmenter(sample.image, sample.concept, drawn, route="reason", always=True), sample))
        caught += len(spoilt & set(rule.suspects))
        accused += len(rule.suspects)
        spoilt_ones += len(spoilt)
    found = {"caught": caught / spoilt_ones, "right_of_accused": caught / accused if accused else None}
    return _paired(chosen, random) | found


def _spoil(reference: Reference, rng: np.random.Generator) -> Reference:
    """The same picture with a mark on something else: a mask turned, or an ellipse anywhere."""
    loaded = load_reference(reference)
    mask = loaded.region if loaded.region is not None else np.zeros((loaded.image.height, loaded.image.width), bool)
    if rng.random() < 0.5:
        return Reference(loaded.image, mask=np.ascontiguousarray(mask[::-1, ::-1]) & ~mask | _ellipse(mask.shape, rng))
    return Reference(loaded.image, mask=_ellipse(mask.shape, rng))


def _ellipse(shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    y, x = np.mgrid[: shape[0], : shape[1]]
    middle, radii = rng.uniform(0.2, 0.8, 2) * shape, rng.uniform(0.1, 0.2, 2) * shape
    return ((y - middle[0]) / radii[0]) ** 2 + ((x - middle[1]) / radii[1]) ** 2 < 1


def _best_of_four(segmenter: ConceptSegmenter, options: argparse.Namespace) -> dict[str, Any]:
    best, greedy = [], []
    for sample in _samples(options, 4):
        query = Query(load_sample(sample).image, sample.concept, segmenter.prepare(sample.references))
        for scores, samples in ((best, 4), (greedy, 1)):
            result = segmenter.segment_batch([query], route="reason", always=True, samples=samples, seed=options.seed)
            scores.append(_iou(result[0], sample))
    return _paired(best, greedy)


def _apply(segmenter: ConceptSegmenter, options: argparse.Namespace) -> dict[str, Any]:
    """One rule for one concept on many pictures, against the same supports asked anew."""
    options.tasks = _RULE_TASK if options.tasks == "all" else options.tasks
    samples = list(_samples(options, 8))
    rule = segmenter.learn(samples[0].concept, samples[0].references)
    images = [load_sample(sample).image for sample in samples]
    written = _count_tokens(segmenter)
    told: dict[str, Any] = {"route_of_rule": rule.route.value, "expected_iou": rule.expected_iou}
    scores = {}
    for name, concept, shown in (("rule", rule, ()), ("anew", rule.concept, rule.references())):
        written.clear()
        started = time.perf_counter()
        results = list(segmenter.stream(images, concept, shown, route="reason", always=True))
        told[f"seconds_{name}"] = (time.perf_counter() - started) / len(images)
        told[f"tokens_{name}"] = sum(written) / len(images)
        scores[name] = [_iou(result, sample) for result, sample in zip(results, samples, strict=True)]
    return told | _paired(scores["rule"], scores["anew"])


def _count_tokens(segmenter: ConceptSegmenter) -> list[int]:
    """Tokens that are written from now on, a number a batch."""
    written: list[int] = []
    reason, count = segmenter.model.reason, segmenter.model.reasoner.count_tokens

    def counted(prompts: Any, **how: Any) -> Any:
        generation = reason(prompts, **how)
        begun = sum(count(how["begun"])) if how.get("begun") else 0
        written.append(int(generation.mask.sum()) - begun)
        return generation

    segmenter.model.reason = counted  # type: ignore[method-assign]
    return written


def _paired(first: Sequence[float], second: Sequence[float]) -> dict[str, Any]:
    differences = np.subtract(first, second)
    error = float(differences.std(ddof=1) / np.sqrt(len(differences))) if len(differences) > 1 else None
    return {
        "questions": len(differences),
        "mean_iou": float(np.mean(first)),
        "mean_iou_of_the_other": float(np.mean(second)),
        "difference": float(differences.mean()),
        "standard_error": error,
        "differences": differences.round(4).tolist(),
    }


PARTS: dict[str, Callable[[ConceptSegmenter, argparse.Namespace], dict[str, Any]]] = {
    "calibration": _calibration,
    "confidence": _confidence,
    "absence": _absence,
    "choice": _choice,
    "samples": _best_of_four,
    "apply": _apply,
}


if __name__ == "__main__":
    main()
