"""Samples on disk: a folder with `samples.jsonl`, paths relative to it, pictures, and one-channel masks."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from stat import S_ISREG
from typing import Any

from conceptseg.data.samples import ConceptSample, Reference
from conceptseg.errors import SampleError
from conceptseg.files import path_below
from conceptseg.geometry import BoxXYXY
from conceptseg.json_text import parse_json

__all__ = ["SAMPLES_FILE", "read_samples"]

SAMPLES_FILE = "samples.jsonl"
"""The index's name inside a folder of samples."""

_REQUIRED = ("id", "task", "concept", "image")
_TEXTS = ("id", "task", "concept", "rule", "answer", "group", "split", "level")
_KNOWN = frozenset({*_REQUIRED, *_TEXTS, "mask", "references"})
_REFERENCE_KEYS = frozenset({"image", "mask", "box", "unlike"})
_ERRORS_SHOWN = 20


def read_samples(source: str | Path, split: str | None = None) -> list[ConceptSample]:
    """Read a folder of samples, in the order of its index.

    A row is a JSON object with `id`, `task`, `concept`, `image`, and optionally `level` (must agree with the task),
    `mask`, `references` (objects with `image` and optionally `mask` or `box`), `rule`, `answer`, `group`, `split`;
    other keys are kept in `extra`. Pictures are not opened, but they must exist.

    Args:
        source: The folder, or the `.jsonl` file itself.
        split: Only the rows of this split; all rows are checked all the same.

    Returns:
        Samples whose paths are absolute.

    Raises:
        SampleError: no index, or wrong rows: up to twenty are listed, each with file and line. A path that leaves the
            folder as it is written is wrong; links in the folder may lead elsewhere.
    """
    index = Path(source) / SAMPLES_FILE if os.path.isdir(source) else Path(source)
    samples: list[ConceptSample] = []
    errors: list[str] = []
    ids: set[str] = set()
    for number, line in _numbered_lines(index):
        try:
            sample = _read_row(line, index.parent.resolve())
            if sample.id in ids:
                raise SampleError(f"the id {sample.id!r} occurs twice")
            ids.add(sample.id)
            samples.append(sample)
        except SampleError as error:
            errors.append(f"{index}, line {number}: {error}")
    if errors:
        raise SampleError(_list_errors(index, errors))
    return [sample for sample in samples if split is None or sample.split == split]


def _numbered_lines(index: Path) -> Iterator[tuple[int, bytes]]:
    """The lines that hold something, counted from 1; a byte-order mark is dropped."""
    try:
        content = index.read_bytes().removeprefix(b"\xef\xbb\xbf")
    except OSError as error:
        raise SampleError(
            f"Cannot read {index}: {error.strerror}. Expected a folder with {SAMPLES_FILE}, or such a file."
        ) from error
    return ((number, line) for number, line in enumerate(content.split(b"\n"), start=1) if line.strip())


def _list_errors(index: Path, errors: list[str]) -> str:
    shown = errors[:_ERRORS_SHOWN]
    if len(errors) > len(shown):
        shown.append(f"… and {len(errors) - len(shown)} more.")
    return f"{len(errors)} wrong row(s) in {index}:\n" + "\n".join(shown)


def _read_row(line: bytes, root: Path) -> ConceptSample:
    row = _parse_object(line)
    missing = [key for key in _REQUIRED if key not in row]
    if missing:
        raise SampleError(f"missing {', '.join(missing)}")
    for key in _TEXTS:
        if not isinstance(row.get(key, ""), str) and not (row[key] is None and key not in _REQUIRED):
            raise SampleError(f"{key!r} must be text, got {row[key]!r}")
    sample = ConceptSample(
        id=row["id"],
        task=row["task"],
        concept=row["concept"],
        image=_resolve(row["image"], root),
        mask=None if row.get("mask") is None else _resolve(row["mask"], root),
        references=_read_references(row.get("references"), root),
        rule=row.get("rule"),
        answer=row.get("answer"),
        group=row.get("group"),
        split=row.get("split"),
        extra={key: value for key, value in row.items() if key not in _KNOWN},
    )
    if row.get("level") is not None and row["level"] != sample.level.value:
        raise SampleError(
            f"level {row['level']!r} disagrees with task {sample.task!r}, which is of level {sample.level.value}"
        )
    return sample


def _parse_object(line: bytes) -> dict[str, Any]:
    try:
        row = parse_json(line)
    except (ValueError, RecursionError) as error:
        raise SampleError(f"not JSON: {error}") from error
    if not isinstance(row, dict):
        raise SampleError(f"expected a JSON object, got {type(row).__name__}")
    return row


def _read_references(rows: object, root: Path) -> tuple[Reference, ...]:
    if rows is None:
        return ()
    if not isinstance(rows, list):
        raise SampleError(f"'references' must be a list, got {type(rows).__name__}")
    return tuple(_read_reference(row, root) for row in rows)


def _read_reference(row: object, root: Path) -> Reference:
    if not isinstance(row, dict) or "image" not in row or not _REFERENCE_KEYS.issuperset(row):
        raise SampleError(f"a reference must be an object with image and optionally mask or box, got {row!r}")
    mask = row.get("mask")
    return Reference(
        image=_resolve(row["image"], root),
        mask=None if mask is None else _resolve(mask, root),
        box=_read_box(row.get("box")),
        unlike=_read_unlike(row.get("unlike", False)),
    )


def _read_unlike(value: object) -> bool:
    if not isinstance(value, bool):
        raise SampleError(f"a reference's unlike must be true or false, got {value!r}")
    return value


def _read_box(value: object) -> BoxXYXY | None:
    """A list of four numbers as a box; `Reference` checks what they are."""
    if value is None:
        return None
    if not isinstance(value, list) or len(value) != 4 or {type(number) for number in value} - {int, float}:
        raise SampleError(f"a box must be a list of four numbers [x1, y1, x2, y2], got {value!r}")
    return value[0], value[1], value[2], value[3]


def _resolve(name: object, root: Path) -> Path:
    """A row's path as an absolute one below `root`; a link there may lead anywhere, as on clusters it does."""
    if not isinstance(name, str) or not name or "\0" in name:
        raise SampleError(f"a path must be text, got {name!r}")
    below = path_below(name)
    if below is None:
        raise SampleError(f"the path {name!r} leaves the folder; paths must be relative to it and stay inside")
    path = root / below
    try:
        if S_ISREG(os.stat(path).st_mode):
            return path
    except (FileNotFoundError, NotADirectoryError) as error:
        if path.is_symlink():
            raise SampleError(f"{name!r} is a link that leads nowhere") from error
    except (OSError, ValueError) as error:  # too long, or no text that a file system could hold
        raise SampleError(f"the path {name[:80]!r} cannot be one: {error}") from error
    raise SampleError(f"there is no file {name!r}")
