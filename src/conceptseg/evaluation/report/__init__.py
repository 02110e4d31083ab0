"""From runs to the paper's tables: Markdown, CSV, LaTeX, plots, and a gallery a run.

    report = write_report([load_run("runs/nano"), load_run("runs/sam3")], Path("report"))

Published numbers stand in rows marked `paper`, ours in rows marked `ours` with what they were measured on; no row holds
both.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from pathlib import Path

from conceptseg.errors import ConceptSegError, InputError
from conceptseg.evaluation.decomposition import Decomposition, decompose
from conceptseg.evaluation.report.external import table_2, table_3
from conceptseg.evaluation.report.figures import plot_bars, plot_calibration, plot_curves
from conceptseg.evaluation.report.gallery import write_gallery
from conceptseg.evaluation.report.methods import table_1, table_4, table_8, table_9
from conceptseg.evaluation.report.overview import overview
from conceptseg.evaluation.report.robustness import figure_7, table_10, table_11, table_12
from conceptseg.evaluation.runs import Run
from conceptseg.evaluation.tables import Table
from conceptseg.files import replacing

__all__ = ["PAPER_TABLES", "Report", "write_report"]

PAPER_TABLES: tuple[Callable[[Sequence[Run]], Table], ...] = (
    *(table_1, table_2, table_3, table_4, table_8, table_9, table_10, table_11, table_12),
    figure_7,
)
"""The paper's tables in its order, each made from runs."""


@dataclass(frozen=True)
class Report:
    """What was written."""

    page: Path
    """All tables in Markdown."""
    left_out: tuple[str, ...]
    """Parts that could not be made, each with the reason."""


def write_report(runs: Sequence[Run], out: Path, *, gallery: bool = True) -> Report:
    """Write `report.md`, `csv/`, `latex/`, `figures/` and `gallery/`.

    Args:
        runs: in the order of the rows; runs of one label get their folder's name added, folders of one name a number.
        out: created if needed; files of an earlier report are replaced.
        gallery: whether to write the galleries, for which the data must be at hand.

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
    judged = [(run, decompose(run.rows)) for run in runs]
    tables = [make(runs) for make in PAPER_TABLES]
    own = [overview(run) for run in runs] + [d.table(run.label, run.note) for run, d in judged if d.verdicts]
    _write(out / "report.md", _page(runs, [*tables, *own]))
    for name, table in _named([*tables, *own]).items():
        _write(out / "csv" / f"{name}.csv", table.to_csv())
        _write(out / "latex" / f"{name}.tex", table.to_latex())
    left_out = _attempt(lambda: _draw(tables, judged, names, out / "figures"), "figures")
    for run, name in zip(runs, names, strict=True) if gallery else ():
        page = out / "gallery" / f"{name}.html"
        left_out += _attempt(partial(write_gallery, run, page), f"gallery of {run.label}")
    return Report(out / "report.md", tuple(left_out))


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


def _page(runs: Sequence[Run], tables: Sequence[Table]) -> str:
    protocols = sorted({run.config.protocol for run in runs})
    lines = [
        "# Evaluation report",
        "",
        "Rows marked **paper** are printed in arXiv:2605.20385v1, measured by its authors on the full benchmarks in "
        "its own protocol. Rows marked **ours** were measured here, on what their note says, by protocol "
        f"{' and '.join(protocols)} (docs/metrics.md). Numbers of different data or protocols do not compare.",
        "",
        *(f"- {run.label}: {run.note}" for run in runs),
        "",
    ]
    return "\n".join(lines) + "\n" + "\n".join(table.to_markdown() for table in tables)


def _draw(
    tables: Sequence[Table], judged: Sequence[tuple[Run, Decomposition]], names: Sequence[str], folder: Path
) -> None:
    by_name = {table.name: table for table in tables}
    plot_bars(by_name["table_01"], "mIoU", folder / "table_01.png")
    if by_name["figure_07"].rows:
        plot_curves(by_name["figure_07"], folder / "figure_07.png")
    for (run, decomposition), name in zip(judged, names, strict=True):
        if decomposition.calibration is not None:
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
