"""Tables 1, 4, 8 and 9: methods and variants side by side on the twenty tasks."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

from conceptseg.errors import InputError
from conceptseg.evaluation.report.comparing import (
    LEVELS,
    PRINTED_METRICS,
    leaf_scores,
    level_columns,
    level_means,
    our_row,
    paper_row,
    per_cent,
    table_1_columns,
    table_1_means,
)
from conceptseg.evaluation.report.paper import paper_table
from conceptseg.evaluation.runs import Run
from conceptseg.evaluation.tables import Cell, Column, Row, Table
from conceptseg.metrics import METRICS
from conceptseg.taxonomy import LEAF_TASKS
from conceptseg.training.recipes import recipe_names

__all__ = ["check_variant", "table_1", "table_4", "table_8", "table_9"]

_ABLATIONS = {
    "sam3": ("(a) Architecture", "SAM 3"),
    "architecture_sft": ("(a) Architecture", "+ MLLM (SFT)"),
    "architecture_grpo": ("(a) Architecture", "+ GRPO"),
    "architecture_translation": ("(a) Architecture", "+ Concept Translations"),
    "architecture_meta_grpo": ("(a) Architecture", "+ Meta-GRPO"),
    "without_meta_reward": ("(b) Meta-GRPO component", "w/o Meta Reward"),
    "without_meta_reasoning": ("(b) Meta-GRPO component", "w/o Meta Reasoning"),
    "one_stage": ("(c) Training stage", "One-stage (Only RL)"),
    "two_stage": ("(c) Training stage", "Two-stage (SFT + RL)"),
}
"""Variant → the block of Table 4 it belongs to, and its name there; names are those of `train --list`."""

_FOLDER = "ablations/"
_REWARDS = {
    "without_box_and_meta_reward": "w/o box & meta",
    "without_mask_reward": "w/o mask",
    "architecture_meta_grpo": "All Reward",
}


def table_1(runs: Sequence[Run]) -> Table:
    """Methods by group of tasks: every run that is no variant of an ablation."""
    printed = paper_table(1)
    rows = [paper_row(row["method"], row["values"]) for row in printed["rows"]]
    rows += [our_row(run, cells) for run in runs if run.config.variant is None and _any(cells := table_1_means(run))]
    remark = "A group is the mean of its tasks, a task the mean of its images; Mean is that of the ten groups."
    return Table("table_01", printed["title"], table_1_columns(), rows, [remark])


def table_4(runs: Sequence[Run]) -> Table:
    """The ablation: published rows block by block, each followed by our runs of that block's variants."""
    printed = paper_table(4)
    rows: list[Row] = []
    for section in dict.fromkeys(row["section"] for row in printed["rows"]):
        rows += [
            paper_row(row["method"], row["values"], section) for row in printed["rows"] if row["section"] == section
        ]
        for run in runs:
            variant = run.config.variant or ("sam3" if run.config.method == "sam3" else "")
            block, name = _ABLATIONS.get(variant, ("", ""))
            if block == section:
                rows.append(our_row(run, table_1_means(run), section, name))
    remark = "Ours are runs with --variant NAME, NAME as in `train --list`; SAM 3 is --method sam3."
    return Table("table_04", printed["title"], table_1_columns(), rows, [remark])


def table_8(runs: Sequence[Run]) -> Table:
    """Every task by six metrics, a block a method, with each level's mean over its tasks."""
    printed = paper_table(8)
    columns = [Column(name.replace("_", " "), decimals=2) for name in printed["columns"]]
    rows = [paper_row(METRICS[row["metric"]].title, row["values"], row["method"]) for row in printed["rows"]]
    for run in runs:
        if run.config.variant is not None or not len(leaf_scores(run)):
            continue
        cells = _by_task(run, printed["columns"])
        section = f"{run.label} (ours)"
        rows += [our_row(run, cells[metric], section, METRICS[metric].title) for metric in PRINTED_METRICS]
    return Table("table_08", printed["title"], columns, rows, ["CI, CD and CR: the mean of the level's tasks."])


def table_9(runs: Sequence[Run]) -> Table:
    """Rewards: means of every level for the published and our variants."""
    printed = paper_table(9)
    rows = [paper_row(row["method"], row["values"]) for row in printed["rows"]]
    for run in runs:
        if run.config.variant in _REWARDS:
            cells: list[Cell] = [value for level in LEVELS for value in level_means(run, level)]
            rows.append(our_row(run, cells, label=_REWARDS[run.config.variant]))
    remark = "Ours are runs with --variant without_box_and_meta_reward, without_mask_reward or architecture_meta_grpo."
    return Table("table_09", printed["title"], level_columns(), rows, [remark])


def check_variant(name: str) -> None:
    """Make sure that an ablation of the paper has that name.

    Raises:
        InputError: none has; the nearest is named, and all that there are.
    """
    known = sorted({*_ABLATIONS, *_REWARDS, *(one.removeprefix(_FOLDER) for one in recipe_names() if _FOLDER in one)})
    if name not in known:
        near = get_close_matches(name, known, n=1)
        asked = f" Did you mean {near[0]!r}?" if near else ""
        raise InputError(
            f"--variant: there is no ablation {name!r}.{asked} There are {', '.join(known)}. "
            "A name of your own goes before the run in `conceptseg report NAME=RUN`."
        )


def _by_task(run: Run, columns: Sequence[str]) -> dict[str, list[Cell]]:
    """Metric → a cell a column, a column being a task or a level."""
    scores = leaf_scores(run)
    means = {task: part.mean() for task, part in scores.by("task").items() if task in LEAF_TASKS}
    means |= {level: part.macro_mean("task") for level, part in scores.by("level").items()}
    return {
        metric: [per_cent(means[name][metric]) if name in means else None for name in columns]
        for metric in PRINTED_METRICS
    }


def _any(cells: Sequence[Cell]) -> bool:
    return any(cell is not None for cell in cells)
