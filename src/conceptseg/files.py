"""Writing files so that nobody ever sees half of one, and one process at a time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from conceptseg.errors import InputError

__all__ = ["lock_for_writing", "path_below", "replacing"]


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Write a file as a whole.

        with replacing("out/mask.png") as fresh:
            image.save(fresh)

    Gives a hidden neighbour of the same suffix to write to. When the block ends well, it takes the place of `path` in
    one step; when the block fails, it is removed and `path` stays as it was. What a killed process leaves behind is
    that neighbour alone, and the next run overwrites it. One writer a path at a time.
    """
    path = Path(path)
    fresh = path.with_name(f".{path.stem}.part{path.suffix}")
    fresh.unlink(missing_ok=True)  # were it a link, it would be written to wherever that leads
    try:
        yield fresh
        os.replace(fresh, path)
    finally:
        fresh.unlink(missing_ok=True)


def lock_for_writing(folder: Path, name: str) -> FileLock:
    """Keep other processes from writing to a folder until the lock is released.

    The system lets go of it when this process ends, however it ends; the file that stays behind means nothing.

    Args:
        folder: must exist.
        name: the lock's file in it; processes that write different files may use different names.

    Raises:
        InputError: another process writes there, or nothing can be written.
    """
    lock = FileLock(folder / name, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise InputError(f"Another process is writing to {folder}: wait for it, or choose another --out.") from None
    except OSError as error:
        raise InputError(f"Cannot write to {folder}: {error.strerror}. Choose another --out.") from error
    return lock


def path_below(name: str) -> str | None:
    """A relative path as it was written, without "." and ".."; None where it leaves the folder that it starts in.

    Links are not looked at: where they lead is their owner's will, what is written in a file may be anybody's.
    """
    normal = os.path.normpath(name)
    parts = Path(normal).parts
    is_outside = Path(name).anchor or os.path.isabs(name) or parts[:1] == ("..",)
    return None if is_outside else normal
