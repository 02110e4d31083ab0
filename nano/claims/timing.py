"""Both routes against the clock: the same questions by turns in one process."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

import torch

from conceptseg.data.samples import ConceptSample
from conceptseg.errors import InputError
from conceptseg.evaluation.provenance import describe_checkpoint
from conceptseg.evaluation.sources import open_sources
from conceptseg.images import load_image
from conceptseg.inference import ConceptSegmenter, Query, Route
from conceptseg.taxonomy import LEAF_TASKS

TIMING = "timing.json"
TIMED = "world:all:seen_test:{each}:101"


def time_model(model: str, count: int, out: Path) -> None:
    """Time, print one line of JSON, and keep it beside the runs."""
    each, left = divmod(count, len(LEAF_TASKS))
    if each == 0 or left:
        raise InputError(f"--count: expected a multiple of the {len(LEAF_TASKS)} tasks, got {count}.")
    data = TIMED.format(each=each)
    (source,) = open_sources([data])
    pairs = time_routes(ConceptSegmenter.from_pretrained(model), source.samples)
    about = {
        "model": model,
        "sha256": describe_checkpoint(model)["sha256"],
        "data": data,
        "threads": torch.get_num_threads(),
    }
    line = json.dumps(about | summarise_timing(pairs))
    out.mkdir(parents=True, exist_ok=True)
    (out / TIMING).write_text(line + "\n", encoding="utf-8")
    print(line)


def time_routes(segmenter: ConceptSegmenter, samples: Iterable[ConceptSample]) -> list[tuple[float, float, bool]]:
    """Answer each question by route auto and by route reason, one right after the other.

    Which comes first changes from question to question, and pictures are copied, for the segmenter remembers the last
    one it has seen. References are laid out before the clock starts. The first question is asked once more beforehand,
    for weights are read when they are needed.

    Returns:
        A question: seconds by auto, seconds by reason, and whether auto left it to SAM 3 alone.
    """
    pairs: list[tuple[float, float, bool]] = []
    for number, sample in enumerate(samples):
        if not pairs:
            for route in ("auto", "reason"):
                _ask(segmenter, sample, route)
        order = ("auto", "reason") if number % 2 == 0 else ("reason", "auto")
        found = {route: _ask(segmenter, sample, route) for route in order}
        pairs.append((found["auto"][0], found["reason"][0], found["auto"][1]))
    return pairs


def _ask(segmenter: ConceptSegmenter, sample: ConceptSample, route: str) -> tuple[float, bool]:
    image = load_image(sample.image).copy()
    query = Query(image, sample.concept, segmenter.prepare(sample.references), sample.id)
    begin = time.perf_counter()
    (result,) = segmenter.segment_batch([query], route=route)
    return time.perf_counter() - begin, result.route is Route.DIRECT


def summarise_timing(pairs: Sequence[tuple[float, float, bool]]) -> dict[str, Any]:
    """Medians and means in seconds a question, and the paired difference with its standard error.

    Args:
        pairs: at least two, as of `time_routes`.
    """
    auto, reason, direct = zip(*pairs, strict=True)
    saved = [whole - routed for routed, whole, _ in pairs]
    return {
        "questions": len(pairs),
        "direct": mean(direct),
        "auto": {"median": median(auto), "mean": mean(auto)},
        "reason": {"median": median(reason), "mean": mean(reason)},
        "difference": mean(saved),
        "standard_error": stdev(saved) / math.sqrt(len(saved)),
    }
