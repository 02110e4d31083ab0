"""How long a mask takes: the first one of a new process, and a further image on either route.

python benchmarks/inference_speed.py --threads 2      # prints a Markdown table

Images are ConceptWorld scenes with four references each; figures are medians of wall time and of processor time, which
tells more on a machine that is busy with other things. Targets on two CPU cores with nano: 10 s for the first mask,
1.0 s a further image on the reasoned route, 0.3 s on the direct one.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

_FIRST_MASK = """
import numpy as np, torch
from conceptseg import ConceptSegmenter
torch.set_num_threads({threads})
segmenter = ConceptSegmenter.from_pretrained({model!r}, device={device!r})
result = segmenter(np.full((168, 168, 3), 127, dtype=np.uint8), "salient object", route={route!r})
sys.exit(result.mask is None)
"""

Timing = tuple[float, float]
"""Seconds of wall time and of processor time."""


@contextmanager
def _timed(timings: list[Timing], share: int = 1) -> Iterator[None]:
    wall, cpu = time.perf_counter(), sum(os.times()[:4])
    yield
    timings.append(((time.perf_counter() - wall) / share, (sum(os.times()[:4]) - cpu) / share))


def time_first_mask(options: argparse.Namespace, route: str) -> list[Timing]:
    """From starting a process to its first mask, imports and loading included."""
    settings = {"threads": options.threads, "model": options.model, "device": options.device, "route": route}
    timings: list[Timing] = []
    for _ in range(options.processes):
        with _timed(timings):
            subprocess.run([sys.executable, "-c", "import sys" + _FIRST_MASK.format(**settings)], check=True)
    return timings


def time_further_images(options: argparse.Namespace, route: str) -> dict[int, list[Timing]]:
    """An image's share by batch size, in a process that has answered before."""
    import torch

    from conceptseg import ConceptSegmenter
    from conceptseg.data import load_sample
    from conceptseg.data.world import ConceptWorld
    from conceptseg.inference import Query

    torch.set_num_threads(options.threads)
    segmenter = ConceptSegmenter.from_pretrained(options.model, device=options.device)
    world = ConceptWorld("saliency", split="seen_test")
    samples = [world[index] for index in range(options.images)]
    queries = [Query(load_sample(s).image, s.concept, segmenter.build_mosaic(s.references)) for s in samples]
    timings: dict[int, list[Timing]] = {size: [] for size in options.batch_sizes if size <= len(queries)}
    for size, taken in timings.items():
        segmenter.segment_batch(queries[:size], route=route)
        for start in range(0, len(queries) - size + 1, size):
            with _timed(taken, share=size):
                segmenter.segment_batch(queries[start : start + size], route=route)
    return timings


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--processes", type=int, default=3, help="new processes started for a first mask")
    parser.add_argument("--images", type=int, default=16)
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[1, 8])
    options = parser.parse_args()
    print("| what | route | batch | wall s | CPU s |\n|---|---|---|---|---|", flush=True)
    for route in ("direct", "reason"):
        _print_row("first mask of a new process", route, 1, time_first_mask(options, route))
        for size, timings in time_further_images(options, route).items():
            _print_row("a further image", route, size, timings)


def _print_row(what: str, route: str, batch: int, timings: Sequence[Timing]) -> None:
    wall, cpu = (statistics.median(column) for column in zip(*timings, strict=True))
    print(f"| {what} | {route} | {batch} | {wall:.2f} | {cpu:.2f} |", flush=True)


if __name__ == "__main__":
    main()
