"""The results of a cluster run: Parquet parts that are their own record of what is done.

    OUT/cluster.json          what is asked of every picture
    OUT/parts/NAME.parquet    pictures with their masks
    OUT/failed/NAME.parquet   pictures without, and why; written anew by every run

A part appears whole or not at all, and holds names and masks in one file: what is done and what is recorded as done
cannot differ, whenever a process is killed. NAME is a digest of the pictures' names, so that a task that is tried again
replaces its own part rather than adding to it.
"""

from __future__ import annotations

import io
import json
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyarrow
import pyarrow.parquet

from conceptseg.digests import digest_of
from conceptseg.errors import InputError
from conceptseg.interfaces.cluster.sources import join, open_place

__all__ = ["REQUEST_FILE", "SCHEMA", "Parts"]

REQUEST_FILE = "cluster.json"
_PARTS, _FAILED = "parts", "failed"
_NAME = re.compile(r"[0-9a-f]{32}\.parquet")
_READERS = 32
_WHOLE = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "oss", "memory"})
"""File systems on which an object that is written appears whole or not at all."""

SCHEMA = pyarrow.schema(
    [
        ("name", pyarrow.string()),
        ("concept", pyarrow.string()),
        ("error", pyarrow.string()),
        ("route", pyarrow.string()),
        ("presence", pyarrow.float64()),
        ("threshold", pyarrow.float64()),
        ("rule", pyarrow.string()),
        ("check_iou", pyarrow.float64()),
        ("box", pyarrow.list_(pyarrow.float64())),
        ("answer", pyarrow.string()),
        ("response", pyarrow.string()),
        ("notes", pyarrow.list_(pyarrow.string())),
        ("size_hw", pyarrow.list_(pyarrow.int32())),
        ("area", pyarrow.int64()),
        ("confidence", pyarrow.float64()),
        ("calibrated", pyarrow.bool_()),
        ("found", pyarrow.bool_()),
        ("expected_iou", pyarrow.float64()),
        ("timings", pyarrow.map_(pyarrow.string(), pyarrow.float64())),
        ("counts", pyarrow.string()),  # of COCO's compressed run lengths
        ("instances", pyarrow.string()),  # JSON
    ]
)
"""The columns of a part: `SegmentationResult.to_dict`, and the mask as COCO's run lengths (`size_hw`, `counts`)."""


class Parts:
    """The place where a run's results are.

    Args:
        place: a folder or an address; need not exist.
    """

    def __init__(self, place: str) -> None:
        self.place = place
        self._fs, self._root = open_place(place)

    @property
    def local(self) -> str | None:
        """The folder, where it is this machine's own."""
        return self._root if "file" in _protocols(self._fs) else None

    def begin(self, request: Mapping[str, Any], *, overwrite: bool) -> str:
        """Make the place ready for a run, and give the run's mark; the failures of an earlier one go: they are tried
        again.

        Raises:
            InputError: it holds the results of another request, or cannot be written.
        """
        try:
            if overwrite:
                self._remove(_PARTS)
            elif self._listed(_PARTS):
                self._check_same(request)
            self._remove(_FAILED)
            mark = secrets.token_hex(8)
            content = json.dumps({**request, "run": mark}, indent=2, ensure_ascii=False) + "\n"
            self._write(REQUEST_FILE, content.encode("utf-8", "backslashreplace"))
        except OSError as error:
            raise InputError(f"Cannot write to {self.place}: {error}. Choose another --out.") from error
        return mark

    def done(self) -> tuple[list[str], int]:
        """The names of all pictures in the parts, and how many damaged parts were removed.

        Raises:
            InputError: the parts cannot be read.
        """
        try:
            with ThreadPoolExecutor(_READERS) as pool:
                found = list(pool.map(self._names_of, self._listed(_PARTS)))
        except OSError as error:
            raise InputError(f"{self.place} cannot be read: {error}.") from error
        return [name for names in found for name in names or ()], sum(names is None for names in found)

    def write(self, rows: Sequence[Mapping[str, Any]], mark: str) -> None:
        """Add pictures; those with an error go to the failed ones.

        Raises:
            InputError: another run has begun in the same place since.
        """
        if self._request().get("run") != mark:
            raise InputError(f"Another run writes to {self.place}: this one stops.")
        for folder, chosen in (
            (_PARTS, [row for row in rows if row["error"] is None]),
            (_FAILED, [row for row in rows if row["error"] is not None]),
        ):
            if chosen:
                buffer = io.BytesIO()
                pyarrow.parquet.write_table(pyarrow.Table.from_pylist(chosen, SCHEMA), buffer, compression="zstd")
                self._write(f"{folder}/{digest_of(*(row['name'] for row in chosen))}.parquet", buffer.getvalue())

    def _names_of(self, path: str) -> list[str] | None:
        """The names in a part; None for one that is damaged, which goes."""
        for content in self._forms_of(path):
            try:
                return list(pyarrow.parquet.read_table(content, columns=["name"])["name"].to_pylist())
            except (pyarrow.ArrowException, OSError):
                continue
        self._fs.rm_file(path)
        return None

    def _forms_of(self, path: str) -> Iterator[Any]:
        """A part to read a column of; then all of it, to tell damage from a bad connection."""
        with self._fs.open(path, "rb") as file:
            yield file
        yield io.BytesIO(self._fs.cat_file(path))

    def _check_same(self, request: Mapping[str, Any]) -> None:
        earlier = self._request()
        differing = [key for key, value in request.items() if earlier.get(key) != json.loads(json.dumps(value))]
        if differing:
            raise InputError(
                f"{self.place} holds the results of another request (it differs in: {', '.join(differing)}). Choose "
                "another --out, or discard them with --overwrite."
            )

    def _request(self) -> dict[str, Any]:
        try:
            content = json.loads(self._fs.cat_file(join(self._root, REQUEST_FILE)))
        except (FileNotFoundError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}

    def _listed(self, folder: str) -> list[str]:
        self._fs.invalidate_cache()
        try:
            paths = self._fs.ls(join(self._root, folder), detail=False)
        except FileNotFoundError:
            return []
        return sorted(path for path in paths if _NAME.fullmatch(path.rpartition("/")[2]))

    def _remove(self, folder: str) -> None:
        for path in self._listed(folder):
            self._fs.rm_file(path)

    def _write(self, name: str, content: bytes) -> None:
        path = join(self._root, name)
        if _protocols(self._fs) & _WHOLE:
            self._fs.pipe_file(path, content)
            return
        folder, _, last = path.rpartition("/")
        self._fs.makedirs(folder, exist_ok=True)
        self._fs.pipe_file(f"{folder}/.{last}.part", content)
        self._fs.mv(f"{folder}/.{last}.part", path)


def _protocols(fs: Any) -> frozenset[str]:
    told = fs.protocol
    return frozenset({told} if isinstance(told, str) else told)
