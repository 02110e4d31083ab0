"""Plots from the tables' own rows: what the paper printed is hatched, what was measured here is solid."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from conceptseg.errors import MissingExtraError
from conceptseg.evaluation.decomposition import Calibration
from conceptseg.evaluation.tables import Column, Origin, Row, Table
from conceptseg.files import replacing

__all__ = ["plot_bars", "plot_calibration", "plot_curves"]


def plot_bars(table: Table, metric: str, path: Path) -> None:
    """One bar a row, over the groups of columns.

    Args:
        table: with columns under groups.
        metric: the title of the columns to show.
        path: a PNG.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    shown = [place for place, column in enumerate(table.columns) if column.title == metric]
    with _figure(path, width=12) as axes:
        width = 0.8 / max(1, len(table.rows))
        for number, row in enumerate(table.rows):
            values = [_height(row, place) for place in shown]
            places = [x + (number - (len(table.rows) - 1) / 2) * width for x in range(len(shown))]
            axes.bar(places, values, width, label=_name(row), hatch="//" if row.origin is Origin.PAPER else None)
        axes.set_xticks(range(len(shown)), [table.columns[place].group for place in shown], rotation=20, ha="right")
        axes.set_ylabel(f"{metric}, %")
        axes.set_title(table.title)
        axes.figure.legend(loc="outside lower center", fontsize=7, ncols=4)


def plot_curves(table: Table, path: Path) -> None:
    """Every column over the first one, e.g. Figure 7.

    Args:
        table: whose first column is the horizontal axis.
        path: a PNG.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    first, *others = table.columns
    with _figure(path) as axes:
        for place, column in enumerate(others, start=1):
            points = [(row.cells[0], row.cells[place]) for row in table.rows if row.cells[place] is not None]
            if points:
                axes.plot(*zip(*points, strict=True), marker="o", label=_heading(column))
        axes.set_xscale("log", base=2)
        axes.set_xlabel(first.title)
        axes.set_ylabel("%")
        axes.set_title(f"{table.title} (ours)")
        axes.legend(fontsize=7)


def plot_calibration(calibration: Calibration, label: str, path: Path) -> None:
    """The mask's mean IoU over the check's, by tenths; points on the diagonal tell the truth.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    with _figure(path) as axes:
        checks, masks = [bin_[1] for bin_ in calibration.bins], [bin_[2] for bin_ in calibration.bins]
        axes.plot([0, 1], [0, 1], color="grey", linewidth=0.8)
        axes.scatter(checks, masks, s=[20 + 180 * bin_[0] / calibration.count for bin_ in calibration.bins])
        axes.set_xlabel("IoU of the check with the withheld box")
        axes.set_ylabel("IoU of the mask with the truth")
        axes.set_title(f"{label}: {calibration.count} samples, error {calibration.error:.2f}", fontsize=9)


@contextmanager
def _figure(path: Path, width: float = 6) -> Iterator[Any]:
    """Axes to draw on, saved when the block ends."""
    try:
        from matplotlib import colormaps
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtraError("Figures need matplotlib: pip install 'conceptseg[train]'.") from None
    figure = Figure(figsize=(width, 4.5), layout="constrained")
    axes = figure.subplots()
    axes.set_prop_cycle(color=list(colormaps["tab20"](range(20))))
    yield axes
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as fresh:
        figure.savefig(fresh, dpi=150)


def _height(row: Row, place: int) -> float:
    cell = row.cells[place]
    return cell if isinstance(cell, float) else 0.0


def _name(row: Row) -> str:
    return f"{row.label} ({row.origin.value})"


def _heading(column: Column) -> str:
    return f"{column.group}, {column.title}" if column.group else column.title
