"""What the files of a picture are called: the picture's own stem where it is free, else with a digest. One scheme.

`conceptseg segment` and `SegmentationResult.save` both name by it. Who names many files at once tells names apart by
`name_key`, as the strictest file systems do; who names one asks the file system.
"""

from __future__ import annotations

import hashlib
import os
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path

from conceptseg.errors import InputError

__all__ = ["LONGEST_STEM_BYTES", "check_stem", "distinct_stem", "is_plain_stem", "name_key", "stem_of"]

LONGEST_STEM_BYTES = 200
"""File systems take names of 255 bytes, suffixes and the marks of unfinished files included."""

_DIGEST_DIGITS = (8, 16, 64)


def stem_of(name: str | Path) -> str:
    """A file name without folder and suffix; a leading dot, which would hide the new files, becomes "_"."""
    stem = Path(name).stem
    return f"_{stem[1:]}" if stem.startswith(".") else stem


def distinct_stem(stem: str, identity: bytes, is_free: Callable[[str], bool]) -> str:
    """The stem that the files of something get: its own, or its beginning with a digest of what it is.

    Args:
        stem: its own; not taken where it is empty or longer than `LONGEST_STEM_BYTES`.
        identity: tells it from all others, e.g. its path.
        is_free: whether a stem is not another's already; asked in order of preference until one is.

    Raises:
        InputError: all of them are taken.
    """
    for candidate in _candidates(stem, identity):
        if is_free(candidate):
            return candidate
    raise InputError(f"All names for the files of {stem!r} are taken by others: choose another folder.")


def check_stem(stem: str) -> str:
    """A stem that a caller chose, as it is.

    Raises:
        InputError: it is no plain file name, so that files would lie elsewhere, or too long.
    """
    if stem in ("", ".", "..") or any(sign in stem for sign in "/\\\0"):
        raise InputError(f"stem={stem!r} is no plain file name: name the folder apart, and files without slashes.")
    if len(os.fsencode(stem)) > LONGEST_STEM_BYTES:
        raise InputError(f"stem={stem[:40]!r}… is longer than {LONGEST_STEM_BYTES} bytes: choose a shorter one.")
    return stem


def is_plain_stem(stem: object) -> bool:
    """Whether files of that stem lie in the folder itself, whoever says it; true of all that `distinct_stem` gives."""
    if not isinstance(stem, str):
        return False
    try:
        length = len(os.fsencode(stem))
    except ValueError:  # letters that no file name can hold
        return False
    return 0 < length <= LONGEST_STEM_BYTES and stem not in (".", "..") and "\0" not in stem and Path(stem).name == stem


def name_key(stem: str) -> str:
    """Equal for names that some file system takes for one."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", stem).casefold())


def _candidates(stem: str, identity: bytes) -> Iterator[str]:
    if stem and len(os.fsencode(stem)) <= LONGEST_STEM_BYTES:
        yield stem
    digest = hashlib.sha256(identity).hexdigest()
    for digits in _DIGEST_DIGITS:
        begin = os.fsencode(stem)[: LONGEST_STEM_BYTES - 1 - digits].decode(errors="ignore")
        yield f"{begin}-{digest[:digits]}"
