"""Tables 10, 11 and 12 and Figure 7: what the router, the references and the number of concept tokens change."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean, stdev

from conceptseg.evaluation.report.comparing import (
    LEVELS,
    PRINTED_METRICS,
    families,
    leaf_scores,
    level_means,
    our_row,
    paper_row,
    per_cent,
)
from conceptseg.evaluation.report.paper import paper_table
from conceptseg.evaluation.runs import Run
from conceptseg.evaluation.settings import DEFAULT_REFERENCES, EvaluationConfig
from conceptseg.evaluation.tables import Cell, Column, Row, Table
from conceptseg.metrics import METRICS
from conceptseg.taxonomy import LEAF_TASKS

__all__ = ["figure_7", "table_10", "table_11", "table_12"]

_ROUTES = ("direct", "reason", "auto")


def table_10(runs: Sequence[Run]) -> Table:
    """SAM 3 only, full reasoning and the router, task by task, for every model that was run more than one way."""
    printed = paper_table(10)
    rows = [paper_row(_words(row["task"]), _with_gains(row["values"]), "ConceptSeg-R1-3B") for row in printed["rows"]]
    for family in families([run for run in _plain(runs) if run.config.method == "conceptseg"], "route"):
        by_route: dict[str, Run] = {run.config.route: run for run in family}
        if "auto" in by_route and len(by_route) > 1:
            section = f"{by_route['auto'].label} (ours)"
            tasks = [task for task in LEAF_TASKS if any(row["task"] == task for row in by_route["auto"].rows)]
            others = [by_route[route] for route in _ROUTES if route in by_route and route != "auto"]
            rows += [
                our_row(by_route["auto"], _routed(by_route, task), section, _words(task), others) for task in tasks
            ]
    columns = [Column("routing rate", decimals=2)]
    for metric in ("wfm", "miou"):
        names = ("SAM 3 only", "full reasoning", "adaptive", "gain")
        columns += [Column(name, METRICS[metric].title, 2) for name in names]
    remark = "Routing rate: the share that SAM 3 answered alone. Gain: adaptive over full reasoning."
    return Table("table_10", printed["title"], columns, rows, [remark])


def table_11(runs: Sequence[Run]) -> Table:
    """Means and sample deviations over runs that differ in the draw of references alone."""
    printed = paper_table(11)
    rows = [
        paper_row(f"ConceptSeg-R1-3B, {row['level']}", [f"{mean:.2f}±{std:.2f}" for mean, std in row["values"]])
        for row in printed["rows"]
    ]
    for family in families(_plain(runs), "seed"):
        draws = [*{run.config.seed: run for run in family}.values()]
        if len(draws) < 2:
            continue
        for level in LEVELS:
            of_metric = [_known(values) for values in zip(*(level_means(run, level) for run in draws), strict=True)]
            if all(len(values) > 1 for values in of_metric):  # a deviation takes two
                cells = [f"{fmean(values):.2f}±{stdev(values):.2f}" for values in of_metric]
                label = f"{draws[0].label}, {level}, {len(of_metric[0])} draws"
                rows.append(our_row(draws[0], cells, label=label, others=draws[1:]))
    columns = [Column(METRICS[metric].title) for metric in PRINTED_METRICS]
    remark = (
        "Ours: other --seed, all else equal; deviations over n - 1. References that belong to a question (CR) stay, so "
        "that their deviation is 0, except on ConceptWorld, which draws them anew."
    )
    return Table("table_11", printed["title"], columns, rows, [remark])


def table_12(runs: Sequence[Run]) -> Table:
    """One reference against four, level by level."""
    printed = paper_table(12)
    rows = [paper_row(f"ConceptSeg-R1-3B, {row['references']}", row["values"], row["level"]) for row in printed["rows"]]
    for family in families(_plain(runs), "references"):
        counts = {_shown(run): run for run in family}
        if len(counts) < 2:
            continue
        for level in LEVELS:
            for count, run in sorted(counts.items()):
                cells = level_means(run, level)
                if any(cell is not None for cell in cells):
                    rows.append(our_row(run, cells, level, f"{run.label}, {_grid(count, level)}"))
    order = {level: place for place, level in enumerate(LEVELS)}
    rows.sort(key=lambda row: order[row.section])
    columns = [Column(METRICS[metric].title, decimals=2) for metric in PRINTED_METRICS]
    return Table("table_12", printed["title"], columns, rows, ["Ours: --references 1 and 4, all else equal."])


def figure_7(runs: Sequence[Run]) -> Table:
    """Weighted F and mIoU of every level by the number of concept tokens L2 of the checkpoint.

    Of runs that differ from others in route, seed or references, or stand for a variant, none takes part: a curve is to
    show one thing.
    """
    rows: list[Row] = []
    known = [run for run in _plain(runs) if run.checkpoint.get("concept_tokens") and _is_usual(run.config)]
    for run in sorted(known, key=lambda run: run.checkpoint["concept_tokens"]):
        cells: list[Cell] = [float(run.checkpoint["concept_tokens"])]
        for metric in ("wfm", "miou"):
            cells += [level_means(run, level)[PRINTED_METRICS.index(metric)] for level in LEVELS]
        if any(cell is not None for cell in cells[1:]):
            rows.append(our_row(run, cells))
    columns = [Column("L2", decimals=0)]
    columns += [Column(level, METRICS[metric].title) for metric in ("wfm", "miou") for level in LEVELS]
    title = "Figure 7: the number of concept tokens"
    remark = (
        "The paper shows its own values as curves only: they rise from L2 = 1 and level off at L2 = 8. Ours are runs "
        "of conceptseg with the router, reference seed 0 and the references of the data set."
    )
    return Table("figure_07", title, columns, rows, [remark])


def _plain(runs: Sequence[Run]) -> list[Run]:
    """Runs that stand for no variant of an ablation."""
    return [run for run in runs if run.config.variant is None]


def _is_usual(config: EvaluationConfig) -> bool:
    """Whether a run asked the paper's method in its usual way."""
    return (config.method, config.route, config.seed, config.references) == ("conceptseg", "auto", 0, None)


def _with_gains(values: Sequence[float | None]) -> list[Cell]:
    """Rate and two times three scores, each three followed by what the router gains over full reasoning."""
    rate, *scores = values
    cells: list[Cell] = [rate]
    for direct, reason, auto in (scores[:3], scores[3:]):
        cells += [direct, reason, auto, None if reason is None or auto is None else auto - reason]
    return cells


def _routed(by_route: dict[str, Run], task: str) -> list[Cell]:
    auto = [row for row in by_route["auto"].rows if row["task"] == task]
    rate = sum(row.get("route") == "direct" for row in auto) / len(auto)
    means = {}
    for route, run in by_route.items():
        part = leaf_scores(run).by("task").get(task)
        means[route] = part.mean() if part else None
    scores = [per_cent(mean[m]) if (mean := means.get(r)) else None for m in ("wfm", "miou") for r in _ROUTES]
    return _with_gains([per_cent(rate), *scores])


def _known(values: Sequence[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def _shown(run: Run) -> int:
    return DEFAULT_REFERENCES if run.config.references is None else run.config.references


def _grid(count: int, level: str) -> str:
    """A number of references as the mosaic it makes."""
    side = next(side for side in range(count + 1) if side * side >= count)
    return f"{side}×{side}" + (" (CR: default)" if level == "CR" else "")


def _words(task: str) -> str:
    return task.replace("_", " ")
