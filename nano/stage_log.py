"""The log of a stage: a CSV that survives kills, resumed runs and numbers that are new since it began."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from conceptseg.files import replacing

__all__ = ["StageLog", "names_of", "read_log"]


def read_log(path: Path) -> list[dict[str, float]]:
    """What a stage has logged, one dictionary a line; a line that a kill cut short is left out."""
    return [{key: float(value) for key, value in row.items()} for row in _read_rows(path)]


class StageLog:
    """A log that lines are added to, one number a column, with `step` among them.

    Args:
        path: the CSV; lines that stand there already are kept, if they are whole.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._rows = _read_rows(path)

    def cut_after(self, step: int) -> None:
        """Forget the lines after a step: what was logged after the last save is trained, and logged, once more."""
        self._rows = [row for row in self._rows if float(row["step"]) <= step]
        if self.path.exists():
            _write_rows(self.path, self._rows)

    def write(self, row: dict[str, str]) -> None:
        """Add a line; where it has a number that no line had, the file is written anew with a header that fits all."""
        names = names_of(self._rows)
        self._rows.append(row)
        if not names or not {*row} <= {*names}:
            _write_rows(self.path, self._rows)
            return
        with self.path.open("a", newline="", encoding="utf-8") as file:
            csv.DictWriter(file, fieldnames=names).writerow(row)


def _read_rows(path: Path) -> list[dict[str, str]]:
    """The lines of a log that are whole: as many numbers as the header has names. What was not measured is left out."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        lines = list(csv.DictReader(file))
    whole = (line for line in lines if None not in line and all(map(_is_number_or_empty, line.values())))
    return [{key: value for key, value in line.items() if value} for line in whole if line.get("step")]


def _is_number_or_empty(cell: str | None) -> bool:
    try:
        float(cell or 0)
    except ValueError:
        return False
    return cell is not None


def names_of(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """What any of the lines has a number for, each once, in the order of its first appearance."""
    return list(dict.fromkeys(name for row in rows for name in row))


def _write_rows(path: Path, rows: Sequence[dict[str, str]]) -> None:
    with replacing(path) as fresh, fresh.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=names_of(rows))
        writer.writeheader()
        writer.writerows(rows)
