"""The paper's metrics (P of INTEROP §3) written out plainly and slowly, as the yardstick for the fast ones.

`weighted_f(…, integer=True)` does what the official evaluation does: it hands int32 arrays to the convolution, which
then truncates. Where the originals divide nothing by nothing (an empty quadrant), the quadrant counts nothing.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import convolve, distance_transform_edt


def all_metrics(prediction: np.ndarray, truth: np.ndarray, integer: bool = False) -> dict[str, float]:
    p, g = prediction.astype(np.float64), truth.astype(np.float64)
    return {
        "mae": float(np.abs(p - g).mean()),
        "ber": ber(p, g),
        "wfm": weighted_f(p, g, integer),
        "sm": s_measure(p, g),
        "miou": (smooth_iou(p > 0.5, g == 1) + smooth_iou(1 - p > 0.5, g == 0)) / 2,
        "iou": smooth_iou(p > 0.5, g == 1),
        "mdice": float((2 * (p * g).sum() + 1e-5) / (p.sum() + g.sum() + 1e-5)),
    }


def ber(p: np.ndarray, g: np.ndarray) -> float:
    positive = p >= 0.5
    true_positive_rate = (positive & (g == 1)).sum() / ((g == 1).sum() + 1e-8)
    true_negative_rate = (~positive & (g == 0)).sum() / ((g == 0).sum() + 1e-8)
    return float(1 - (true_positive_rate + true_negative_rate) / 2)


def smooth_iou(a: np.ndarray, b: np.ndarray) -> float:
    return float(((a & b).sum() + 1e-5) / ((a | b).sum() + 1e-5))


def weighted_f(p: np.ndarray, g: np.ndarray, integer: bool) -> float:
    inside = g == 1
    if not inside.any():
        return 0.0
    if integer:
        p, g = (p > 0.5).astype(np.int32), g.astype(np.int32)
    distance, nearest = distance_transform_edt(~inside, return_indices=True)
    error = np.abs(p - g)
    spread = np.where(inside, error, error[nearest[0], nearest[1]])
    axis = np.arange(-3, 4)
    kernel = np.exp(-(axis[:, None] ** 2 + axis[None, :] ** 2) / 50)
    average = convolve(spread, kernel / kernel.sum(), mode="constant")
    kept = np.where(inside, np.minimum(error, average), error)
    weighted = kept * np.where(inside, 1.0, 2 - 0.5 ** (distance / 5))
    hit = inside.sum() - weighted[inside].sum()
    recall = 1 - weighted[inside].mean()
    precision = hit / (1e-6 + hit + weighted[~inside].sum())
    return float(2 * recall * precision / (1e-6 + recall + precision))


def s_measure(p: np.ndarray, g: np.ndarray) -> float:
    share = g.mean()
    if share in (0, 1):
        return float(p.mean() if share else 1 - p.mean())
    of_object = share * _object(p[g == 1]) + (1 - share) * _object(1 - p[g == 0])
    rows, columns = np.nonzero(g)
    row, column = round(rows.sum() / len(rows)) + 1, round(columns.sum() / len(columns)) + 1
    of_region = 0.0
    for part in (np.s_[:row, :column], np.s_[:row, column:], np.s_[row:, :column], np.s_[row:, column:]):
        if g[part].size:
            of_region += g[part].size / g.size * _ssim(p[part], g[part])
    return float(0.5 * of_object + 0.5 * of_region)


def _object(values: np.ndarray) -> float:
    return 2 * values.mean() / (values.mean() ** 2 + 1 + values.std() + 1e-8)


def _ssim(p: np.ndarray, g: np.ndarray) -> float:
    x, y = p.mean(), g.mean()
    crossed = ((p - x) * (g - y)).sum() / max(p.size - 1, 1)
    above, below = 4 * x * y * crossed, (x**2 + y**2) * (p.var() + g.var())
    if above == 0:
        return 1.0 if below == 0 else 0.0
    return above / (below + 1e-8)
