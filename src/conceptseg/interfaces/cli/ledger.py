"""The results folder: what was asked of it (`request.json`) and what was answered (`results.jsonl`), resumable.

A folder belongs to one request, and to one process at a time. A line of `results.jsonl` is one image; it is appended
when the image's pictures are on disk, so a process may be killed at any moment and the next one goes on from there.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from filelock import FileLock

from conceptseg.errors import InputError
from conceptseg.files import lock_for_writing, replacing
from conceptseg.naming import distinct_stem, name_key, stem_of

__all__ = ["LOCK_FILE", "REQUEST_FILE", "RESULTS_FILE", "Ledger", "read_records"]

REQUEST_FILE = "request.json"
RESULTS_FILE = "results.jsonl"
LOCK_FILE = ".lock"


class Ledger:
    """The memory of a results folder; a context manager that keeps other processes out from `claim` on.

    Nothing is written before `begin`.

    Args:
        folder: need not exist yet.
        request: what is asked of every image, JSON-ready; results of another request are never mixed in.
        overwrite: treat whatever an earlier run left as not there; `begin` removes it.

    Raises:
        InputError: the folder holds results of another request, or is a file.
    """

    def __init__(self, folder: Path, request: Mapping[str, Any], *, overwrite: bool = False) -> None:
        if folder.exists() and not folder.is_dir():
            raise InputError(f"--out {folder} is a file: name a folder, which need not exist yet.")
        self.folder = folder
        self._request = dict(request)
        self._lock: FileLock | None = None
        self._records = read_records(folder / RESULTS_FILE)
        self._overwrite = overwrite
        if self._records and not overwrite:
            _check_same_request(folder, request)

    def __enter__(self) -> Ledger:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._lock is not None:
            self._lock.release()

    def is_done(self, image: Path) -> bool:
        """Whether the image, as it lies on disk now, has its mask here."""
        record = self._records.get(str(image))
        if self._overwrite or record is None or record.get("error") is not None:
            return False
        return record.get("file") == _fingerprint(image) and _pictures(self.folder, record)[0].is_file()

    def claim(self) -> None:
        """Keep other processes out; a folder that does not exist yet is claimed by `begin`.

        Raises:
            InputError: another process writes to the folder, or did since this one looked.
        """
        if self._lock is None and self.folder.is_dir():
            self._lock = lock_for_writing(self.folder, LOCK_FILE)
            if read_records(self.folder / RESULTS_FILE) != self._records:
                raise InputError(f"Another process wrote to {self.folder} just now: give the same command again.")

    def begin(self, pending: Iterable[Path]) -> dict[Path, str]:
        """Make ready for images that will be computed (again), and name each one's files.

        The name is the image's own stem where that is free and not overlong, else its beginning and a digest of the
        path: unique in the folder on every file system, and the same in every run.

        Raises:
            InputError: as from `claim`.
        """
        pending = list(pending)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.claim()
        for scrap in self.folder.glob(".*.part*"):  # what a killed process had not finished
            scrap.unlink(missing_ok=True)
        stems = self._stems_for(pending)
        self._forget(self._records.copy() if self._overwrite else map(str, pending))
        with replacing(self.folder / REQUEST_FILE) as fresh:
            fresh.write_text(json.dumps(self._request, indent=2) + "\n", encoding="utf-8")
        with replacing(self.folder / RESULTS_FILE) as fresh:
            fresh.write_text("".join(map(_line, self._records.values())), encoding="utf-8")
        self._overwrite = False
        return stems

    def append(self, image: Path, stem: str, answer: Mapping[str, Any]) -> None:
        """Add an image's answer, for good: it is on disk when this returns."""
        record = {"source": str(image), "stem": stem, "file": _fingerprint(image)}
        record |= {key: value for key, value in answer.items() if key != "source"}
        self._records[str(image)] = record
        with (self.folder / RESULTS_FILE).open("a", encoding="utf-8") as file:
            file.write(_line(record))
            file.flush()
            os.fsync(file.fileno())

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
    """Where the mask and the overlay of a record lie; never outside the folder, whatever the record says."""
    stem = Path(record["stem"]).name
    return folder / f"{stem}.mask.png", folder / f"{stem}.overlay.jpg"


def read_records(path: Path) -> dict[str, dict[str, Any]]:
    """The last record of each image; lines that were cut off by a kill, or are none of ours, are dropped."""
    if not path.is_file():
        return {}
    records = {}
    for line in path.read_text(encoding="utf-8", errors="replace").split("\n"):
        try:
            record = json.loads(line)
            records[str(record["source"])] = record | {"stem": str(record["stem"])}
        except (json.JSONDecodeError, KeyError, TypeError):
            continue
    return records


def _check_same_request(folder: Path, request: Mapping[str, Any]) -> None:
    try:
        earlier = json.loads((folder / REQUEST_FILE).read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError):
        earlier = {}
    differing = [key for key in request if earlier.get(key) != request[key]]
    if differing:
        raise InputError(
            f"{folder} holds the results of another request (it differs in: {', '.join(differing)}). "
            "Choose another --out, or discard them with --overwrite."
        )


def _fingerprint(image: Path) -> list[int] | None:
    """Size and time of change of a file: tells whether a picture was replaced since."""
    try:
        status = image.stat()
    except OSError:
        return None
    return [status.st_size, status.st_mtime_ns]


def _line(record: Mapping[str, Any]) -> str:
    return json.dumps(record) + "\n"
