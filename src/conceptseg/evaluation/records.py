"""The rows of a run on disk: one JSON line an image, appended and never changed, whole after any number of kills."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import NoneType, TracebackType
from typing import Any

from filelock import FileLock

from conceptseg.digests import digest_of
from conceptseg.errors import InputError
from conceptseg.files import lock_for_writing
from conceptseg.ledger import LOCK_FILE, Appender, make_folder, read_object, refuse_other_kinds, write_object
from conceptseg.ledger import read_rows as read_lines
from conceptseg.metrics import failed_row
from conceptseg.taxonomy import TASKS

__all__ = [
    "CONFIG_FILE",
    "KeptRows",
    "RowWriter",
    "claimed",
    "mask_path",
    "read_config",
    "read_kept",
    "read_rows",
    "write_config",
]

CONFIG_FILE = "run.json"
"""What was asked, of what checkpoint, by which versions."""

_ROWS = "rows-{rank:03d}.jsonl"
_SCORES = frozenset(failed_row())
_TEXTS = ("error", "group", "route", "response", "rule", "answer", "true_rule", "true_answer")
_NUMBERS = ("presence", "threshold", "check_iou", "box_iou")
_ANSWERED = frozenset({"error", "response", "rule", "answer", "true_rule", "true_answer", "check_iou", "box_iou"})
_SECTIONS = ("config", "checkpoint", "software", "questions")


class RowWriter:
    """Appends rows to the file of one process.

    A line that an earlier process could not finish is cut off first. While the writer is open, no other process can
    open the same file: two runs of one command would count images twice.

    Raises:
        InputError: another process is writing, or nothing can be written.
    """

    def __init__(self, folder: Path, rank: int = 0) -> None:
        make_folder(folder)
        self._lock = lock_for_writing(folder, f"{LOCK_FILE}-{rank:03d}" if rank else LOCK_FILE)
        try:
            self._file = Appender(folder / _ROWS.format(rank=rank))
        except InputError:
            self._lock.release()
            raise

    def __enter__(self) -> RowWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        self._lock.release()

    def write(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Add rows, for good; see `conceptseg.ledger.Appender.append`.

        Raises:
            ValueError: a row holds NaN or infinity.
        """
        self._file.append(rows)


@dataclass(frozen=True)
class KeptRows:
    """What a folder holds of a run."""

    rows: list[dict[str, Any]]
    """Every image's row once, by data set in the order of its samples."""
    unusable: int
    """Lines that are none of ours or are damaged; a line that a kill cut off does not count."""


def read_kept(folder: Path) -> KeptRows:
    """Read all rows of a folder.

    Where an image has several lines, the highest `revision` counts; among equals one without an error goes before one
    with, then the last one.

    Raises:
        InputError: a file of rows cannot be read.
    """
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    unusable = 0
    for path in sorted(folder.glob(_ROWS.replace("{rank:03d}", "*"))):
        contents = read_lines(path, _is_row)
        unusable += contents.unusable
        for row in contents.rows:
            key = (row["data"], row["id"])
            if key not in rows or _rank(row) >= _rank(rows[key]):
                rows[key] = row
    return KeptRows(sorted(rows.values(), key=lambda row: (row["data"], row["index"])), unusable)


def read_rows(folder: Path) -> list[dict[str, Any]]:
    """Every image's row once, see `read_kept`."""
    return read_kept(folder).rows


def mask_path(folder: Path, row: Mapping[str, Any]) -> Path:
    """Where the prediction of a row lies, if predictions were kept: a PNG of one bit a pixel.

    The folder has the set's name; where that is no name for a folder it has a digest besides, so that no two sets share
    one.
    """
    name = re.sub(r"[^\w.-]+", "_", row["data"]).lstrip(".") or "_"
    if name != row["data"]:
        name += f"-{digest_of(row['data'])[:8]}"
    return folder / "masks" / name / f"{row['index']:06d}.png"


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """A run's folder, created if needed, for one process at a time; others wait.

    Raises:
        InputError: nothing can be written there, or it holds something else than an evaluation.
    """
    make_folder(folder)
    refuse_other_kinds(folder, CONFIG_FILE)
    with FileLock(folder / ".run.lock"):
        yield


def write_config(folder: Path, record: Mapping[str, Any]) -> None:
    """Write what a run is about."""
    make_folder(folder)
    write_object(folder / CONFIG_FILE, record)


def read_config(folder: Path) -> dict[str, Any] | None:
    """What a run is about; None where there is no run.

    Raises:
        InputError: the file is damaged.
    """
    path = folder / CONFIG_FILE
    record = read_object(path)
    if record is None:
        return None
    wrong = [name for name in _SECTIONS if not isinstance(record.get(name), dict)]
    if wrong or not all(type(count) is int for count in record["questions"].values()):
        raise InputError(f"{path} is not the record of an evaluation run: {', '.join(wrong) or 'questions'} missing.")
    return record


def _rank(row: Mapping[str, Any]) -> tuple[int, bool]:
    return row.get("revision", 0), row["error"] is None


def _is_row(row: Mapping[str, Any]) -> bool:
    """Whether all that tables, gallery and resuming rely on is there and of its kind."""
    needed = _ANSWERED if row.get("error", "") is None else frozenset({"error"})
    timings, notes = row.get("timings", {}), row.get("notes", [])
    return (
        needed <= row.keys()
        and all(isinstance(row.get(name), str) for name in ("data", "id", "concept"))
        and row.get("task") in TASKS
        and all(isinstance(row.get(name), (str, NoneType)) for name in _TEXTS)
        and all(_is_number(row.get(name)) for name in _SCORES)
        and all(row.get(name) is None or _is_number(row[name]) for name in _NUMBERS)
        and all(type(row.get(name, 0)) is int and row.get(name, 0) >= 0 for name in ("index", "revision"))
        and "index" in row
        and (timings is None or (isinstance(timings, dict) and all(map(_is_number, timings.values()))))
        and isinstance(notes, list)
        and all(isinstance(note, str) for note in notes)
        and isinstance(row.get("state") or {}, dict)
    )


def _is_number(value: object) -> bool:
    """A finite number that fits a float; JSON as Python reads it also has NaN, and integers of any length."""
    return (type(value) is int and abs(value) < 1 << 63) or (isinstance(value, float) and math.isfinite(value))
