"""Does a finding hold here? Two runs over the same questions, compared question by question."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from statistics import mean, variance
from typing import Any

from conceptseg.errors import InputError
from conceptseg.evaluation.runs import Run
from conceptseg.metrics import METRICS

__all__ = ["DECISIVE", "Comparison", "Verdict", "compare_runs"]

DECISIVE = 2.0
"""How many standard errors of a difference decide."""


class Verdict(str, Enum):
    """What a comparison says of a claim."""

    HOLDS = "holds"
    FAILS = "does not hold"
    OPEN = "not decided"
    SAME = "same answers"
    """No question tells the runs apart: nothing was put to the test, whatever the claim."""


@dataclass(frozen=True)
class Comparison:
    """Scores of two runs, each the mean over tasks of the task's mean, and how sure their difference is."""

    first: float
    second: float
    difference: float
    """By how much the first is better, over the questions that both answered: `first - second`, or `second - first`
    where less is better (`conceptseg.metrics.METRICS`)."""
    standard_error: float
    """Of the difference, from its spread over the questions of each task."""
    questions: int
    differing: int
    """Questions on which the runs score differently."""
    decisive: float = DECISIVE
    """How many standard errors decide: 2, or more where the error itself rests on a few seeds."""

    def verdict(self, margin: float = 0.0) -> Verdict:
        """Whether the first run is better by more than `margin`: `decisive` standard errors decide, either way."""
        return self._decided(self.difference - margin)

    def verdict_within(self, margin: float) -> Verdict:
        """Whether the runs are equivalent, neither better by `margin` or more; `decisive` standard errors decide.

        It holds when |difference| + as many of them < margin, and does not when |difference| - as many > margin.

        Raises:
            InputError: the margin is not above zero.
        """
        if margin <= 0:
            raise InputError(f"Equivalence needs a margin above 0, got {margin}.")
        return self._decided(margin - abs(self.difference))

    def _decided(self, room: float) -> Verdict:
        if self.differing == 0:
            return Verdict.SAME
        if abs(room) <= self.decisive * self.standard_error:
            return Verdict.OPEN
        return Verdict.HOLDS if room > 0 else Verdict.FAILS


def compare_runs(first: Run, second: Run, measure: str = "miou", tasks: Iterable[str] | None = None) -> Comparison:
    """Hold two runs against each other on the questions that both have.

    Args:
        first: the run that is claimed to be better.
        second: the other.
        measure: a number of their rows, e.g. "miou"; more is taken to be better, but for "mae" and "ber".
        tasks: only these; None for all.

    Raises:
        InputError: fewer than two common questions with that number in one of the tasks, or none at all; or it is no
            number.
    """
    pairs = _pairs(first, second, measure, None if tasks is None else set(tasks))
    thin = [task for task, values in pairs.items() if len(values) < 2]
    if thin or not pairs:
        raise InputError(
            f"Runs {first.folder} and {second.folder} cannot be compared by {measure!r}: they need two common "
            f"questions a task at least{f', but {thin[0]!r} has one' if thin else ', and have none'}."
        )
    sign = 1 if measure not in METRICS or METRICS[measure].higher_is_better else -1
    errors = [variance([a - b for a, b in values]) / len(values) for values in pairs.values()]
    means = [(mean(a for a, _ in values), mean(b for _, b in values)) for values in pairs.values()]
    return Comparison(
        first=mean(a for a, _ in means),
        second=mean(b for _, b in means),
        difference=sign * mean(a - b for a, b in means),
        standard_error=math.sqrt(sum(errors)) / len(errors),
        questions=sum(map(len, pairs.values())),
        differing=sum(a != b for values in pairs.values() for a, b in values),
    )


def _pairs(first: Run, second: Run, measure: str, tasks: set[str] | None) -> Mapping[str, list[tuple[float, float]]]:
    theirs: dict[tuple[str, str], Any] = {(row["data"], row["id"]): row.get(measure) for row in second.rows}
    pairs: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for row in first.rows:
        mine, other = row.get(measure), theirs.get((row["data"], row["id"]))
        if mine is not None and other is not None and (tasks is None or row["task"] in tasks):
            pairs[row["task"]].append((_number(mine, measure), _number(other, measure)))
    return pairs


def _number(value: object, measure: str) -> float:
    if not isinstance(value, (bool, int, float)):
        raise InputError(
            f"Runs are compared by a number; {measure!r} of their rows is {value!r}. Name one of "
            f"{', '.join(METRICS)}, or another number of the rows."
        )
    return float(value)
