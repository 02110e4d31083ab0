"""Random and structured (prediction, truth) pairs for comparing two definitions of a metric."""

from __future__ import annotations

import numpy as np

KINDS = (
    "noise",
    "sparse",
    "disc",
    "shifted disc",
    "missed part",
    "far piece",
    "perfect",
    "opposite",
    "nothing predicted",
    "everything predicted",
    "empty truth",
    "full truth",
    "both empty",
    "both full",
    "one pixel",
    "edge columns",
    "checker",
    "soft noise",
    "soft ramp",
    "soft flat",
    "soft blurred",
    "soft halves",
)


def make_pair(index: int) -> tuple[str, np.ndarray, np.ndarray]:
    """The kind, the prediction (bool, or float in 0..1 for the soft kinds) and the truth (bool) of one number."""
    rng = np.random.default_rng((20385, index))
    kind = KINDS[index % len(KINDS)]
    height, width = (int(side) for side in rng.integers(2, 48, 2))
    disc, other = _disc(height, width, rng), _disc(height, width, rng)
    rows, columns = np.mgrid[:height, :width]
    noise = rng.random((height, width))
    empty, full = np.zeros((height, width), bool), np.ones((height, width), bool)
    truth = {
        "noise": rng.random((height, width)) < rng.random(),
        "sparse": rng.random((height, width)) < 0.02,
        "empty truth": empty,
        "full truth": full,
        "both empty": empty,
        "both full": full,
        "one pixel": (rows == height // 2) & (columns == width // 3),
        "edge columns": columns == (0, width - 1)[index % 2],
        "checker": (rows + columns) % 2 == 0,
        "soft noise": rng.random((height, width)) < 0.3,
    }.get(kind, disc)
    prediction = {
        "noise": noise < 0.5,
        "sparse": noise < 0.05,
        "shifted disc": np.roll(disc, (1, 2), (0, 1)),
        "missed part": disc & (columns > width // 2),
        "far piece": disc | (rows + columns < 3),
        "opposite": ~disc,
        "nothing predicted": empty,
        "everything predicted": full,
        "both empty": empty,
        "both full": full,
        "perfect": truth,
        "edge columns": truth,
        "checker": columns % 2 == 0,
        "soft noise": noise,
        "soft ramp": columns / width,
        "soft flat": np.full((height, width), rng.random()),
        "soft blurred": np.clip(0.8 * disc + 0.3 * noise, 0, 1),
        "soft halves": np.round(noise * 4) / 4,
    }.get(kind, other)
    return kind, prediction, truth


def _disc(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width]
    row, column = rng.uniform(0, height), rng.uniform(0, width)
    return (rows - row) ** 2 + (columns - column) ** 2 <= rng.uniform(0.5, max(height, width) / 2) ** 2
