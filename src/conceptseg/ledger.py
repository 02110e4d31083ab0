"""Rows on disk that survive being killed: one JSON object a line, appended under a lock, and read without trust.

`segment`, `evaluate` and `train` keep what they have done in such files. A line is written in one piece and is on disk
when `append` returns; a line that a kill cut off is cut away before the next one is written. What is read back was
perhaps edited, damaged or made by others: lines that are no rows are counted, never believed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, BinaryIO

from conceptseg.errors import InputError
from conceptseg.files import lock_for_writing, replacing
from conceptseg.json_text import parse_json

__all__ = [
    "LOCK_FILE",
    "Appender",
    "Contents",
    "json_line",
    "lone_writer",
    "make_folder",
    "read_object",
    "read_rows",
    "refuse_other_kinds",
    "rewrite",
    "write_object",
]

LOCK_FILE = ".lock"
"""In the folder of a run: held by the one process that writes there."""

_KINDS: MappingProxyType[str, str] = MappingProxyType(
    {
        "request.json": "results of `conceptseg segment`",
        "cluster.json": "results of `conceptseg segment --engine ray`",
        "run.json": "an evaluation run",
        "trained_on.jsonl": "a training run",
    }
)
"""The file that a folder of each kind of run has, and what messages call it."""

_LINK_REFUSED = getattr(os, "O_NOFOLLOW", 0)  # a ledger that is a link would be written to wherever it leads
_BINARY = getattr(os, "O_BINARY", 0)


@dataclass(frozen=True)
class Contents:
    """What a file of rows holds."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    """In the order of the lines."""
    unusable: int = 0
    """Whole lines that are no rows, or not such as were asked for."""
    is_torn: bool = False
    """Whether the last line was cut off."""


def read_rows(path: Path, accept: Callable[[dict[str, Any]], bool] = lambda row: True) -> Contents:
    """Read a file of rows; where there is none, there are no rows.

    Args:
        path: the file.
        accept: whether an object is such a row as is expected here: all its types, whatever is relied on later.

    Raises:
        InputError: it is a folder, or cannot be read.
    """
    whole, end, rest = _content_of(path).rpartition(b"\n")
    rows, unusable = [], 0
    for line in whole.split(b"\n") if end else ():
        row = _parsed(line)
        if row is not None and accept(row):
            rows.append(row)
        else:
            unusable += 1
    return Contents(rows, unusable, bool(rest))


class Appender:
    """A file of rows open for appending; a line that was cut off is cut away first.

    The caller holds the folder's lock.

    Raises:
        InputError: the file is a folder or a link, or cannot be written.
    """

    def __init__(self, path: Path) -> None:
        with _explained(path, "write to"):
            flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | _LINK_REFUSED | _BINARY
            self._file: BinaryIO = os.fdopen(os.open(path, flags, 0o666), "r+b", buffering=0)
            self._file.truncate(_whole_length(self._file))

    def __enter__(self) -> Appender:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def append(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Add rows, for good: they are on disk when this returns. One call is one write, so a kill takes all or none.

        Raises:
            ValueError: a row holds NaN or infinity.
        """
        pending = memoryview(b"".join(map(json_line, rows)))
        while pending:  # a disk that is nearly full takes a part; the rest then fails, and is cut away later
            pending = pending[self._file.write(pending) :]
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file; nothing is pending."""
        self._file.close()


def rewrite(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Put other rows in the place of all that a file holds, in one step.

    Raises:
        InputError: that cannot be written.
    """
    with _explained(path, "write to"), replacing(path) as fresh:
        fresh.write_bytes(b"".join(map(json_line, rows)))


def json_line(row: Mapping[str, Any]) -> bytes:
    """A row as a line of UTF-8. What UTF-8 cannot hold, such as parts of odd file names, is written as JSON's escapes
    and comes back the same.

    Raises:
        ValueError: it holds NaN or infinity.
    """
    return json.dumps(row, ensure_ascii=False, allow_nan=False).encode("utf-8", "backslashreplace") + b"\n"


def read_object(path: Path) -> dict[str, Any] | None:
    """The JSON object that a file holds; None where there is no file.

    Raises:
        InputError: it is a folder, cannot be read, is not JSON in UTF-8, or holds something else.
    """
    if not os.path.lexists(path):
        return None
    content = _parsed(_content_of(path))
    if content is None:
        raise InputError(f"{path} is damaged: it should hold one JSON object in UTF-8.")
    return content


def write_object(path: Path, content: Mapping[str, Any]) -> None:
    """Write a file of one JSON object as a whole, for people too.

    Raises:
        InputError: that cannot be written.
    """
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    with _explained(path, "write to"), replacing(path) as fresh:
        fresh.write_bytes(text.encode("utf-8", "backslashreplace"))


@contextmanager
def lone_writer(folder: Path, name: str = LOCK_FILE) -> Iterator[None]:
    """Keep other processes from writing to a folder while the block runs.

    Args:
        folder: created if needed.
        name: of the lock; processes that share a folder's work have one each.

    Raises:
        InputError: another process writes there, or nothing can be written.
    """
    make_folder(folder)
    lock = lock_for_writing(folder, name)
    try:
        yield
    finally:
        lock.release()


def make_folder(folder: Path) -> None:
    """Create a folder where there is none.

    Raises:
        InputError: that cannot be.
    """
    with _explained(folder, "write to"):
        folder.mkdir(parents=True, exist_ok=True)


def refuse_other_kinds(folder: Path, own: str) -> None:
    """Keep runs of different kinds out of each other's folders.

    Args:
        folder: need not exist.
        own: the file that tells runs of the caller's kind: request.json, run.json or trained_on.jsonl.

    Raises:
        InputError: the folder holds a run of another kind.
    """
    for name, what in _KINDS.items():
        if name != own and (folder / name).is_file():
            raise InputError(f"{folder} holds {what} ({name}): choose another --out.")


def _content_of(path: Path) -> bytes:
    with _explained(path, "read"):
        try:
            return path.read_bytes()
        except FileNotFoundError:
            return b""


@contextmanager
def _explained(path: Path, done: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = "it is a link" if done == "write to" and path.is_symlink() else error.strerror
        raise InputError(f"Cannot {done} {path}: {reason}. Choose another --out.") from error


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        content = parse_json(line.decode("utf-8"))
    except (ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def _whole_length(file: BinaryIO) -> int:
    """How much of a file ends with a line end; what follows was cut off, however whole it looks."""
    end = file.seek(0, os.SEEK_END)
    while end > 0:
        start = max(0, end - (1 << 16))
        file.seek(start)
        found = file.read(end - start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0
