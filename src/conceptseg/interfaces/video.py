"""Clips as folders of frames, and masks as a clip to look at: PyAV, extra [video]."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from PIL import Image

from conceptseg.errors import ImageError, InputError, MissingExtraError
from conceptseg.files import replacing

__all__ = ["VIDEO_SUFFIXES", "Clip", "open_clip", "write_clip"]

VIDEO_SUFFIXES = frozenset({".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm", ".wmv"})
"""What counts as a clip."""

_INDEX = "clip.json"
_FALLBACK_RATE = 25.0
_NEARLY_ALL = 0.9  # the number of frames is often told by duration and mean rate alone


@dataclass(frozen=True)
class Clip:
    """A clip whose frames lie in a folder as PNG files, upright."""

    path: Path
    frames: tuple[Path, ...]
    """In order; frame number n is the n-th, from 0."""
    rate: float
    """Frames a second."""
    damage: str | None = None
    """Why frames after these could not be read."""

    def frame(self, number: int) -> Path:
        """A frame's file.

        Raises:
            InputError: the clip has no frame of that number.
        """
        if not 0 <= number < len(self.frames):
            raise InputError(f"{self.path.name} has frames 0 to {len(self.frames) - 1}, none of number {number}.")
        return self.frames[number]


def open_clip(path: Path, folder: Path) -> Clip:
    """Write a clip's frames into a folder, unless it holds them already.

    Args:
        path: the clip.
        folder: appears whole or not at all; another clip's frames in it are refused.

    Raises:
        ImageError: the clip cannot be read, or holds no frames.
        InputError: the folder holds something else.
        MissingExtraError: PyAV is not installed.
    """
    stamp = {"clip": str(path.resolve()), "size": path.stat().st_size, "changed": path.stat().st_mtime_ns}
    if folder.exists():
        return _stored(path, folder, stamp)
    fresh = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    try:
        facts = _write_frames(path, fresh)
        (fresh / _INDEX).write_text(json.dumps(stamp | facts, indent=2), encoding="utf-8")
        os.replace(fresh, folder)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return _stored(path, folder, stamp)


def write_clip(pictures: Sequence[Path], path: Path, rate: float) -> Path:
    """Make a clip of pictures, each shown at the first one's size (to the next even number of pixels).

    Raises:
        MissingExtraError: PyAV is not installed.
    """
    av = _av()
    with Image.open(pictures[0]) as first:
        size = (first.width + first.width % 2, first.height + first.height % 2)
    with replacing(path) as fresh, av.open(str(fresh), "w") as container:
        codec = "libx264" if "libx264" in av.codecs_available else "mpeg4"
        stream = container.add_stream(codec, rate=Fraction(rate).limit_denominator(1001))
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for picture in pictures:
            with Image.open(picture) as image:
                frame = av.VideoFrame.from_image(image.convert("RGB").resize(size))
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def _stored(path: Path, folder: Path, stamp: dict[str, Any]) -> Clip:
    try:
        facts = json.loads((folder / _INDEX).read_text(encoding="utf-8"))
        frames = tuple(folder / f"{number:06}.png" for number in range(facts["count"]))
        if any(facts[key] != value for key, value in stamp.items()) or not all(map(Path.is_file, frames)):
            raise InputError(f"{folder} holds frames of another clip, or not all: remove it, or name another --out.")
        return Clip(path, frames, float(facts["rate"]), facts["damage"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{folder} is in the way of the clip's frames: remove it, or name another --out.") from error


def _write_frames(path: Path, folder: Path) -> dict[str, Any]:
    """Frames as files; gives their number, the rate, and what ended a damaged clip early."""
    av = _av()
    count, rate, expected, damage = 0, _FALLBACK_RATE, 0, None
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise ImageError(f"{path} holds no pictures that move.")
            stream = container.streams.video[0]
            rate = float(stream.average_rate or _FALLBACK_RATE)
            expected = stream.frames or round((container.duration or 0) / av.time_base * rate)
            for image in _decoded(container, stream):
                image.save(folder / f"{count:06}.png", compress_level=1)
                count += 1
    except av.error.FFmpegError as error:
        damage = str(error)
    if not count:
        raise ImageError(f"{path} cannot be read as a clip: {damage or 'it holds no frames'}.")
    if damage is None and count < _NEARLY_ALL * expected - 1:
        damage = f"it should have about {expected} frames"
    return {"count": count, "rate": rate, "damage": damage}


def _decoded(container: Any, stream: Any) -> Iterator[Image.Image]:
    """Frames, turned as the camera says."""
    for frame in container.decode(stream):
        image = frame.to_image()
        yield image.rotate(frame.rotation, expand=True) if frame.rotation else image


def _av() -> Any:
    try:
        import av
    except ImportError:
        raise MissingExtraError("Clips need PyAV: pip install 'conceptseg[video]'.") from None
    return av
