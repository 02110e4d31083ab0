"""Whether files are still what they were: by size and times, which costs nothing, or by what they hold."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

__all__ = ["MISSING", "FileDigests", "digest_of", "file_digest", "file_sha256", "file_stamp"]

MISSING = "missing"
"""The digest of a file that is not there or cannot be read."""

_PIECE = 1 << 20


def digest_of(*parts: str | bytes) -> str:
    """A digest of texts and bytes in their order, 32 letters."""
    whole = hashlib.blake2b(digest_size=16)
    for part in parts:
        content = part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part
        whole.update(b"%d:" % len(content))
        whole.update(content)
    return whole.hexdigest()


class FileDigests:
    """Stamps and digests of files, each file looked at once.

    A stamp tells of size and times: equal stamps, same content. Different stamps say nothing (a copy has other times):
    then the digest of the content decides.
    """

    def __init__(self) -> None:
        self._stamps: dict[str, str] = {}
        self._digests: dict[str, str] = {}

    def stamp(self, path: str | Path) -> str:
        """Size, and times of change of content and of name or rights."""
        name = os.fspath(path)
        if name not in self._stamps:
            self._stamps[name] = file_stamp(name)
        return self._stamps[name]

    def digest(self, path: str | Path) -> str:
        """Of the content; `MISSING` where there is none."""
        name = os.fspath(path)
        if name not in self._digests:
            self._digests[name] = file_digest(name)
        return self._digests[name]


def file_stamp(path: str | Path) -> str:
    """See `FileDigests.stamp`; looks now."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return MISSING
    return f"{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}"


def file_digest(path: str | Path) -> str:
    """See `FileDigests.digest`; reads now."""
    whole = hashlib.blake2b(digest_size=16)
    try:
        _feed(whole.update, path)
    except (OSError, ValueError):  # ValueError: a NUL in the name
        return MISSING
    return whole.hexdigest()


def file_sha256(path: str | Path) -> str:
    """The SHA-256 of a file's content, as records that others read give it.

    Raises:
        OSError: it cannot be read.
    """
    whole = hashlib.sha256()
    _feed(whole.update, path)
    return whole.hexdigest()


def _feed(update: Callable[[bytes], object], path: str | Path) -> None:
    with open(path, "rb") as file:
        while piece := file.read(_PIECE):
            update(piece)
