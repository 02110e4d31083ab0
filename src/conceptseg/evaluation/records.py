"""The rows of a run on disk: one JSON line an image, appended and never changed, whole after any number of kills."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from filelock import FileLock

from conceptseg.errors import InputError
from conceptseg.files import lock_for_writing, replacing

__all__ = ["CONFIG_FILE", "RowWriter", "claimed", "mask_path", "read_config", "read_rows", "write_config"]

CONFIG_FILE = "run.json"
"""What was asked, of what checkpoint, by which versions."""

_ROWS = "rows-{rank:03d}.jsonl"


class RowWriter:
    """Appends rows to the file of one process.

    A line that an earlier process could not finish is cut off first. While the writer is open, no other process can
    open the same file: two runs of one command would count images twice.

    Raises:
        InputError: another process is writing.
    """

    def __init__(self, folder: Path, rank: int = 0) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / _ROWS.format(rank=rank)
        self._lock = lock_for_writing(folder, f".{self._path.name}.lock")
        self._file = self._path.open("ab", buffering=0)
        self._file.truncate(len(_whole_lines(self._path)))

    def __enter__(self) -> RowWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        self._lock.release()

    def write(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Add rows, for good: they are on disk when this returns. One call is one write, so a kill takes all or none.

        What UTF-8 cannot hold, such as parts of odd file names, is written as JSON's escapes and comes back the same.

        Raises:
            ValueError: a row holds NaN or infinity.
        """
        lines = "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows)
        self._file.write(lines.encode("utf-8", "backslashreplace"))
        os.fsync(self._file.fileno())


def read_rows(folder: Path) -> list[dict[str, Any]]:
    """Every image's row once, by data set in the order of its samples.

    Where an image has several lines, one without an error goes before one with, then the last one counts. Lines that
    were cut off, or are none of ours, are dropped.
    """
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for path in sorted(folder.glob(_ROWS.replace("{rank:03d}", "*"))):
        for row in _parsed_lines(path):
            key = (row["data"], row["id"])
            if key not in rows or row.get("error") is None or rows[key].get("error") is not None:
                rows[key] = row
    return sorted(rows.values(), key=lambda row: (row["data"], row["index"]))


def mask_path(folder: Path, row: Mapping[str, Any]) -> Path:
    """Where the prediction of a row lies, if predictions were kept: a PNG of one bit a pixel."""
    return folder / "masks" / re.sub(r"[^\w.-]+", "_", row["data"]) / f"{row['index']:06d}.png"


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """A run's folder, created if needed, for one process at a time; others wait.

    Raises:
        InputError: nothing can be written there.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"Cannot write to {folder}: {error.strerror}. Choose another --out.") from error
    with FileLock(folder / ".run.lock"):
        yield


def write_config(folder: Path, record: Mapping[str, Any]) -> None:
    """Write what a run is about."""
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(folder / CONFIG_FILE) as fresh:
        fresh.write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def read_config(folder: Path) -> dict[str, Any] | None:
    """What a run is about; None where there is no run.

    Raises:
        InputError: the file is damaged.
    """
    path = folder / CONFIG_FILE
    if not path.is_file():
        return None
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path} is damaged: {error}.") from error
    if not isinstance(record, dict) or "config" not in record:
        raise InputError(f"{path} is not the record of an evaluation run.")
    return record


def _whole_lines(path: Path) -> bytes:
    """A file's content up to its last line end: what follows was cut off, however whole it looks."""
    content = path.read_bytes()
    return content[: content.rfind(b"\n") + 1]


def _parsed_lines(path: Path) -> Iterable[dict[str, Any]]:
    for line in _whole_lines(path).splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict) and {"data", "id", "index"} <= row.keys():
            yield row
