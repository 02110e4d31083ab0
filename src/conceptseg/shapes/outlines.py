"""Masks as polygons along the edges of their pixels, and polygons as masks: exact both ways, holes included.

A point (x, y) is a corner of pixels: (0, 0) is the picture's top left corner, (w, h) its bottom right one. Pixels that
touch at a corner alone belong together, as in OpenCV's contours; a polygon covers the pixels whose centres it holds, by
the even-odd rule, as in pycocotools.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Int

from conceptseg.errors import ImageError

__all__ = ["Part", "fill_polygon", "trace_parts"]


@dataclass(frozen=True, eq=False)
class Part:
    """A connected part of a mask; polygons hold corners alone, and are closed without repeating the first."""

    outline: Int[np.ndarray, "corners 2"]
    """(x, y) in pixels, clockwise as seen on the picture."""
    holes: tuple[Int[np.ndarray, "_ 2"], ...]
    """Counter-clockwise."""
    bridged: Int[np.ndarray, "all_corners 2"]
    """Outline and holes as one polygon: slits of no width lead to the holes and back. It covers the same pixels."""


def trace_parts(mask: Bool[np.ndarray, "h w"]) -> list[Part]:
    """The parts of a mask, from the top down; none for an empty mask."""
    contours = _Contours(mask)
    parents = contours.parents()
    hanging: defaultdict[tuple[int, int], list[tuple[int, int, int]]] = defaultdict(list)
    root: dict[int, int] = {}
    holes: defaultdict[int, list[int]] = defaultdict(list)
    for loop in range(len(contours.loops)):  # parents come before what hangs on them
        if loop not in parents:
            root[loop] = loop
            continue
        parent, edge, foot_x, y = parents[loop]
        root[loop] = root[parent]
        holes[root[loop]].append(loop)
        hanging[parent, edge].append((foot_x, y, loop))
    points = [contours.points(loop) for loop in range(len(contours.loops))]
    return [
        Part(points[loop], tuple(points[hole] for hole in holes[loop]), _bridge(loop, points, hanging))
        for loop in root
        if root[loop] == loop
    ]


def fill_polygon(points_xy: Sequence[Any] | np.ndarray, size_hw: tuple[int, int]) -> Bool[np.ndarray, "h w"]:
    """The pixels whose centres lie in a polygon, by the even-odd rule; what lies outside the picture is cut off.

    Args:
        points_xy: (x, y) in pixels, or x and y in turn, as COCO has them.
        size_hw: Height and width in pixels.

    Raises:
        ImageError: the points are no pairs of finite numbers.
    """
    mask = np.zeros(size_hw, dtype=bool)
    start = _as_points(points_xy)
    if len(start) < 3:
        return mask
    low, high = np.ceil(start.min(axis=0) - 0.5), np.ceil(start.max(axis=0) - 0.5)
    (left, top), (right, bottom) = (
        np.clip(bound, 0, (size_hw[1], size_hw[0])).astype(int).tolist() for bound in (low, high)
    )
    window = mask[top:bottom, left:right]
    if window.size:
        toggles = _toggles(start - (left, top), window.shape[0], window.shape[1])
        window[:] = np.bitwise_xor.accumulate(toggles, axis=1)[:, :-1]
    return mask


class _Contours:
    """The closed loops of a mask's pixel edges, each beginning with its highest corner, of these the leftmost.

    Corners are numbered row by row. In a row the first is joined to the second by an edge, the third to the fourth, and
    so on; in a column too. Where two pixels touch at a corner alone, that corner counts twice.
    """

    def __init__(self, mask: Bool[np.ndarray, "h w"]) -> None:
        self._padded = np.pad(mask, 1)
        nw, ne, sw, se = (
            self._padded[i : i + mask.shape[0] + 1, j : j + mask.shape[1] + 1] for i in (0, 1) for j in (0, 1)
        )
        crossing = (nw == se) & (ne == sw) & (nw != ne)
        rows, columns = np.nonzero((nw ^ ne ^ sw ^ se) | crossing)
        times = 1 + crossing[rows, columns]
        is_second = np.zeros(int(times.sum()), dtype=bool)
        is_second[np.cumsum(times)[times == 2] - 1] = True
        self.y, self.x = np.repeat(rows, times), np.repeat(columns, times)
        # The copy that ends the edge from the left goes on down between pixels at top left and bottom right, else up.
        is_lower = is_second ^ (crossing & nw)[self.y, self.x]
        order = np.lexsort((is_lower, self.y, self.x))
        self._upper, self._lower = order[0::2], order[1::2]
        self.loops = self._follow()

    def points(self, loop: int) -> Int[np.ndarray, "corners 2"]:
        """A loop's corners."""
        nodes = self.loops[loop]
        return np.stack([self.x[nodes], self.y[nodes]], axis=1)

    def _is_hole(self, first: int) -> bool:
        """The edge that leaves a loop's first corner to the right has the loop's inside below it."""
        return not self._padded[self.y[first] + 1, self.x[first] + 1]

    def _follow(self) -> list[list[int]]:
        across = np.empty(len(self.x), dtype=int)
        across[self._upper], across[self._lower] = self._lower, self._upper
        vertical: list[int] = across.tolist()
        seen = bytearray(len(vertical))
        loops = []
        for first in range(0, len(vertical), 2):
            if seen[first]:
                continue
            loop, node = [], first
            while not seen[node]:
                seen[node] = seen[node ^ 1] = True
                loop += [node, node ^ 1]
                node = vertical[node ^ 1]
            loops.append([first, *loop[:0:-1]] if self._is_hole(first) else loop)
        return loops

    def parents(self) -> dict[int, tuple[int, int, int, int]]:
        """For every hole the loop to the left of its first corner: (loop, its edge, x and y of the place on it).

        That loop begins higher, or as high and further to the left, so that no holes hang on each other.
        """
        place = {node: (loop, at) for loop, nodes in enumerate(self.loops) for at, node in enumerate(nodes)}
        height = self._padded.shape[0]
        keys = self.x[self._upper] * height + self.y[self._upper]
        found = {}
        for loop, nodes in enumerate(self.loops):
            if self._is_hole(nodes[0]):
                x, y = int(self.x[nodes[0]]), int(self.y[nodes[0]])
                foot_x = int(np.flatnonzero(~self._padded[y + 1, : x + 1])[-1])
                edge = int(np.searchsorted(keys, foot_x * height + y, side="right")) - 1
                (parent, above), (_, below) = place[int(self._upper[edge])], place[int(self._lower[edge])]
                goes_down = (above + 1) % len(self.loops[parent]) == below
                found[loop] = (parent, above if goes_down else below, foot_x, y)
        return found


def _bridge(
    root: int, points: Sequence[np.ndarray], hanging: dict[tuple[int, int], list[tuple[int, int, int]]]
) -> Int[np.ndarray, "corners 2"]:
    """A loop and all that hangs on it as one polygon."""
    corners: list[tuple[int, int]] = []
    walks = [_walk(root, points[root].tolist(), hanging)]
    while walks:  # no recursion: holes may hang on holes a thousand deep
        step = next(walks[-1], None)
        if step is None:
            walks.pop()
        elif isinstance(step, int):
            walks.append(_walk(step, [*points[step].tolist(), points[step][0].tolist()], hanging))
        elif not corners or corners[-1] != step:
            corners.append(step)
    return np.array(corners, dtype=points[root].dtype).reshape(-1, 2)


def _walk(
    loop: int, points: Sequence[Sequence[int]], hanging: dict[tuple[int, int], list[tuple[int, int, int]]]
) -> Iterator[tuple[int, int] | int]:
    """A loop's corners in order; where a hole hangs on an edge, the place, the hole, and the place again."""
    for edge, (x, y) in enumerate(points):
        yield x, y
        hooks = hanging.get((loop, edge), ())
        for foot_x, foot_y, hole in sorted(hooks, key=lambda hook: abs(hook[1] - y)):
            yield foot_x, foot_y
            yield hole
            yield foot_x, foot_y


def _as_points(points_xy: Sequence[Any] | np.ndarray) -> np.ndarray:
    try:
        points = np.asarray(points_xy, dtype=float).reshape(-1, 2)
    except (TypeError, ValueError) as error:
        raise ImageError(f"A polygon must be a list of points (x, y): {error}.") from error
    if not np.isfinite(points).all():
        raise ImageError("A polygon's points must be finite numbers.")
    return points


def _toggles(start: np.ndarray, height: int, width: int) -> np.ndarray:
    """1 where a row of pixel centres crosses the polygon's edge an odd number of times just left of a pixel."""
    end = np.roll(start, -1, axis=0)
    low, high = np.minimum(start[:, 1], end[:, 1]), np.maximum(start[:, 1], end[:, 1])
    first, last = (np.clip(np.ceil(bound - 0.5), 0, height).astype(int) for bound in (low, high))
    counts = last - first
    edge = np.repeat(np.arange(len(start)), counts)
    row = np.arange(len(edge)) - np.repeat(np.cumsum(counts) - counts, counts) + first[edge]
    share = (row + 0.5 - start[edge, 1]) / (end[edge, 1] - start[edge, 1])
    x = start[edge, 0] + share * (end[edge, 0] - start[edge, 0])
    column = np.clip(np.ceil(x - 0.5), 0, width).astype(int)
    crossings = np.bincount(row * (width + 1) + column, minlength=height * (width + 1))
    return (crossings & 1).astype(np.uint8).reshape(height, width + 1)
