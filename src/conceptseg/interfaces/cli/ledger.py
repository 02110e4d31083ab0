"""The results folder: what was asked of it (`request.json`) and what was answered (`results.jsonl`), resumable.

A folder belongs to one request, and to one process at a time. A line of `results.jsonl` is one image; it is appended
when the image's pictures are on disk, so a process may be killed at any moment and the next one goes on from there.
What the folder holds was perhaps edited since: it decides what is done again, never where anything is written.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import NoneType, TracebackType
from typing import Any

from filelock import FileLock

from conceptseg.digests import file_digest, file_stamp
from conceptseg.errors import InputError
from conceptseg.files import lock_for_writing
from conceptseg.ledger import (
    LOCK_FILE,
    Appender,
    make_folder,
    read_object,
    read_rows,
    refuse_other_kinds,
    rewrite,
    write_object,
)
from conceptseg.naming import distinct_stem, is_plain_stem, name_key, stem_of

__all__ = ["LOCK_FILE", "REQUEST_FILE", "RESULTS_FILE", "Ledger", "read_records"]

REQUEST_FILE = "request.json"
RESULTS_FILE = "results.jsonl"


class Ledger:
    """The memory of a results folder; a context manager that keeps other processes out from `claim` on.

    Nothing is written before `begin`.

    Args:
        folder: need not exist yet.
        request: what is asked of every image, JSON-ready; results of another request are never mixed in.
        overwrite: treat whatever an earlier run left as not there; `begin` removes it.

    Raises:
        InputError: the folder holds results of another request or something else of ours, cannot be read, or is a file.
    """

    def __init__(self, folder: Path, request: Mapping[str, Any], *, overwrite: bool = False) -> None:
        if folder.exists() and not folder.is_dir():
            raise InputError(f"--out {folder} is a file: name a folder, which need not exist yet.")
        refuse_other_kinds(folder, REQUEST_FILE)
        self.folder = folder
        self._request = dict(request)
        self._lock: FileLock | None = None
        self._file: Appender | None = None
        self._stamps: dict[Path, str] = {}
        self._overwrite = overwrite
        self._changed = 0
        self._seen = file_stamp(folder / RESULTS_FILE)
        self._read()
        if not overwrite:
            _check_same_request(folder, request, bool(self._records), self._unusable)

    def __enter__(self) -> Ledger:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()
        if self._lock is not None:
            self._lock.release()

    def pending(self, images: Iterable[Path]) -> list[Path]:
        """Those images that have no mask here yet, or that are not what they were when it was made."""
        masks = _names_in(self.folder) if self._records and not self._overwrite else set()
        return [image for image in images if not self._is_done(image, masks)]

    def told(self) -> Iterator[str]:
        """A sentence about everything that was not simply kept; to be asked after `pending`."""
        if self._changed:
            yield f"{self._changed} images have changed since they were segmented, and are done again."
        if self._unusable and not self._overwrite:
            yield (
                f"{self._unusable} lines of {self.folder / RESULTS_FILE} are damaged or name files that cannot be its "
                "own: their images are done again."
            )

    def claim(self) -> None:
        """Keep other processes out; a folder that does not exist yet is claimed by `begin`.

        Raises:
            InputError: another process writes to the folder, or did since this one looked.
        """
        if self._lock is None and self.folder.is_dir():
            self._lock = lock_for_writing(self.folder, LOCK_FILE)
            if file_stamp(self.folder / RESULTS_FILE) != self._seen:
                raise InputError(f"Another process wrote to {self.folder} just now: give the same command again.")

    def begin(self, pending: Iterable[Path]) -> dict[Path, str]:
        """Make ready for images that will be computed (again), and name each one's files.

        The name is the image's own stem where that is free and not overlong, else its beginning and a digest of the
        path: unique in the folder on every file system, and the same in every run.

        Raises:
            InputError: as from `claim`.
        """
        pending = list(pending)
        make_folder(self.folder)
        self.claim()
        for scrap in self.folder.glob(".*.part*"):  # what a killed process had not finished
            scrap.unlink(missing_ok=True)
        stems = self._stems_for(pending)
        before = len(self._records)
        self._forget(self._records.copy() if self._overwrite else map(str, pending))
        write_object(self.folder / REQUEST_FILE, self._request)
        if self._overwrite or not self._is_tidy or len(self._records) < before:
            rewrite(self.folder / RESULTS_FILE, self._records.values())
        self._overwrite = False
        self._stamps = {image: file_stamp(image) for image in pending}
        self._file = Appender(self.folder / RESULTS_FILE)
        return stems

    def append(self, image: Path, stem: str, answer: Mapping[str, Any]) -> None:
        """Add an image's answer, for good: it is on disk when this returns. `begin` comes before.

        Raises:
            InputError: nothing has begun.
        """
        if self._file is None:
            raise InputError(f"{self.folder} is not open for results: call begin() first.")
        record: dict[str, Any] = {"source": str(image), "stem": stem, "file": self._state(image)}
        record |= {key: _finite(value) for key, value in answer.items() if key != "source"}
        self._records[str(image)] = record
        self._file.append([record])

    def _read(self) -> None:
        """Take in the last record of each image; of images that claim one stem nobody knows whose the mask is."""
        contents = read_rows(self.folder / RESULTS_FILE, _is_record)
        latest = {row["source"]: row for row in contents.rows}
        owners = Counter(name_key(row["stem"]) for row in latest.values())
        self._records: dict[str, dict[str, Any]] = {
            source: row for source, row in latest.items() if owners[name_key(row["stem"])] == 1
        }
        self._unusable = contents.unusable + len(latest) - len(self._records)
        self._is_tidy = not (self._unusable or contents.is_torn) and len(contents.rows) == len(self._records)

    def _is_done(self, image: Path, masks: set[str]) -> bool:
        record = self._records.get(str(image))
        if self._overwrite or record is None or record.get("error") is not None:
            return False
        if f"{record['stem']}.mask.png" not in masks:
            return False
        state = record["file"]
        if state.get("stamp") == file_stamp(image) or state.get("digest") == file_digest(image):
            return True
        self._changed += 1
        return False

    def _state(self, image: Path) -> dict[str, str]:
        """What the image was when it was read; one that has changed since `begin` looked is done again next time."""
        stamp = file_stamp(image)
        before = self._stamps.get(image, stamp)
        return {"stamp": before, "digest": file_digest(image) if stamp == before else "changed meanwhile"}

    def _stems_for(self, images: Iterable[Path]) -> dict[Path, str]:
        known = {} if self._overwrite else self._records
        owner = {name_key(record["stem"]): source for source, record in known.items()}
        stems = {}
        for image in images:
            stem = known[str(image)]["stem"] if str(image) in known else stem_of(image)

            def is_free(stem: str, source: str = str(image)) -> bool:
                return owner.setdefault(name_key(stem), source) == source

            stems[image] = distinct_stem(stem, os.fsencode(image), is_free)
        return stems

    def _forget(self, sources: Iterable[str]) -> None:
        for source in sources:
            if record := self._records.pop(source, None):
                for path in _pictures(self.folder, record):
                    path.unlink(missing_ok=True)


def _pictures(folder: Path, record: Mapping[str, Any]) -> tuple[Path, Path]:
    """Where the mask and the overlay of a record lie; `_is_record` has seen to it that this is in the folder."""
    return folder / f"{record['stem']}.mask.png", folder / f"{record['stem']}.overlay.jpg"


def _is_record(row: Mapping[str, Any]) -> bool:
    """Whether a row is of ours, with a stem that names files in the folder itself."""
    source, stem = row.get("source"), row.get("stem")
    return (
        isinstance(source, str)
        and is_plain_stem(stem)
        and isinstance(row.get("error", ""), (str, NoneType))
        and isinstance(row.get("file"), dict)
    )


def read_records(path: Path) -> dict[str, dict[str, Any]]:
    """The last record of each image, by its source; lines that are none of ours are left out.

    Raises:
        InputError: the file cannot be read.
    """
    return {row["source"]: row for row in read_rows(path, _is_record).rows}


def _check_same_request(folder: Path, request: Mapping[str, Any], has_records: bool, unusable: int) -> None:
    advice = "Choose another --out, or discard them with --overwrite."
    path = folder / REQUEST_FILE
    if not has_records:
        if unusable and not path.exists():
            raise InputError(f"{folder / RESULTS_FILE} is no file of results of ours. {advice}")
        return
    try:
        earlier = read_object(path)
    except InputError as error:
        raise InputError(f"What the results in {folder} answer cannot be told: {error} {advice}") from error
    if earlier is None:
        raise InputError(f"{folder} holds results, but no {REQUEST_FILE} that says what they answer. {advice}")
    differing = [key for key in request if earlier.get(key) != request[key]]
    if differing:
        raise InputError(
            f"{folder} holds the results of another request (it differs in: {', '.join(differing)}). {advice}"
        )


def _names_in(folder: Path) -> set[str]:
    try:
        return set(os.listdir(folder))
    except FileNotFoundError:
        return set()


def _finite(value: object) -> object:
    """JSON has no word for what is no number."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
