"""From runs to a report: one page that says which is better, the paper's tables where they apply, CSV and LaTeX.

    report = write_report([load_run("runs/nano"), load_run("runs/sam3")], Path("report"))

Published numbers stand in rows marked `paper`, ours in rows marked `ours` with what they were measured on; no row holds
both. The paper's tables are made of what was measured on its benchmarks, and of nothing else.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

from conceptseg.errors import ConceptSegError, InputError
from conceptseg.evaluation.decomposition import Decomposition, decompose
from conceptseg.evaluation.report.external import table_2, table_3
from conceptseg.evaluation.report.figures import plot_bars, plot_calibration, plot_curves
from conceptseg.evaluation.report.gallery import draw_questions
from conceptseg.evaluation.report.methods import table_1, table_4, table_8, table_9
from conceptseg.evaluation.report.overview import overview
from conceptseg.evaluation.report.page import render_page
from conceptseg.evaluation.report.robustness import figure_7, table_10, table_11, table_12
from conceptseg.evaluation.report.scoreboard import Standing, headline, scoreboard, standings
from conceptseg.evaluation.runs import Run
from conceptseg.evaluation.sources import published_sets
from conceptseg.evaluation.tables import Origin, Table
from conceptseg.files import replacing

__all__ = ["PAPER_TABLES", "Report", "paper_tables", "write_report"]

PAPER_TABLES: tuple[Callable[[Sequence[Run]], Table], ...] = (
    *(table_1, table_2, table_3, table_4, table_8, table_9, table_10, table_11, table_12),
    figure_7,
)
"""The paper's tables in its order, each made from runs."""


@dataclass(frozen=True)
class Report:
    """What was written."""

    page: Path
    """The page to open: `report.html`; `report.md` beside it has its tables."""
    headline: str
    """Which run is better, by how much, and whether that is more than chance."""
    left_out: tuple[str, ...]
    """Parts that could not be made, each with the reason."""


def write_report(runs: Sequence[Run], out: Path, *, gallery: bool = True) -> Report:
    """Write `report.html`, `report.md`, `csv/`, `latex/` and `figures/`.

    Args:
        runs: in the order of the rows, all against the first; runs of one label get their folder's name added, folders
            of one name a number.
        out: created if needed; files of an earlier report are replaced.
        gallery: whether to show answers, for which the data must be at hand.

    Raises:
        InputError: there are no runs, or nothing can be written there.
    """
    if not runs:
        raise InputError("A report needs at least one run.")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"Cannot write to {out}: {error.strerror}. Choose another --out.") from error
    names = _folder_names(runs)
    runs = _told_apart(runs, names)
    standing = standings(runs)
    judged = [(run, decompose(run.rows)) for run in runs]
    paper = paper_tables(runs)
    own = [overview(run) for run in runs] + [d.table(run.label, run.note) for run, d in judged if d.verdicts]
    tables = [scoreboard(standing), *paper, *own]
    _write(out / "report.md", _markdown(standing, runs, tables, has_paper=bool(paper)))
    for name, table in _named(tables).items():
        _write(out / "csv" / f"{name}.csv", table.to_csv())
        _write(out / "latex" / f"{name}.tex", table.to_latex())
    left_out = _attempt(lambda: _draw(paper, judged, names, out / "figures"), "figures")
    shown: list[tuple[str, Sequence[str]]] = []
    left_out += _attempt(lambda: shown.append(draw_questions(runs)), "gallery") if gallery else []
    _write(out / "report.html", render_page(standing, shown[0] if shown else None, [*paper, *own]))
    return Report(out / "report.html", headline(standing), tuple(left_out))


def paper_tables(runs: Sequence[Run]) -> list[Table]:
    """The paper's tables that any of these runs has a row in, from what they measured on its benchmarks."""
    published = []
    for run in runs:
        sets = published_sets(run.config.data)
        rows = [row for row in run.rows if row["data"] in sets]
        published += [replace(run, rows=rows)] if rows else []
    tables = [make(published) for make in PAPER_TABLES] if published else []
    return [table for table in tables if any(row.origin is Origin.OURS for row in table.rows)]


def _told_apart(runs: Sequence[Run], names: Sequence[str]) -> list[Run]:
    """Runs under labels that occur once."""
    counts = Counter(run.label for run in runs)
    return [
        replace(run, label=f"{run.label} [{name}]") if counts[run.label] > 1 else run
        for run, name in zip(runs, names, strict=True)
    ]


def _folder_names(runs: Sequence[Run]) -> list[str]:
    """A name a run, for its files."""
    return _numbered([run.folder.resolve().name for run in runs])


def _numbered(names: Sequence[str]) -> list[str]:
    """Names of which none occurs twice: a second "run" becomes "run_2"."""
    given: list[str] = []
    for name in names:
        again = (name if number == 1 else f"{name}_{number}" for number in count(1))
        given.append(next(candidate for candidate in again if candidate not in given))
    return given


def _named(tables: Sequence[Table]) -> dict[str, Table]:
    """File name → table."""
    return dict(zip(_numbered([table.name for table in tables]), tables, strict=True))


def _markdown(standing: Sequence[Standing], runs: Sequence[Run], tables: Sequence[Table], *, has_paper: bool) -> str:
    published = (
        "Rows marked **paper** are printed in arXiv:2605.20385v1, measured by its authors on the full benchmarks in "
        "its own protocol; rows marked **ours** were measured here. Numbers of different data or protocols do not "
        "compare.\n\n"
    )
    protocols = " and ".join(sorted({run.config.protocol for run in runs}))
    notes = "\n".join(f"- {run.label}: {run.note}" for run in runs)
    head = f"# {headline(standing)}\n\n{published if has_paper else ''}"
    head += f"Protocol {protocols} (docs/metrics.md).\n\n{notes}\n\n"
    return head + "\n".join(table.to_markdown() for table in tables)


def _draw(
    tables: Sequence[Table], judged: Sequence[tuple[Run, Decomposition]], names: Sequence[str], folder: Path
) -> None:
    """Figures of more than one point: bars beside the paper's, curves, calibration."""
    by_name = {table.name: table for table in tables}
    if "table_01" in by_name:
        plot_bars(by_name["table_01"], "mIoU", folder / "table_01.png")
    if "figure_07" in by_name and len(by_name["figure_07"].rows) > 1:
        plot_curves(by_name["figure_07"], folder / "figure_07.png")
    for (run, decomposition), name in zip(judged, names, strict=True):
        if decomposition.calibration is not None and len(decomposition.calibration.bins) > 1:
            plot_calibration(decomposition.calibration, run.label, folder / f"calibration_{name}.png")


def _attempt(make: Callable[[], object], what: str) -> list[str]:
    """Nothing, or why a part could not be made: the tables are worth having without it."""
    try:
        make()
    except (ConceptSegError, OSError) as error:
        return [f"{what}: {error}"]
    return []


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as fresh:
        fresh.write_text(text, encoding="utf-8")
