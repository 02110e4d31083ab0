"""What one run says at a glance: a row a set and task, with what the tables of the paper leave out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import Any

from conceptseg.evaluation.decomposition import answer_is_right, rule_is_right
from conceptseg.evaluation.runs import Run
from conceptseg.evaluation.tables import Cell, Column, Origin, Row, Table
from conceptseg.metrics import Accumulator
from conceptseg.taxonomy import TASKS

__all__ = ["overview", "summarise"]

_Rows = Sequence[Mapping[str, Any]]


def overview(run: Run) -> Table:
    """Counts, scores, and how well the responses do, by set and task; × 100 except counts and seconds.

    Columns: questions n, failed, share answered by SAM 3 alone; IoU, mIoU and its standard error; of the reasoned
    ones, how many responses are well-formed, rules and answers right (where the truth is known), the IoU of box and
    check; seconds a question.
    """
    ordered = sorted(run.rows, key=_place)
    rows = [
        Row(f"{data} · {task}", Origin.OURS, [*summarise(group).values()])
        for (data, task), group in ((key, list(group)) for key, group in groupby(ordered, key=_cell))
    ]
    columns = [Column(title, decimals=_DECIMALS.get(title, 1)) for title in _MEASURES]
    return Table("overview", f"{run.label} by set and task", columns, rows, [run.note])


def summarise(rows: Sequence[Mapping[str, Any]]) -> dict[str, Cell]:
    """The columns of `overview` for any rows; None where nothing is known."""
    return {title: measure(rows) for title, measure in _MEASURES.items()}


def _cell(row: Mapping[str, Any]) -> tuple[str, str]:
    return row["data"], row["task"]


def _place(row: Mapping[str, Any]) -> tuple[str, int]:
    return row["data"], TASKS.index(row["task"])


def _mean(rows: _Rows, value: Callable[[Mapping[str, Any]], float | bool | None], scale: float = 100) -> Cell:
    """The mean over the rows that have the value; None where none has."""
    values = [float(found) for row in rows if (found := value(row)) is not None]
    return scale * sum(values) / len(values) if values else None


def _standard_error(rows: _Rows) -> Cell:
    """Of the mean mIoU; None below two rows."""
    if len(rows) < 2:
        return None
    accumulator = Accumulator()
    for row in rows:
        accumulator.add(row)
    return 100 * accumulator.standard_error()["miou"]


def _route_share(rows: _Rows) -> Cell:
    return _mean(rows, lambda row: row.get("route") == "direct")


def _seconds(rows: _Rows) -> Cell:
    return _mean(rows, lambda row: sum(row["timings"].values()) if row.get("timings") else None, scale=1)


_MEASURES: Mapping[str, Callable[[_Rows], Cell]] = {
    "n": lambda rows: float(len(rows)),
    "failed": lambda rows: float(sum(row["error"] is not None for row in rows)),
    "direct": _route_share,
    "IoU": lambda rows: _mean(rows, lambda row: row["iou"]),
    "mIoU": lambda rows: _mean(rows, lambda row: row["miou"]),
    "±": _standard_error,
    "valid": lambda rows: _mean(rows, lambda row: row.get("valid")),
    "rule": lambda rows: _mean(rows, lambda row: rule_is_right(row) if row.get("response") is not None else None),
    "answer": lambda rows: _mean(rows, lambda row: answer_is_right(row) if row.get("response") is not None else None),
    "box IoU": lambda rows: _mean(rows, lambda row: row.get("box_iou")),
    "check IoU": lambda rows: _mean(rows, lambda row: row.get("check_iou")),
    "s": _seconds,
}
_DECIMALS = {"n": 0, "failed": 0, "s": 2}
