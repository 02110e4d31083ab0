"""Which files are pictures that can be read: all that Pillow opens, told by suffix, in doubt by the first bytes."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from types import MappingProxyType

from PIL import Image, ImageFile, UnidentifiedImageError

__all__ = ["advice_for", "holds_picture", "is_plain_suffix", "load_codecs", "readable_suffixes", "writable_suffixes"]

_PLAIN = frozenset(
    {
        *(".apng", ".avif", ".bmp", ".dib", ".gif", ".heic", ".heif", ".hif", ".j2k", ".jfif", ".jp2", ".jpe", ".jpeg"),
        *(".jpg", ".jpx", ".mpo", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".psd", ".tga", ".tif", ".tiff", ".webp"),
    }
)
"""Suffixes that mean a picture and nothing else; other suffixes that Pillow knows, such as .fit or .pcd, are used by
other programs too, so that the first bytes decide."""

_NEVER = frozenset({"EPS", "MPEG", "PDF"})
"""Formats that Pillow names but does not draw, or draws by running another program."""

_BY_CONTENT = ("AVIF", "BMP", "GIF", "HEIF", "JPEG", "JPEG2000", "MPO", "PNG", "TIFF", "WEBP")
"""Formats whose first bytes are unmistakable: a file without a suffix counts when it is one of these."""

_ADVICE: MappingProxyType[str, str] = MappingProxyType(
    {
        **dict.fromkeys((".heic", ".heif", ".hif"), "pip install pillow-heif"),
        **dict.fromkeys((".avif", ".avifs"), "this Pillow reads no AVIF: pip install --upgrade pillow"),
        **dict.fromkeys((".svg", ".eps", ".ps", ".pdf", ".wmf", ".emf", ".jxl", ".dcm", ".exr"), "convert to PNG"),
        **dict.fromkeys((".arw", ".cr2", ".cr3", ".dng", ".nef", ".orf", ".raf", ".rw2"), "convert to PNG"),
    }
)


@cache
def load_codecs() -> None:
    """Make Pillow read what optional packages add to it: HEIC with pillow-heif, where that is installed."""
    Image.init()
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        return
    register_heif_opener()


@cache
def readable_suffixes() -> frozenset[str]:
    """The suffixes, in lower case, of what Pillow can open here; formats that it only names are not among them."""
    load_codecs()
    known = Image.registered_extensions().items()
    return frozenset(suffix for suffix, name in known if _opens(name))


@cache
def writable_suffixes() -> frozenset[str]:
    """The suffixes, in lower case, of the common formats that Pillow can write."""
    load_codecs()
    return frozenset(suffix for suffix, name in Image.registered_extensions().items() if name in Image.SAVE) & _PLAIN


def is_plain_suffix(suffix: str) -> bool:
    """Whether a suffix in lower case can be read and is used for nothing but pictures."""
    return suffix in _PLAIN and suffix in readable_suffixes()


def holds_picture(path: str | Path, suffix: str) -> bool:
    """Whether a file is a picture by its first bytes.

    Args:
        path: the file; it is opened.
        suffix: its suffix in lower case; without one only formats count whose beginnings are unmistakable.
    """
    load_codecs()
    if suffix and suffix not in readable_suffixes():
        return False
    try:
        with Image.open(path, formats=None if suffix else [name for name in _BY_CONTENT if name in Image.OPEN]):
            return True
    except Image.DecompressionBombError:
        return True  # it is one; that it is too large is for the reader to say
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, EOFError, TypeError, MemoryError):
        return False


def advice_for(suffix: str) -> str | None:
    """What to do about a picture that cannot be read here, by its suffix in lower case; None for other files."""
    return None if suffix in readable_suffixes() else _ADVICE.get(suffix)


def _opens(name: str) -> bool:
    if name in _NEVER:
        return False
    if name == "MPO":  # opened by the JPEG reader
        return "JPEG" in Image.OPEN
    opener = Image.OPEN.get(name, (None,))[0]
    return opener is not None and not (isinstance(opener, type) and issubclass(opener, ImageFile.StubImageFile))
