"""The pictures of a unit, as bytes with a name of their own; one that cannot be had is a row that says why.

A picture's name is its address, in a Parquet file `ADDRESS#ROW`, in a WebDataset shard `ADDRESS#MEMBER`.
"""

from __future__ import annotations

import bisect
import hashlib
import tarfile
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import UInt8

from conceptseg.errors import ConceptSegError, InputError
from conceptseg.formats import is_plain_suffix
from conceptseg.interfaces.cluster.sources import PARQUET, PICTURES, Unit, is_address, join, open_place

__all__ = ["Done", "Item", "image_column", "read_unit"]

_DIGEST = 16
_COLUMNS = ("image", "jpg", "jpeg", "png", "webp", "bytes", "content", "path", "file_name", "url")
"""Where a Parquet file's pictures are looked for, unless a column is named."""


@dataclass(frozen=True)
class Item:
    """A picture, or why there is none; one without a name counts what was passed over."""

    name: str
    content: bytes | None = None
    error: str | None = None
    kept: int = 0
    """Pictures that are done already."""
    left_out: int = 0
    """Members of a shard that are no pictures."""


class Done:
    """The names of the pictures that are done, as sorted digests: 16 bytes each."""

    def __init__(self, digests: UInt8[np.ndarray, "n 16"]) -> None:
        self._digests = digests

    @classmethod
    def of(cls, names: Iterable[str]) -> Done:
        """From the names."""
        ordered = sorted({_digest(name) for name in names})
        return cls(np.frombuffer(b"".join(ordered), dtype=np.uint8).reshape(-1, _DIGEST))

    def __len__(self) -> int:
        return len(self._digests)

    def __contains__(self, name: str) -> bool:
        wanted = _digest(name)
        place = bisect.bisect_left(range(len(self)), wanted, key=lambda at: self._digests[at].tobytes())
        return place < len(self) and self._digests[place].tobytes() == wanted


def _digest(name: str) -> bytes:
    return hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=_DIGEST).digest()


def read_unit(unit: Unit, done: Done, column: str | None = None) -> Iterator[Item]:
    """What is to be done of a unit, and at the end an item that counts the rest.

    Args:
        unit: of `find_units`.
        done: what is left out.
        column: of a Parquet file, where its pictures are: bytes, Hugging Face's `{bytes, path}`, or addresses.
    """
    kept, left_out = 0, 0
    for item in _items(unit, done, column):
        kept, left_out = kept + item.kept, left_out + item.left_out
        if item.name:
            yield item
    yield Item("", kept=kept, left_out=left_out)


def _items(unit: Unit, done: Done, column: str | None) -> Iterator[Item]:
    if unit.kind == PICTURES:
        for name in unit.names:
            yield Item("", kept=1) if name in done else _fetch(name, name)
    elif unit.kind == PARQUET:
        yield from _rows(unit, done, column)
    else:
        yield from _members(unit.names[0], done)


def _fetch(name: str, address: str) -> Item:
    try:
        fs, path = open_place(address)
        return Item(name, fs.cat_file(path))
    except Exception as error:  # file systems raise what the packages behind them raise
        return Item(name, error=f"{address} cannot be read: {str(error) or type(error).__name__}.")


def image_column(names: Iterable[str], wanted: str | None, file: str) -> str:
    """The column of a Parquet file that holds its pictures.

    Raises:
        InputError: there is none.
    """
    there = list(names)
    if wanted is not None and wanted not in there:
        raise InputError(f"{file} has no column {wanted!r}; it has {', '.join(there)}.")
    found = wanted or next((name for name in _COLUMNS if name in there), None)
    if found is None:
        raise InputError(f"{file} has no column of pictures that is known: name it, --column {' | '.join(there)}.")
    return found


def _rows(unit: Unit, done: Done, column: str | None) -> Iterator[Item]:
    import pyarrow
    import pyarrow.parquet

    address = unit.names[0]
    fs, path = open_place(address)
    row = unit.first_row
    try:
        with fs.open(path, "rb") as file:
            table = pyarrow.parquet.ParquetFile(file)
            chosen = image_column(table.schema_arrow.names, column, address)
            for batch in table.iter_batches(16, row_groups=[unit.group], columns=[chosen]):
                for value in batch.column(0):
                    name = f"{address}#{row}"
                    yield Item("", kept=1) if name in done else _from_cell(name, value.as_py(), address)
                    row += 1
    except (pyarrow.ArrowException, OSError, InputError) as error:
        yield Item(f"{address}#{row}", error=f"{address} cannot be read from row {row} on: {error}.")


def _from_cell(name: str, value: Any, file: str) -> Item:
    """A row's picture: bytes, `{bytes, path}`, or an address, from the file's folder on where it is no whole one."""
    if isinstance(value, dict):
        value = value.get("bytes") or value.get("path")
    if isinstance(value, bytes):
        return Item(name, value)
    if isinstance(value, str) and value.strip():
        is_whole = is_address(value) or value.startswith("/")
        return _fetch(name, value if is_whole else join(file.rpartition("/")[0], value))
    return Item(name, error=f"Expected a picture's bytes or its address, got {type(value).__name__}.")


class _Counted:
    """A file that is read from front to back, and how far."""

    def __init__(self, fs: Any, path: str) -> None:
        self._file = fs.open(path, "rb")
        self.total = 0

    def __enter__(self) -> _Counted:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def read(self, size: int = -1) -> bytes:
        """As of the file."""
        content: bytes = self._file.read(size)
        self.total += len(content)
        return content


def _members(address: str, done: Done) -> Iterator[Item]:
    """The pictures of a shard: members whose ending, from the first dot on, is a picture's."""
    seen: Counter[str] = Counter()
    try:
        fs, path = open_place(address)
        counted = _Counted(fs, path)
        with counted, tarfile.open(fileobj=counted, mode="r|") as shard:  # type: ignore[call-overload]
            for member in shard:
                ending = member.name.rpartition("/")[2].partition(".")[2].lower()
                if not member.isfile():
                    continue
                if not is_plain_suffix(f".{ending}"):
                    yield Item("", left_out=1)
                    continue
                seen[member.name] += 1
                again = f"~{seen[member.name]}" if seen[member.name] > 1 else ""
                name = f"{address}#{member.name}{again}".encode("utf-8", "backslashreplace").decode()
                stream = shard.extractfile(member)
                yield Item("", kept=1) if name in done or stream is None else Item(name, stream.read())
            if counted.total < shard.offset + tarfile.BLOCKSIZE:  # where tarfile itself says nothing
                raise EOFError("the block that ends it is missing")
    except (ConceptSegError, OSError, EOFError, tarfile.TarError) as error:
        yield Item(f"{address}#", error=f"{address} cannot be read to its end: {error or type(error).__name__}.")
