"""What `conceptseg segment` does with a clip: its frames as images, `--ref FRAME@MARK`, and a clip of the overlays."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from conceptseg.errors import InputError

if TYPE_CHECKING:
    from conceptseg.interfaces.video import Clip

__all__ = ["find_clip", "finish_clip", "reference_in_clip"]

_OVERLAYS = "overlay.mp4"


def find_clip(arguments: Sequence[str], out: Path) -> Clip | None:
    """The clip that the arguments name, its frames written beside the results; None where they name images.

    Raises:
        InputError: a clip among other things, or its frames' folder is in use.
        ImageError: it cannot be read.
        MissingExtraError: PyAV is not installed.
    """
    from conceptseg.interfaces.video import VIDEO_SUFFIXES, open_clip

    clips = [path for path in map(Path, arguments) if path.suffix.lower() in VIDEO_SUFFIXES and path.is_file()]
    if not clips:
        return None
    if len(arguments) > 1:
        raise InputError(f"{clips[0]} is a clip: give it alone, with an --out of its own.")
    folder = out.resolve()
    return open_clip(clips[0], folder.with_name(f"{folder.name}-frames"))


def reference_in_clip(text: str, clip: Clip) -> str:
    """A reference that names a frame by its number, `12@mask.png`, with the frame's file instead; others as they are.

    Raises:
        InputError: the clip has no such frame.
    """
    number, at, mark = text.partition("@")
    if not (number.isascii() and number.isdigit()) or Path(number).is_file():
        return text
    return f"{clip.frame(int(number))}{at}{mark}"


def finish_clip(clip: Clip, folder: Path) -> None:
    """Make a clip of the overlays, and tell where it is and what of the clip could not be read."""
    from conceptseg.interfaces.video import write_clip

    pictures = [path for path in (folder / f"{frame.stem}.overlay.jpg" for frame in clip.frames) if path.is_file()]
    if pictures:
        print(f"overlays as a clip → {write_clip(pictures, folder / _OVERLAYS, clip.rate)}")
    if clip.damage:
        print(f"failed: {clip.path} is damaged after frame {len(clip.frames) - 1}: {clip.damage}", file=sys.stderr)
