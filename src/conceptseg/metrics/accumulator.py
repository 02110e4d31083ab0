"""Means, standard errors and data-set level IoU over a stream of image rows, alike in any order and any sharding."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from fractions import Fraction
from typing import Any

from conceptseg.errors import InputError
from conceptseg.metrics.scoring import METRICS
from conceptseg.taxonomy import group_of, level_of

__all__ = ["Accumulator"]

_DERIVED = {"level": lambda task: level_of(task).value, "group": group_of}


class _Sums:
    """Exact sums of what was added: order and grouping of the additions cannot change a later digit."""

    def __init__(self) -> None:
        self.count = 0
        self.first = dict.fromkeys(METRICS, Fraction(0))
        self.second = dict.fromkeys(METRICS, Fraction(0))
        self.intersection = 0
        self.union = 0
        self.overlap = Fraction(0)

    def add(self, row: Mapping[str, Any]) -> None:
        for name in METRICS:
            value = Fraction(row[name])
            self.first[name] += value
            self.second[name] += value * value
        intersection, union = row["intersection"], row["union"]
        self.count += 1
        self.intersection += intersection
        self.union += union
        self.overlap += Fraction(intersection / (union + 1e-5)) if union else 1

    def merge(self, other: _Sums) -> None:
        for name in METRICS:
            self.first[name] += other.first[name]
            self.second[name] += other.second[name]
        self.count += other.count
        self.intersection += other.intersection
        self.union += other.union
        self.overlap += other.overlap


class Accumulator:
    """Collects image rows and answers for the whole and for its parts.

    Only sums are kept, and exactly: adding the same rows in another order, or merging the accumulators of several
    processes, gives the same numbers to the last bit.

        accumulator = Accumulator()
        accumulator.add(image_row(prediction, truth, task="shadow"))
        accumulator.mean()["miou"], accumulator.standard_error()["miou"], accumulator.ciou()
        accumulator.by("level")["CD"].mean()
    """

    def __init__(self, keys: Iterable[str] = ("task",)) -> None:
        """Start empty.

        Args:
            keys: the labels of a row by which `by` can split later; a row without such a label counts under "".
        """
        self.keys = tuple(keys)
        self._cells: dict[tuple[str, ...], _Sums] = {}

    def __len__(self) -> int:
        return sum(cell.count for cell in self._cells.values())

    def add(self, row: Mapping[str, Any]) -> None:
        """Count one image.

        Args:
            row: as `image_row` makes it, or read back from its JSON; further entries are allowed.

        Raises:
            InputError: an entry is missing or is not a finite number; the row is then not counted.
        """
        _check_row(row)
        self._cells.setdefault(tuple(str(row.get(key, "")) for key in self.keys), _Sums()).add(row)

    def merge(self, other: Accumulator) -> None:
        """Count everything another accumulator of the same keys has counted.

        Raises:
            InputError: its keys differ.
        """
        if other.keys != self.keys:
            raise InputError(f"Accumulators must have the same keys to be merged, got {self.keys} and {other.keys}.")
        for label, cell in other._cells.items():
            self._cells.setdefault(label, _Sums()).merge(cell)

    def by(self, key: str) -> dict[str, Accumulator]:
        """The parts of the whole, one accumulator a label, labels in order of first appearance.

        Args:
            key: one of `keys`; or `level` or `group`, which follow from the task (taxonomy; Table 1's columns).

        Raises:
            InputError: the key was not collected, or a task is unknown.
        """
        name_of = _DERIVED.get(key, str) if key not in self.keys else str
        source = "task" if key in _DERIVED and key not in self.keys else key
        if source not in self.keys:
            raise InputError(f"Rows were collected by {', '.join(self.keys)}, not by {key!r}: Accumulator(keys=…).")
        parts: dict[str, Accumulator] = {}
        for label, cell in self._cells.items():
            part = parts.setdefault(name_of(label[self.keys.index(source)]), Accumulator(self.keys))
            part._cells.setdefault(label, _Sums()).merge(cell)
        return parts

    def mean(self) -> dict[str, float]:
        """The mean over images of every metric.

        Raises:
            InputError: nothing was added.
        """
        whole = self._whole()
        return {name: float(whole.first[name] / whole.count) for name in METRICS}

    def macro_mean(self, *keys: str) -> dict[str, float]:
        """The mean over the parts' means, every part counting once however many images it has.

        Args:
            keys: how to split, outermost first, `("task",)` by default. `macro_mean("task")` is "Mean" of the
                paper's Table 8, `macro_mean("group", "task")` that of Table 1.

        Raises:
            InputError: nothing was added, or as `by`.
        """
        self._whole()
        first, *rest = keys or ("task",)
        parts = self.by(first).values()
        means = [part.macro_mean(*rest) if rest else part.mean() for part in parts]
        return {name: math.fsum(mean[name] for mean in means) / len(means) for name in METRICS}

    def standard_error(self) -> dict[str, float]:
        """The standard error of `mean`: the sample deviation (one degree of freedom off) over √n.

        NaN with a single image, from which it cannot be known.

        Raises:
            InputError: nothing was added.
        """
        whole = self._whole()
        if whole.count == 1:
            return dict.fromkeys(METRICS, math.nan)
        scale = whole.count * (whole.count - 1)
        spread = {name: whole.second[name] - whole.first[name] ** 2 / whole.count for name in METRICS}
        return {name: math.sqrt(spread[name] / scale) for name in METRICS}

    def giou(self) -> float:
        """The mean of the images' I / (U + 1e-5), an empty union counting 1, as ReasonSeg is reported (Table 3).

        Raises:
            InputError: nothing was added.
        """
        whole = self._whole()
        return float(whole.overlap / whole.count)

    def ciou(self) -> float:
        """Data-set level IoU, ΣI / (ΣU + 1e-10), as ReasonSeg (Table 3) and Cityscapes classes (Table 2) report it.

        Raises:
            InputError: nothing was added.
        """
        whole = self._whole()
        return whole.intersection / (whole.union + 1e-10)

    def _whole(self) -> _Sums:
        whole = _Sums()
        for cell in self._cells.values():
            whole.merge(cell)
        if whole.count == 0:
            raise InputError("No image was added, so there is nothing to average.")
        return whole


def _check_row(row: Mapping[str, Any]) -> None:
    for name in (*METRICS, "intersection", "union"):
        value = row.get(name)
        if not isinstance(value, (int, float)) or not math.isfinite(value):
            raise InputError(f"A row needs a finite number as {name!r}, got {value!r}. Rows come from image_row().")
