"""Which run is better, by how much, and is it real: runs × sets, and each run against the first one."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, variance
from typing import Any

from conceptseg.errors import InputError
from conceptseg.evaluation.comparison import Comparison, Verdict, compare_runs
from conceptseg.evaluation.runs import Run
from conceptseg.evaluation.tables import Cell, Column, Origin, Row, Table

__all__ = ["ALL_SETS", "Score", "Standing", "headline", "scoreboard", "standings"]

ALL_SETS = "all sets"
"""The column of everything together, where there is more than one set."""

_TOLD = {
    Verdict.HOLDS: "better",
    Verdict.FAILS: "worse",
    Verdict.OPEN: "not decided",
    Verdict.SAME: "same answers",
}


@dataclass(frozen=True)
class Score:
    """What a run reaches on a set, in per cent: the mean over tasks of the task's mean mIoU."""

    miou: float
    standard_error: float | None
    """None where a task has one question only."""
    questions: int


@dataclass(frozen=True)
class Standing:
    """A run, its scores by set, and how it stands to the first one."""

    run: Run
    scores: Mapping[str, Score]
    """Set → score; with `ALL_SETS` where there are several."""
    to_first: Comparison | None
    """Over the questions that both have; None for the first run itself and where nothing can be compared."""
    remark: str = ""
    """Why it was not compared, or what else a reader has to know."""

    @property
    def words(self) -> str:
        """The verdict in a word or two."""
        return _TOLD[self.to_first.verdict()] if self.to_first else "–"


def standings(runs: Sequence[Run]) -> list[Standing]:
    """Every run's scores, and its paired difference to the first run.

    Args:
        runs: at least one, in the order of the rows.
    """
    return [_standing(run, runs[0]) for run in runs]


def scoreboard(standing: Sequence[Standing]) -> Table:
    """The standings as a table: mIoU ± one standard error and n a set, then the difference to the first run."""
    sets = list(dict.fromkeys(name for one in standing for name in one.scores))
    columns = [
        column
        for name in sets
        for column in (Column("mIoU", name, best="highest"), Column("±", name), Column("n", name, 0))
    ]
    rivals = f"to {standing[0].run.label}"
    if len(standing) > 1:
        columns += [Column("difference", rivals), Column("±", rivals), Column("shared n", rivals, 0)]
        columns += [Column("verdict", rivals)]
    rows = [Row(one.run.label, Origin.OURS, _cells(one, sets, len(standing) > 1), "", one.run.note) for one in standing]
    remarks = [
        "mIoU in per cent, the mean over tasks of each task's mean; ± is one standard error. Differences are paired, "
        "question by question; two standard errors decide."
    ]
    return Table(
        "scores", "Which is better", columns, rows, [*remarks, *(one.remark for one in standing if one.remark)]
    )


def headline(standing: Sequence[Standing]) -> str:
    """One sentence: the better run, by how much, and whether that is more than chance."""
    first, *others = standing
    compared = [one for one in others if one.to_first is not None]
    if not compared:
        score = list(first.scores.values())[-1]
        error = "" if score.standard_error is None else f" ± {score.standard_error:.1f}"
        told = f"{first.run.label}: mIoU {score.miou:.1f}{error} on {_questions(score.questions)}."
        return told + (f" {others[0].remark}" if others else "")
    best = max(compared, key=lambda one: one.to_first.difference if one.to_first else 0.0)
    return _sentence(best, first, len(compared))


def _sentence(best: Standing, first: Standing, compared: int) -> str:
    found = best.to_first
    assert found is not None
    points, error = 100 * found.difference, 100 * found.standard_error
    over = f"paired over {_questions(found.questions)}"
    among = "" if compared == 1 else f", the best of {compared + 1} runs by its difference to the first"
    verdict = found.verdict()
    if verdict is Verdict.SAME:
        return f"{best.run.label} and {first.run.label} score the same on every one of {_questions(found.questions)}."
    if verdict is Verdict.OPEN:
        return (
            f"Not decided: {best.run.label} is {abs(points):.1f} ± {error:.1f} points of mIoU "
            f"{'above' if points >= 0 else 'below'} {first.run.label}, {over}, which may be chance."
        )
    if verdict is Verdict.FAILS:
        rest = "" if compared == 1 else ", the next one,"
        gap = f"{first.run.label} is better than {best.run.label}{rest}"
        return f"{gap} by {-points:.1f} ± {error:.1f} points of mIoU, {over}."
    gap = f"{best.run.label} is better than {first.run.label}"
    return f"{gap} by {points:.1f} ± {error:.1f} points of mIoU, {over}{among}."


def _standing(run: Run, first: Run) -> Standing:
    scores = _scores(run)
    failed = f"{run.label}: {_questions(len(run.failures))} failed, with the worst score." if run.failures else ""
    if run is first:
        return Standing(run, scores, None, failed)
    if run.config.protocol != first.config.protocol:
        told = f"{run.label} was measured by protocol {run.config.protocol}, {first.label} by {first.config.protocol}"
        return Standing(run, scores, None, f"{told}: not compared. {failed}".strip())
    try:
        found = compare_runs(run, first)
    except InputError as error:
        return Standing(run, scores, None, f"{run.label}: not compared. {error} {failed}".strip())
    lacking = max(len(run.rows), len(first.rows)) - found.questions
    shared = f"{run.label} and {first.label} share {_questions(found.questions)}"
    apart = f"{shared}; {lacking} more stand in one of them only." if lacking else ""
    return Standing(run, scores, found, f"{apart} {failed}".strip())


def _scores(run: Run) -> dict[str, Score]:
    by_set: dict[str, list[Mapping[str, Any]]] = {name: [] for name in run.questions}
    for row in run.rows:
        by_set.setdefault(row["data"], []).append(row)
    scores = {name: _score(rows) for name, rows in by_set.items() if rows}
    return scores if len(scores) == 1 else scores | {ALL_SETS: _score(run.rows)}


def _score(rows: Sequence[Mapping[str, Any]]) -> Score:
    tasks: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        tasks[row["task"]].append(100 * row["miou"])
    error = None
    if all(len(values) > 1 for values in tasks.values()):
        error = math.sqrt(sum(variance(values) / len(values) for values in tasks.values())) / len(tasks)
    return Score(mean(mean(values) for values in tasks.values()), error, len(rows))


def _cells(one: Standing, sets: Sequence[str], compared: bool) -> list[Cell]:
    cells: list[Cell] = []
    for name in sets:
        score = one.scores.get(name)
        cells += [score.miou, score.standard_error, float(score.questions)] if score else [None, None, None]
    if not compared:
        return cells
    if one.to_first is None:
        return [*cells, None, None, None, one.words]
    found = one.to_first
    return [*cells, 100 * found.difference, 100 * found.standard_error, float(found.questions), one.words]


def _questions(count: int) -> str:
    return "1 question" if count == 1 else f"{count} questions"
