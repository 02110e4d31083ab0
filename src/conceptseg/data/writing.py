"""Samples to disk: the inverse of `conceptseg.data.reading`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

from conceptseg.data.reading import SAMPLES_FILE, read_samples
from conceptseg.data.samples import ConceptSample, ImageSource, Reference
from conceptseg.errors import SampleError
from conceptseg.files import replacing
from conceptseg.images import describe_source, load_image, read_mask, select_label
from conceptseg.ledger import lone_writer

__all__ = ["Appended", "append_samples", "write_samples"]

_SHOWN = 5
_UNSAFE = re.compile(r"[^\w.-]+")


def write_samples(samples: Iterable[ConceptSample], folder: str | Path) -> Path:
    """Write samples so that `read_samples` gives them back; returns the path of the index.

    Pictures given as files inside the folder are referred to, files from elsewhere copied as they are; pictures in
    memory become PNGs, masks in memory one-channel PNGs (0, 255, 128 where ignored). The index replaces an older one
    only when everything else has been written, and no existing picture is ever overwritten by another one.

    Raises:
        InputError: another process is writing there, or nothing can be written.
        SampleError: an id occurs twice, `extra` is not JSON or uses a name of the format, or a file is missing.
        ImageError: a picture or mask in memory cannot be read.
    """
    root = Path(folder)
    rows: dict[str, str] = {}
    with lone_writer(root):
        store = _Store(root.resolve())
        for sample in samples:
            if sample.id in rows:
                raise SampleError(f"The id {sample.id!r} occurs twice; ids must be unique in a folder.")
            rows[sample.id] = _dump(sample, _row(sample, store))
        return _write_index(root, rows.values())


@dataclass(frozen=True)
class Appended:
    """What became of samples that were added to a folder."""

    index: Path
    added: int
    unchanged: int
    """Those that the folder held already, exactly so."""
    kept: int
    """The folder's other rows."""
    renamed: Mapping[str, str]
    """Ids that another split's picture has, and what they became: "test/001"."""


def append_samples(samples: Iterable[ConceptSample], folder: str | Path) -> Appended:
    """Write samples beside those that a folder holds already; all of its rows stay.

    A sample that is there already is not written twice. One whose id belongs to another picture of another split gets
    its split before its id.

    Raises:
        InputError: another process is writing there, or nothing can be written.
        SampleError: the folder's index is broken; or it has another picture of a sample's id in the same split, or the
            same picture with other words, another mask or in another split. Nothing is changed then.
        ImageError: a picture or mask in memory cannot be read.
    """
    with lone_writer(Path(folder)):
        return _append(samples, Path(folder))


def _append(samples: Iterable[ConceptSample], root: Path) -> Appended:
    earlier = _earlier_rows(root)
    rows = dict(earlier)
    store = _Store(root.resolve())
    clashes, renamed, given = [], {}, 0
    for sample in samples:
        given += 1
        row = _row(sample, store)
        _dump(sample, row)
        owner = earlier.get(sample.id)
        if owner and owner["image"] != row["image"] and owner.get("split") != sample.split:
            row["id"] = renamed[sample.id] = f"{sample.split}/{sample.id}"
        if rows.setdefault(row["id"], row) != row:
            clashes.append(row["id"])
    if clashes:
        store.undo()
        shown = ", ".join(clashes[:_SHOWN]) + (f" and {len(clashes) - _SHOWN} more" if len(clashes) > _SHOWN else "")
        raise SampleError(
            f"{root} holds other samples of these ids, or the same pictures in another split or with another mask: "
            f"{shown}. Choose another folder, or begin this one anew (--overwrite)."
        )
    index = _write_index(root, (json.dumps(row, ensure_ascii=False) + "\n" for row in rows.values()))
    added = len(rows) - len(earlier)
    return Appended(index, added, given - added, len(earlier) - (given - added), renamed)


def _earlier_rows(root: Path) -> dict[str, dict[str, Any]]:
    """The rows of a folder that may not have any yet, checked as by `read_samples`."""
    if not (root / SAMPLES_FILE).exists():
        return {}
    read_samples(root)
    content = (root / SAMPLES_FILE).read_text(encoding="utf-8-sig")
    rows = [json.loads(line) for line in content.split("\n") if line.strip()]
    return {row["id"]: row for row in rows}


def _write_index(root: Path, lines: Iterable[str]) -> Path:
    index = root / SAMPLES_FILE
    with replacing(index) as fresh:
        fresh.write_text("".join(lines), encoding="utf-8", errors="backslashreplace")  # odd file names
    return index


class _Store:
    """Puts pictures into a folder and tells their paths relative to it."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._copied: dict[tuple[Path, str], str] = {}
        self._fresh: list[Path] = []

    def undo(self) -> None:
        """Remove what was put in."""
        for path in self._fresh:
            path.unlink(missing_ok=True)

    def image(self, source: ImageSource, stem: str) -> str:
        if isinstance(source, (str, Path)):
            return self._file(Path(source), "images")
        return self._add(_png(load_image(source)), f"images/{stem}", ".png")

    def mask(self, source: ImageSource, stem: str) -> str:
        if isinstance(source, (str, Path)):
            return self._file(Path(source), "masks")
        return self._add(_png(_mask_image(source)), f"masks/{stem}", ".png")

    def _file(self, source: Path, kind: str) -> str:
        """A file inside the folder as it is, one from elsewhere copied once."""
        path = source.resolve()
        if not path.is_file():
            raise SampleError(f"There is no file {describe_source(source)} to write into the folder.")
        if path.is_relative_to(self._root):
            return path.relative_to(self._root).as_posix()
        if (path, kind) not in self._copied:
            stem = f"{kind}/{_safe_name(path.stem)}"
            self._copied[path, kind] = self._add(path.read_bytes(), stem, path.suffix)
        return self._copied[path, kind]

    def _add(self, content: bytes, stem: str, suffix: str) -> str:
        """Write a file under the first name that is free, or already holds the very same content."""
        name, count = stem + suffix, 1
        while (path := self._root / name).exists():
            if path.read_bytes() == content:
                return name
            name, count = f"{stem}-{count}{suffix}", count + 1
        path.parent.mkdir(exist_ok=True)
        with replacing(path) as fresh:
            fresh.write_bytes(content)
        self._fresh.append(path)
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
    if (mask := reference.mask) is not None:
        selects = reference.label is not None or reference.ignore is not None
        row["mask"] = store.mask(select_label(mask, reference.label, reference.ignore) if selects else mask, stem)
    if reference.box is not None:
        row["box"] = list(reference.box)
    if reference.unlike:
        row["unlike"] = True
    return row


def _dump(sample: ConceptSample, row: dict[str, Any]) -> str:
    try:
        return json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n"
    except (TypeError, ValueError) as error:
        raise SampleError(f"Sample {sample.id!r}: extra cannot be written as JSON: {error}.") from error


def _png(image: Image.Image) -> bytes:
    buffer = BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()


def _mask_image(source: ImageSource) -> Image.Image:
    """A mask as it lies on disk: one channel, 255 target, 128 ignored, 0 background."""
    return Image.fromarray(read_mask(source).levels())


def _safe_name(text: str) -> str:
    """A file name without surprises; different texts may share one."""
    return _UNSAFE.sub("_", text).strip("._")[:100] or "sample"
