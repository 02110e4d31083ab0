"""What the arguments of a cluster run stand for: units of pictures, Parquet row groups and WebDataset shards.

Places are fsspec's: `s3://bucket/photos`, `gs://…`, a local folder. Nothing is opened here but the footers of Parquet
files; a listing is sorted, so that the same places give the same units.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from conceptseg.data.pictures import HIDDEN, OTHER, RESULTS, LeftOut, describe_nothing
from conceptseg.errors import InputError, MissingExtraError
from conceptseg.formats import is_plain_suffix

__all__ = ["PARQUET", "PICTURES", "SHARD", "Unit", "find_units", "is_address", "join", "open_place"]

PICTURES, PARQUET, SHARD = "pictures", "parquet", "shard"
"""Kinds of units."""

_SUFFIXES = {".parquet": PARQUET, ".tar": SHARD}
_UNNAMED = "whose names are not UTF-8"
_MAGIC = re.compile(r"[*?[]")
_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")


@dataclass(frozen=True)
class Unit:
    """What one task reads."""

    kind: str
    names: tuple[str, ...]
    """Pictures, or the one file that holds them."""
    group: int = 0
    """Of a Parquet file: which row group."""
    first_row: int = 0
    """The number of its first row in the file."""


def is_address(text: str) -> bool:
    """Whether a place is one of fsspec's rather than a path: `s3://bucket/photos`."""
    return "://" in text


def open_place(place: str) -> tuple[Any, str]:
    """The file system of a place and the path in it.

    Raises:
        InputError: there is no such kind of file system.
        MissingExtraError: the package that reads it is not installed.
    """
    try:
        from fsspec.core import url_to_fs
    except ImportError:
        raise MissingExtraError("A cluster run needs fsspec: pip install 'conceptseg[ray]'.") from None
    try:
        fs, path = url_to_fs(place if is_address(place) else os.path.abspath(os.path.expanduser(place)))
    except ImportError as error:
        raise MissingExtraError(f"{place}: {error} (s3:// is pip install s3fs, gs:// is pip install gcsfs).") from error
    except ValueError as error:
        raise InputError(f"{place!r} is no place that can be read: {error}.") from error
    return fs, str(path)


def join(folder: str, *names: str) -> str:
    """A path below a folder of a file system."""
    return "/".join([folder.rstrip("/"), *names])


def find_units(places: Sequence[str], *, exclude: str, size: int) -> tuple[list[Unit], LeftOut]:
    """The units that files, folders and patterns stand for; every file once.

    A folder is searched at any depth for pictures (by suffix), `.parquet` and `.tar`; `*`, `?`, `[…]` and
    `{000..127}` make a pattern. A file that is named outright counts as a picture whatever it is called.

    Args:
        places: as above.
        exclude: a place whose content is never an input: the results.
        size: pictures in a unit, at most.

    Raises:
        InputError: a place is blank or stands for nothing that can be read, or a Parquet file is damaged.
        MissingExtraError: a package is not installed.
    """
    left_out = LeftOut()
    found: dict[str, dict[str, None]] = {PICTURES: {}, PARQUET: {}, SHARD: {}}
    for place in (one for given in places for one in _expand_ranges(given)):
        if not place.strip():
            raise InputError(f"The argument {place!r} is blank: name a picture, a folder or a pattern.")
        missed = LeftOut()
        listed = list(_list(place, exclude, missed))
        if not listed:
            raise InputError(describe_nothing(repr(place), missed))
        left_out.update(missed)
        for kind, name in listed:
            found[kind][name] = None
    pictures = list(found[PICTURES])
    units = [Unit(PICTURES, tuple(pictures[at : at + size])) for at in range(0, len(pictures), size)]
    units += [unit for name in found[PARQUET] for unit in _row_groups(name)]
    return units + [Unit(SHARD, (name,)) for name in found[SHARD]], left_out


def _expand_ranges(place: str) -> Iterator[str]:
    """`shard-{000..002}.tar` as three names."""
    pieces = _RANGE.split(place)
    ranges = [
        [f"{number:0{len(first)}}" for number in range(int(first), int(last) + 1)]
        for first, last in zip(pieces[1::3], pieces[2::3], strict=True)
    ]
    for numbers in product(*ranges):
        yield "".join(text for pair in zip(pieces[::3], (*numbers, ""), strict=True) for text in pair)


def _list(place: str, exclude: str, left_out: LeftOut) -> Iterator[tuple[str, str]]:
    """(kind, name) of all files of a place."""
    fs, path = open_place(place)
    try:
        if fs.isfile(path):
            yield _kind_of(path) or PICTURES, _name(fs, path)
            return
        paths: Iterable[str] = fs.glob(path) if _MAGIC.search(path) and not fs.exists(path) else fs.find(path)
    except OSError as error:
        raise InputError(f"{place} cannot be listed: {error}.") from error
    results = _name(*open_place(exclude)).rstrip("/") + "/"
    for one in sorted(paths):
        name = _name(fs, one)
        inside = one.removeprefix(path.rstrip("/") + "/")
        if name.startswith(results):
            left_out.add(RESULTS, inside)
        elif not _is_utf8(name):
            left_out.add(_UNNAMED, ascii(inside))
        elif any(part.startswith(".") for part in inside.split("/")):
            left_out.add(HIDDEN, inside)
        elif kind := _kind_of(one):
            yield kind, name
        else:
            left_out.add(OTHER, inside)


def _is_utf8(name: str) -> bool:
    """Whether a name can stand in the results; what a file system of bytes holds need not be text."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _kind_of(path: str) -> str | None:
    suffix = os.path.splitext(path)[1].lower()
    return _SUFFIXES.get(suffix) or (PICTURES if is_plain_suffix(suffix) else None)


def _name(fs: Any, path: str) -> str:
    """A file's name for every machine: its address, or its path where the file system is the machine's own."""
    address = str(fs.unstrip_protocol(path))
    return address.removeprefix("file://") if address.startswith("file://") else address


def _row_groups(name: str) -> Iterator[Unit]:
    import pyarrow
    import pyarrow.parquet

    fs, path = open_place(name)
    try:
        with fs.open(path, "rb") as file:
            facts = pyarrow.parquet.ParquetFile(file).metadata
            counts = [facts.row_group(group).num_rows for group in range(facts.num_row_groups)]
    except (pyarrow.ArrowException, OSError) as error:
        raise InputError(f"{name} cannot be read as Parquet: {error}.") from error
    for group, count in enumerate(counts):
        if count:
            yield Unit(PARQUET, (name,), group, sum(counts[:group]))
