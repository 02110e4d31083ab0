"""Samples to disk: the inverse of `conceptseg.data.reading`."""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable
from contextlib import suppress
from filecmp import cmp
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from conceptseg.data.reading import SAMPLES_FILE
from conceptseg.data.samples import ConceptSample, ImageSource, Reference
from conceptseg.errors import SampleError
from conceptseg.images import IGNORE_VALUE, describe_source, load_image, load_mask_with_ignore

__all__ = ["write_samples"]

_UNSAFE = re.compile(r"[^\w.-]+")


def write_samples(samples: Iterable[ConceptSample], folder: str | Path) -> Path:
    """Write samples so that `read_samples` gives them back; returns the path of the index.

    Pictures given as files inside the folder are referred to, files from elsewhere copied as they are; pictures in
    memory become PNGs, masks in memory one-channel PNGs (0, 255, 128 where ignored). The index replaces an older one
    only when everything else has been written, and no existing picture is ever overwritten by another one.

    Raises:
        SampleError: an id occurs twice, `extra` is not JSON or uses a name of the format, or a file is missing.
        ImageError: a picture or mask in memory cannot be read.
    """
    root = Path(folder)
    root.mkdir(parents=True, exist_ok=True)
    store = _Store(root.resolve())
    rows: dict[str, str] = {}
    for sample in samples:
        if sample.id in rows:
            raise SampleError(f"The id {sample.id!r} occurs twice; ids must be unique in a folder.")
        rows[sample.id] = _dump(sample, _row(sample, store))
    index = root / SAMPLES_FILE
    _write_atomically(index, lambda path: path.write_text("".join(rows.values()), encoding="utf-8"))
    return index


class _Store:
    """Puts pictures into a folder and tells their paths relative to it; each file from elsewhere is copied once."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._copied: dict[tuple[Path, str], str] = {}

    def image(self, source: ImageSource, stem: str) -> str:
        if isinstance(source, (str, Path)):
            return self._file(Path(source), "images")
        return self._add(f"images/{stem}", ".png", lambda path: load_image(source).save(path, format="PNG"))

    def mask(self, source: ImageSource, stem: str) -> str:
        if isinstance(source, (str, Path)):
            return self._file(Path(source), "masks")
        return self._add(f"masks/{stem}", ".png", lambda path: _save_mask(source, path))

    def _file(self, source: Path, kind: str) -> str:
        path = source.resolve()
        if not path.is_file():
            raise SampleError(f"There is no file {describe_source(source)} to write into the folder.")
        if path.is_relative_to(self._root):
            return path.relative_to(self._root).as_posix()
        if (path, kind) not in self._copied:
            stem = f"{kind}/{_safe_name(path.stem)}"
            self._copied[path, kind] = self._add(stem, path.suffix, lambda target: shutil.copyfile(path, target))
        return self._copied[path, kind]

    def _add(self, stem: str, suffix: str, write: Callable[[Path], object]) -> str:
        """Write a new file under the first name that is free, or already holds the very same bytes."""
        (self._root / stem).parent.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self._root, prefix=".writing-") as scratch:
            fresh = Path(scratch) / "file"
            write(fresh)
            name, count = stem + suffix, 1
            while (self._root / name).exists() and not cmp(fresh, self._root / name, shallow=False):
                name, count = f"{stem}-{count}{suffix}", count + 1
            os.replace(fresh, self._root / name)
        return name


def _row(sample: ConceptSample, store: _Store) -> dict[str, Any]:
    stem = _safe_name(sample.id)
    row: dict[str, Any] = {
        "id": sample.id,
        "level": sample.level.value,
        "task": sample.task,
        "split": sample.split,
        "image": store.image(sample.image, stem),
        "mask": None if sample.mask is None else store.mask(sample.mask, stem),
        "concept": sample.concept,
        "rule": sample.rule,
        "answer": sample.answer,
        "group": sample.group,
        "references": [
            _reference_row(reference, f"{stem}-ref{number}", store)
            for number, reference in enumerate(sample.references)
        ],
    }
    clash = sorted(row.keys() & sample.extra.keys())
    if clash:
        raise SampleError(f"Sample {sample.id!r}: extra must not use the names {', '.join(clash)}.")
    return {key: value for key, value in row.items() if value not in (None, [])} | dict(sample.extra)


def _reference_row(reference: Reference, stem: str, store: _Store) -> dict[str, Any]:
    row: dict[str, Any] = {"image": store.image(reference.image, stem)}
    if reference.mask is not None:
        row["mask"] = store.mask(reference.mask, stem)
    if reference.box is not None:
        row["box"] = list(reference.box)
    return row


def _dump(sample: ConceptSample, row: dict[str, Any]) -> str:
    try:
        return json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n"
    except (TypeError, ValueError) as error:
        raise SampleError(f"Sample {sample.id!r}: extra cannot be written as JSON: {error}.") from error


def _save_mask(source: ImageSource, path: Path) -> None:
    target, ignore = load_mask_with_ignore(source)
    levels = np.where(target, 255, np.where(ignore, IGNORE_VALUE, 0)).astype(np.uint8)
    Image.fromarray(levels).save(path, format="PNG")


def _safe_name(text: str) -> str:
    """A file name without surprises; different texts may share one."""
    return _UNSAFE.sub("_", text).strip("._")[:100] or "sample"


def _write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Write to a neighbour first, so that `path` is always the old file or the new one, whole."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    os.close(handle)
    try:
        write(Path(name))
        os.replace(name, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(name)
        raise
