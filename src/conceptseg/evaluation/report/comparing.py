"""What the tables have in common: means as the paper takes them, and rows that say whose they are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from conceptseg.evaluation.report.paper import PAPER_NOTE
from conceptseg.evaluation.runs import Run
from conceptseg.evaluation.tables import Cell, Column, Origin, Row
from conceptseg.metrics import METRICS, Accumulator
from conceptseg.taxonomy import GROUPS, LEAF_TASKS

__all__ = [
    "LEVELS",
    "PRINTED_METRICS",
    "families",
    "leaf_scores",
    "level_columns",
    "level_means",
    "our_row",
    "paper_row",
    "per_cent",
    "table_1_columns",
    "table_1_means",
]

PRINTED_METRICS = ("mae", "ber", "wfm", "sm", "miou", "mdice")
"""The six metrics of Table 8, in its order."""

LEVELS = ("CI", "CD", "CR")


def per_cent(value: float | None) -> float | None:
    """A fraction as the tables print it."""
    return None if value is None else 100 * value


def paper_row(label: str, cells: Sequence[Cell], section: str = "") -> Row:
    """A row of published numbers."""
    return Row(label, Origin.PAPER, cells, section, PAPER_NOTE)


def our_row(
    run: Run, cells: Sequence[Cell], section: str = "", label: str | None = None, others: Sequence[Run] = ()
) -> Row:
    """A row measured here, by one run or by several, each with its note."""
    return Row(label or run.label, Origin.OURS, cells, section, " | ".join(one.note for one in (run, *others)))


def leaf_scores(run: Run) -> Accumulator:
    """The scores of a run on the twenty tasks of Table 5; other tasks have tables of their own."""
    return run.accumulate(row for row in run.rows if row["task"] in LEAF_TASKS)


def table_1_columns() -> list[Column]:
    """Weighted F and mIoU under each of the ten groups, and their mean."""
    return [Column(METRICS[m].title, group, best="highest") for group in (*GROUPS, "Mean") for m in ("wfm", "miou")]


def table_1_means(run: Run) -> list[Cell]:
    """Every group's mean over its tasks' means, and the mean of the groups once all ten are there."""
    scores = leaf_scores(run)
    parts = scores.by("group") if len(scores) else {}
    means = {group: part.macro_mean("task") for group, part in parts.items()}
    cells: list[Cell] = [per_cent(means[g][m]) if g in means else None for g in GROUPS for m in ("wfm", "miou")]
    whole = scores.macro_mean("group", "task") if len(means) == len(GROUPS) else None
    return cells + [per_cent(whole[m]) if whole else None for m in ("wfm", "miou")]


def level_columns(metrics: Sequence[str] = PRINTED_METRICS, levels: Sequence[str] = LEVELS) -> list[Column]:
    """The metrics under every level, with two decimals as in the appendix."""
    return [
        Column(METRICS[metric].title, level, 2, "highest" if METRICS[metric].higher_is_better else "lowest")
        for level in levels
        for metric in metrics
    ]


def level_means(run: Run, level: str) -> list[float | None]:
    """The six metrics' means over a level's tasks, every task counting once; None without any of its tasks."""
    scores = leaf_scores(run)
    part = scores.by("level").get(level) if len(scores) else None
    mean = part.macro_mean("task") if part else None
    return [per_cent(mean[metric]) if mean else None for metric in PRINTED_METRICS]


def families(runs: Iterable[Run], *aspects: str) -> list[list[Run]]:
    """Runs that differ in nothing but some aspects of their configuration, together, in the order given.

    Args:
        runs: any runs.
        aspects: names of fields of `EvaluationConfig`.
    """
    together: dict[Any, list[Run]] = {}
    for run in runs:
        rest = run.config.model_dump(mode="json", exclude={*aspects, "batch_size"})
        key = (_frozen(rest), _frozen(run.checkpoint))
        together.setdefault(key, []).append(run)
    return list(together.values())


def _frozen(value: Any) -> Any:
    """A JSON value that can be a key."""
    if isinstance(value, Mapping):
        return tuple((name, _frozen(inner)) for name, inner in sorted(value.items()))
    return tuple(map(_frozen, value)) if isinstance(value, (list, tuple)) else value
