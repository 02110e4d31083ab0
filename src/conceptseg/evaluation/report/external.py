"""Tables 2 and 3: Cityscapes by class, ReasonSeg by split."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from conceptseg.evaluation.report.comparing import our_row, paper_row, per_cent
from conceptseg.evaluation.report.paper import paper_table
from conceptseg.evaluation.runs import Run
from conceptseg.evaluation.tables import Cell, Column, Table

__all__ = ["table_2", "table_3"]


def table_2(runs: Sequence[Run]) -> Table:
    """IoU a class over the whole set (ΣI / ΣU), and its mean over the classes once all are there."""
    printed = paper_table(2)
    rows = [paper_row(row["method"], row["values"]) for row in printed["rows"]]
    for run in runs:
        parts = run.accumulate(row for row in run.rows if row["data"].startswith("cityscapes/"))
        if len(parts):
            of_class = {name: part.ciou() for name, part in parts.by("concept").items()}
            known = [per_cent(of_class.get(name)) for name in printed["columns"][:-1]]
            whole = [value for value in known if value is not None]
            cells: list[Cell] = [*known, fmean(whole) if len(whole) == len(known) else None]
            rows.append(our_row(run, cells, label=f"{run.label}, overlaps {run.config.overlaps}"))
    remark = "The paper does not say what becomes of pixels that two classes claim; ours names it."
    return Table(
        "table_02", printed["title"], [Column(name, best="highest") for name in printed["columns"]], rows, [remark]
    )


def table_3(runs: Sequence[Run]) -> Table:
    """gIoU and cIoU on the validation and test pictures."""
    printed = paper_table(3)
    rows = [paper_row(row["method"], row["values"]) for row in printed["rows"]]
    for run in runs:
        cells: list[Cell] = []
        for split in ("val", "test"):
            part = run.accumulate(row for row in run.rows if row["data"] == f"reasonseg/{split}")
            cells += [per_cent(part.giou()), per_cent(part.ciou())] if len(part) else [None, None]
        if any(cell is not None for cell in cells):
            rows.append(our_row(run, cells, label=f"{run.label}, ignored pixels: {run.config.ignore_as}"))
    names = {"giou": "gIoU", "ciou": "cIoU"}
    columns = [Column(names[metric], f"ReasonSeg-{split}", best="highest") for split, metric in printed["columns"]]
    remark = "Published methods differ in what they do with ignored pixels: LISA leaves them out, others count them."
    return Table("table_03", printed["title"], columns, rows, [remark])
