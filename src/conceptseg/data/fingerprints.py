"""Whether a picture is still the same: digests of what a source holds now, for whoever remembers something of it."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from PIL import Image

from conceptseg.digests import MISSING, file_digest
from conceptseg.images import ImageSource

__all__ = ["fingerprint_picture", "fingerprint_source"]


def fingerprint_source(source: ImageSource) -> str | None:
    """A digest of what a picture or mask holds: a file's bytes, an array's or picture's pixels.

    A file that was overwritten and an array that was edited in place get another one. None where it cannot be told:
    the source cannot be read, or is made anew whenever it is (`LazyImage`).
    """
    if isinstance(source, (str, Path)):
        digest = file_digest(source)
        return None if digest == MISSING else digest
    if isinstance(source, bytes):
        return hashlib.blake2b(source, digest_size=16).hexdigest()
    if isinstance(source, np.ndarray):
        return None if source.dtype.hasobject else _of_array(source)
    if isinstance(source, Image.Image):
        try:
            return fingerprint_picture(source)
        except Exception:  # decoders raise nearly anything on broken files; whoever loads it says what is wrong
            return None
    return None


def fingerprint_picture(image: Image.Image) -> str:
    """A digest of a picture in memory: its pixels and what they mean; of several frames the current one."""
    image.load()
    meaning = (image.mode, image.size, image.getpalette(), image.info.get("transparency"), dict(image.getexif()))
    digest = hashlib.blake2b(repr(meaning).encode("utf-8", "surrogatepass"), digest_size=16)
    digest.update(image.tobytes())
    return digest.hexdigest()


def _of_array(array: np.ndarray) -> str:
    digest = hashlib.blake2b(f"{array.shape} {array.dtype.str}".encode(), digest_size=16)
    digest.update(array.tobytes())
    return digest.hexdigest()
