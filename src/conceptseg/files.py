"""Writing files so that nobody ever sees half of one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["replacing"]


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
    try:
        yield fresh
        os.replace(fresh, path)
    finally:
        fresh.unlink(missing_ok=True)
