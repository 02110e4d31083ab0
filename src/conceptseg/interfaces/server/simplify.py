"""Outlines with fewer corners, for people who drag them: Douglas and Peucker's way, on closed polygons."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

__all__ = ["perimeter", "simplify_polygon"]


def perimeter(points: Float[np.ndarray, "corners 2"]) -> float:
    """The length of a closed polygon's line."""
    return float(np.hypot(*(np.roll(points, -1, axis=0) - points).T).sum())


def simplify_polygon(points: Float[np.ndarray, "corners 2"], tolerance: float) -> Float[np.ndarray, "fewer 2"]:
    """Corners of a closed polygon of which no left out one lies further than `tolerance` from the line that is left.

    Args:
        points: (x, y), closed without repeating the first.
        tolerance: in the points' unit; 0 leaves out only what lies on a straight line.

    Returns:
        At least three corners, where there were three; in their order.
    """
    if len(points) <= 3:
        return points
    opposite = int(np.hypot(*(points - points[0]).T).argmax())
    closed = np.concatenate([points, points[:1]])
    keep = np.zeros(len(closed), dtype=bool)
    keep[[0, opposite]] = True
    spans = [(0, opposite), (opposite, len(points))]
    while spans:
        begin, end = spans.pop()
        if end - begin < 2:
            continue
        away = _distances(closed[begin + 1 : end], closed[begin], closed[end])
        furthest = int(away.argmax())
        if away[furthest] > tolerance:
            middle = begin + 1 + furthest
            keep[middle] = True
            spans += [(begin, middle), (middle, end)]
    kept = points[keep[:-1]]
    return kept if len(kept) >= 3 else points


def _distances(
    points: Float[np.ndarray, "corners 2"], start: Float[np.ndarray, " 2"], end: Float[np.ndarray, " 2"]
) -> Float[np.ndarray, " corners"]:
    """How far points are from the stretch between two others."""
    along, rest = end - start, points - start
    length = float(along @ along)
    share = np.clip(rest @ along / length, 0, 1) if length else np.zeros(len(points))
    return np.hypot(*(rest - share[:, None] * along).T)
