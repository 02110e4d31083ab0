"""Masks as polygons along the edges of their pixels, and polygons as masks: exact both ways, holes included.

In points (x, y), (0, 0) is the picture's top left corner, (w, h) its bottom right one, (0.5, 0.5) the first pixel's
centre. Pixels that touch at a corner alone belong together, as in OpenCV's contours. Who fills a polygon has one of two
rules, and `trace_parts` draws for either: the pixels whose centres it holds, by the even-odd rule (pycocotools, and
`fill_polygon`); or these and all pixels under its line (OpenCV and Pillow, and so the readers of YOLO and LabelMe).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float

from conceptseg.errors import ImageError

__all__ = ["Part", "fill_polygon", "trace_parts"]


_Hook = tuple[int, int, int]
"""Where a hole hangs on an edge: x and y of the place, and the hole."""


@dataclass(frozen=True, eq=False)
class Part:
    """A connected part of a mask; polygons are closed without repeating the first point."""

    outline: Float[np.ndarray, "corners 2"]
    """(x, y) in pixels, clockwise as seen on the picture."""
    holes: tuple[Float[np.ndarray, "_ 2"], ...]
    """Counter-clockwise."""
    bridged: Float[np.ndarray, "all_corners 2"]
    """Outline and holes as one polygon: slits of no width lead to the holes and back. It covers the same pixels."""


def trace_parts(mask: Bool[np.ndarray, "h w"], along: Literal["edges", "centres"] = "edges") -> list[Part]:
    """The parts of a mask, from the top down; none for an empty mask.

    Args:
        mask: true on the target.
        along: Whether polygons follow the edges of pixels, for readers that fill what a polygon holds, or run through
            the centres of the outermost pixels, for readers that draw its line too; a lone pixel is three equal points.
    """
    contours = _Contours(mask, 0.0 if along == "edges" else 0.5)
    parents = contours.parents()
    hanging: defaultdict[tuple[int, int], list[_Hook]] = defaultdict(list)
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
    return [
        Part(
            _flat(contours, loop),
            tuple(_flat(contours, hole) for hole in holes[loop]),
            _bridge(loop, contours, hanging),
        )
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

    def __init__(self, mask: Bool[np.ndarray, "h w"], inset: float) -> None:
        self._padded = np.pad(mask, 1)
        self.inset = inset
        nw, ne, sw, se = (
            self._padded[i : i + mask.shape[0] + 1, j : j + mask.shape[1] + 1] for i in (0, 1) for j in (0, 1)
        )
        self._crossing = crossing = (nw == se) & (ne == sw) & (nw != ne)
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
        self.points = self._points_at_corners()

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

    def _points_at_corners(self) -> list[list[list[tuple[float, float]]]]:
        """For every loop the points of each of its corners, drawn in by `inset` to the side of the target.

        That is one, but two where the loop passes between pixels that touch there: the line goes from one to the other.
        """
        ends = np.cumsum([0, *map(len, self.loops)])
        nodes = np.array([node for loop in self.loops for node in loop], dtype=int)
        following = np.arange(1, len(nodes) + 1)
        following[ends[1:] - 1] = ends[:-1]
        corners = np.stack([self.x[nodes], self.y[nodes]], axis=1)
        ahead = np.sign(corners[following] - corners)
        behind = np.empty_like(ahead)
        behind[following] = ahead
        into, out = (self.inset * np.stack([-step[:, 1], step[:, 0]], axis=1) for step in (behind, ahead))
        passes = self._crossing[self.y[nodes], self.x[nodes]] & bool(self.inset)
        first = np.where(passes[:, None], corners + into - self.inset * behind, corners + into + out)
        second = corners + out + self.inset * ahead
        points = [
            [(a[0], a[1]), (b[0], b[1])] if crosses else [(a[0], a[1])]
            for a, b, crosses in zip(first.tolist(), second.tolist(), passes.tolist(), strict=True)
        ]
        return [points[begin:end] for begin, end in pairwise(ends.tolist())]

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


def _flat(contours: _Contours, loop: int) -> Float[np.ndarray, "corners 2"]:
    return np.array([point for corner in contours.points[loop] for point in corner], dtype=float)


def _bridge(
    root: int, contours: _Contours, hanging: Mapping[tuple[int, int], Sequence[_Hook]]
) -> Float[np.ndarray, "corners 2"]:
    """A loop and all that hangs on it as one polygon."""
    found: list[tuple[float, float]] = []
    walks = [_walk(root, contours, hanging)]
    while walks:  # no recursion: holes may hang on holes a thousand deep
        step = next(walks[-1], None)
        if step is None:
            walks.pop()
        elif isinstance(step, int):
            walks.append(_walk(step, contours, hanging))
        elif not found or found[-1] != step:
            found.append(step)
    return np.array(found if len(found) > 2 else (found * 3)[:3], dtype=float)


def _walk(
    loop: int, contours: _Contours, hanging: Mapping[tuple[int, int], Sequence[_Hook]]
) -> Iterator[tuple[float, float] | int]:
    """A loop's points in order; where a hole hangs on an edge, the slit, the hole, its first point and the slit back.

    The slit runs along the hole's first row of pixels, from the place on the edge to the pixel left of the hole.
    """
    inset = contours.inset
    for edge, (points, node) in enumerate(zip(contours.points[loop], contours.loops[loop], strict=True)):
        yield from points
        for foot_x, y, hole in sorted(hanging.get((loop, edge), ()), key=lambda hook: abs(hook[1] - contours.y[node])):
            slit = (foot_x + inset, y + inset), (float(contours.x[contours.loops[hole][0]]) - inset, y + inset)
            yield from slit
            yield hole
            yield contours.points[hole][0][0]
            yield from reversed(slit)


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
