"""A table of numbers for people and for papers: one content, written as Markdown, CSV and LaTeX.

Every row says whose it is. Published numbers and ours never share a row, and a reader of any of the three forms sees
which is which.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from html import escape
from typing import Literal

__all__ = ["Cell", "Column", "Origin", "Row", "Table"]

Cell = float | str | None
"""A number in the unit of the table, words, or nothing known."""

_MATHS = {"F_β^ω": r"$F_\beta^\omega$", "S_m": "$S_m$"}
_LATEX = str.maketrans(
    {c: f"\\{c}" for c in "&%$#_{}"} | {"±": r"$\pm$", "^": r"\textasciicircum{}", "~": r"\textasciitilde{}"}
)


class Origin(str, Enum):
    """Whose numbers a row holds."""

    PAPER = "paper"
    """As printed in arXiv 2605.20385."""
    OURS = "ours"
    """Measured here; the row's note says of what."""


@dataclass(frozen=True)
class Column:
    """One column of numbers."""

    title: str
    group: str = ""
    """The heading that it stands under with its neighbours."""
    decimals: int = 1
    best: Literal["highest", "lowest"] | None = None
    """Which of its numbers is set in bold; None for none, as where numbers have no better."""

    def show(self, cell: Cell) -> str:
        """A cell as it is printed."""
        if cell is None:
            return "–"
        return cell if isinstance(cell, str) else f"{round(cell, self.decimals) + 0.0:.{self.decimals}f}"  # no -0.00

    def best_of(self, cells: Sequence[Cell]) -> frozenset[Cell]:
        """The best of several numbers; empty where none is better, or there is one only."""
        numbers = [cell for cell in cells if isinstance(cell, float)]
        if self.best is None or len(numbers) < 2:
            return frozenset()
        return frozenset({max(numbers) if self.best == "highest" else min(numbers)})


@dataclass(frozen=True)
class Row:
    """One line, and where it comes from."""

    label: str
    origin: Origin
    cells: Sequence[Cell]
    section: str = ""
    """The block of the table that it stands in, e.g. "(b) Meta-GRPO component"."""
    note: str = ""
    """What the numbers were measured on and how."""


@dataclass(frozen=True)
class Table:
    """Rows under columns, with a title and the protocols that the numbers follow."""

    name: str
    """For files, e.g. "table_01"."""
    title: str
    columns: Sequence[Column]
    rows: Sequence[Row]
    remarks: Sequence[str] = ()
    """Sentences below the table."""

    def to_markdown(self) -> str:
        """GitHub's tables: a line with the groups of columns, where there are any, in front of the titles."""
        titles = [f"{c.group}: {c.title}" if c.group else c.title for c in self.columns]
        lines = [f"## {self.title}", "", _bar(["method", "source", *titles]), _bar(["---"] * 2 + ["--:"] * len(titles))]
        section = ""
        for row in self.rows:
            if row.section and row.section != section:
                lines.append(_bar([f"**{row.section}**", *[""] * (len(titles) + 1)]))
            section = row.section
            cells = [column.show(cell) for column, cell in zip(self.columns, row.cells, strict=True)]
            lines.append(_bar([row.label.replace("|", "\\|"), _mark(row, self._notes()), *cells]))
        lines += ["", *(f"[{number}] {note}  " for note, number in self._notes().items()), *self.remarks]
        return "\n".join(lines).rstrip() + "\n"

    def to_csv(self) -> str:
        """All digits, with the columns section, method, source and note in front."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        titles = [f"{c.group}: {c.title}" if c.group else c.title for c in self.columns]
        writer.writerow(["section", "method", "source", "note", *titles])
        for row in self.rows:
            cells = ["" if cell is None else cell for cell in row.cells]
            writer.writerow([row.section, row.label, row.origin.value, row.note, *cells])
        return out.getvalue()

    def to_latex(self) -> str:
        """A `table` environment for booktabs; ours are set in italics, the best of a column and section in bold."""
        notes, bests = self._notes(), self._bests()
        titles = [_tex(column.title) for column in self.columns]
        groups = self._group_headings()
        lines = [r"\begin{table}", r"\centering", rf"\caption{{{_tex(self.title)}}}"]
        lines += [rf"\begin{{tabular}}{{ll{'r' * len(titles)}}}", r"\toprule"]
        lines += [" & ".join(["", "", *groups]) + r" \\"] if any(groups) else []
        lines += [" & ".join(["Method", "Source", *titles]) + r" \\", r"\midrule"]
        section = ""
        for row in self.rows:
            if row.section and row.section != section:
                lines.append(rf"\multicolumn{{{len(titles) + 2}}}{{l}}{{\textbf{{{_tex(row.section)}}}}} \\")
            section = row.section
            cells = [
                rf"\textbf{{{_tex(column.show(cell))}}}" if cell in best else _tex(column.show(cell))
                for column, cell, best in zip(self.columns, row.cells, bests[row.section], strict=True)
            ]
            text = [_tex(row.label), _tex(_mark(row, notes)), *cells]
            text = [rf"\textit{{{cell}}}" for cell in text] if row.origin is Origin.OURS else text
            lines.append(" & ".join(text) + r" \\")
        lines += [r"\bottomrule", r"\end{tabular}"]
        lines += [rf"\par\footnotesize [{number}] {_tex(note)}" for note, number in notes.items()]
        lines += [rf"\par\footnotesize {_tex(remark)}" for remark in self.remarks]
        return "\n".join([*lines, r"\end{table}"]) + "\n"

    def to_html(self) -> str:
        """A `<table>` with its title and notes; the best of a column and section in bold."""
        notes, bests = self._notes(), self._bests()
        titles = [f"{c.group}: {c.title}" if c.group else c.title for c in self.columns]
        head = "".join(f"<th>{escape(title)}</th>" for title in ("", "source", *titles))
        lines, section = [], ""
        for row in self.rows:
            if row.section and row.section != section:
                lines.append(f'<tr class="section"><td colspan="{len(titles) + 2}">{escape(row.section)}</td></tr>')
            section = row.section
            cells = [
                f"<td>{'<b>' if cell in best else ''}{escape(column.show(cell))}{'</b>' if cell in best else ''}</td>"
                for column, cell, best in zip(self.columns, row.cells, bests[row.section], strict=True)
            ]
            name = f"<th>{escape(row.label)}</th><td>{escape(_mark(row, notes))}</td>"
            lines.append(f'<tr class="{row.origin.value}">{name}{"".join(cells)}</tr>')
        told = "".join(f"<li>{escape(note)}</li>" for note in notes)
        remarks = "".join(f"<p>{escape(remark)}</p>" for remark in self.remarks)
        return f"<table><thead><tr>{head}</tr></thead>{''.join(lines)}</table><ol>{told}</ol>{remarks}"

    def _bests(self) -> Mapping[str, Sequence[frozenset[Cell]]]:
        """Section → the best cell of each column, where one is better and there is more than one to choose from."""
        found: dict[str, list[frozenset[Cell]]] = {}
        for section in {row.section for row in self.rows}:
            rows = [row for row in self.rows if row.section == section]
            found[section] = [
                column.best_of([row.cells[place] for row in rows]) for place, column in enumerate(self.columns)
            ]
        return found

    def _notes(self) -> Mapping[str, int]:
        """Note → its number, in the order of first use."""
        notes = dict.fromkeys(row.note for row in self.rows if row.note)
        return {note: number for number, note in enumerate(notes, start=1)}

    def _group_headings(self) -> list[str]:
        """One LaTeX cell a group of columns, spanning them."""
        headings: list[tuple[str, int]] = []
        for column in self.columns:
            if headings and headings[-1][0] == column.group:
                headings[-1] = (column.group, headings[-1][1] + 1)
            else:
                headings.append((column.group, 1))
        if not any(group for group, _ in headings):
            return []
        return [rf"\multicolumn{{{span}}}{{c}}{{{_tex(group)}}}" for group, span in headings]


def _bar(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _mark(row: Row, notes: Mapping[str, int]) -> str:
    return row.origin.value + (f" [{notes[row.note]}]" if row.note else "")


def _tex(text: str) -> str:
    return _MATHS.get(text) or text.replace("\\", "/").translate(_LATEX)
