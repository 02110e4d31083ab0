"""How many images a second are measured, beside PySODMetrics on the same pairs, on one core.

    python benchmarks/metrics_speed.py            # 600 × 600, 48 pairs

Both compute MAE, weighted F, S-measure, and at one threshold BER, IoU and Dice (ours also the background's IoU). Pairs
are what a segmenter makes of blob-like objects: exact, eroded, dilated, shifted, ragged, with a piece missing, with a
false piece far away, and unrelated. Every pair's scores are compared, so that speed is not bought with error.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import py_sod_metrics as pysod
from scipy import ndimage

from conceptseg.metrics import score

Pairs = list[tuple[np.ndarray, np.ndarray]]


def make_pairs(side_px: int, count: int, seed: int) -> Pairs:
    """(prediction, truth) pairs of bool masks, the kinds in turn."""
    rng = np.random.default_rng(seed)
    kinds = ("exact", "eroded", "dilated", "shifted", "ragged", "piece missing", "far piece", "unrelated")
    return [_pair(kinds[index % len(kinds)], side_px, rng) for index in range(count)]


def _smooth_noise(side_px: int, sigma_px: float, rng: np.random.Generator) -> np.ndarray:
    noise = ndimage.gaussian_filter(rng.normal(size=(side_px, side_px)), sigma_px)
    return noise / noise.std()


def _pair(kind: str, side_px: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    field = _smooth_noise(side_px, side_px / 12, rng)
    level = np.quantile(field, rng.uniform(0.75, 0.97))
    truth = field > level
    rows, columns = np.ogrid[:side_px, :side_px]
    row, column = rng.integers(0, side_px, 2)
    disc = (rows - row) ** 2 + (columns - column) ** 2 < (side_px / 15) ** 2
    prediction = {
        "exact": truth,
        "eroded": ndimage.binary_erosion(truth, iterations=4),
        "dilated": ndimage.binary_dilation(truth, iterations=4),
        "shifted": ndimage.shift(truth, (5, 7), order=0),
        "ragged": field + 0.15 * _smooth_noise(side_px, 3, rng) > level,
        "piece missing": truth & (columns > np.flatnonzero(truth.any(axis=0)).mean()),
        "far piece": truth | disc,
        "unrelated": _smooth_noise(side_px, side_px / 12, rng) > 1.2,
    }[kind]
    return prediction, truth


def pysod_scores(prediction: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """The same metrics by PySODMetrics."""
    soft = prediction.astype(np.float64)
    binary = {"with_dynamic": False, "with_adaptive": False, "with_binary": True}
    overlap = pysod.FmeasureV2(
        {"ber": pysod.BERHandler(**binary), "iou": pysod.IOUHandler(**binary), "mdice": pysod.DICEHandler(**binary)}
    )
    others = {"mae": pysod.MAE(), "wfm": pysod.WeightedFmeasure(), "sm": pysod.Smeasure()}
    for meter in (overlap, *others.values()):
        meter.step(soft, truth, normalize=False)
    scores = {name: float(result["binary"]) for name, result in overlap.get_results().items()}
    return scores | {name: float(meter.get_results()[name]) for name, meter in others.items()}


def images_per_second(measure: Callable[[np.ndarray, np.ndarray], object], pairs: Pairs, rounds: int) -> float:
    """The best of several rounds over all pairs."""
    best = float("inf")
    for _ in range(rounds):
        started = time.perf_counter()
        for prediction, truth in pairs:
            measure(prediction, truth)
        best = min(best, time.perf_counter() - started)
    return len(pairs) / best


def main() -> None:
    """Print both speeds, their ratio, and the largest difference of any score."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=600, help="height and width of the masks in pixels")
    parser.add_argument("--pairs", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    pairs = make_pairs(options.side, options.pairs, options.seed)
    theirs = images_per_second(pysod_scores, pairs, options.rounds)
    ours = {
        name: images_per_second(lambda p, t, name=name: score(p, t, protocol=name), pairs, options.rounds)
        for name in ("native", "paper")
    }
    worst = max(abs(score(*pair)[name] - value) for pair in pairs for name, value in pysod_scores(*pair).items())
    print(f"{options.pairs} pairs of {options.side} × {options.side}, one core, best of {options.rounds} rounds")
    print(f"PySODMetrics         {theirs:8.1f} images/s")
    for name, speed in ours.items():
        print(f"conceptseg {name:9} {speed:8.1f} images/s   {speed / theirs:5.1f} ×")
    print(f"largest difference of a score (native): {worst:.1e}")


if __name__ == "__main__":
    main()
