"""What the arguments IMAGE|FOLDER|GLOB and --ref mean."""

from __future__ import annotations

import glob
from collections.abc import Iterator, Sequence
from pathlib import Path

from conceptseg.data.samples import Reference
from conceptseg.errors import InputError, SampleError
from conceptseg.geometry import BoxXYXY
from conceptseg.images import IMAGE_SUFFIXES
from conceptseg.masks import Label

__all__ = ["find_images", "parse_reference"]


def find_images(arguments: Sequence[str], *, exclude: Path) -> list[Path]:
    """The pictures that files, folders and patterns stand for, as absolute paths, each once.

    Order is that of the arguments; what a folder or a pattern yields is sorted. Folders are searched at any depth, but
    not hidden ones.

    Args:
        arguments: files, folders or glob patterns (`**` reaches any depth).
        exclude: a folder whose content is never an input, even inside another one: the results.

    Raises:
        InputError: an argument stands for no picture at all, or only for such as lie among the results.
    """
    found: dict[Path, None] = {}
    for argument in arguments:
        expanded = _expand(argument)
        images = [path for path in expanded if not path.is_relative_to(exclude.resolve())]
        if expanded and not images:
            raise InputError(f"{argument!r} lies inside the results folder {str(exclude)!r}: choose another --out.")
        if not images:
            raise InputError(f"{argument!r} holds no pictures ({', '.join(sorted(IMAGE_SUFFIXES))}).")
        found.update(dict.fromkeys(images))
    return list(found)


def parse_reference(text: str, label: Label | None = None, ignore: Label | None = None) -> Reference:
    """A reference from `IMG`, `IMG@MASK` or `IMG@x1,y1,x2,y2`.

    File names may hold "@": of all ways to split the text, the one with the longest existing image wins.

    Args:
        text: as above.
        label: the value of a mask that is the target, where it is a label map.
        ignore: the value of a mask that is not judged.

    Raises:
        InputError: no such image, no such mask, a box that is none, or a label that selects nothing.
    """
    for cut in _cuts(text):
        image, mark = text[:cut], text[cut + 1 :]
        if not Path(image).is_file():
            continue
        if not mark:
            return Reference(_absolute(image))
        if Path(mark).is_file():
            return Reference(_absolute(image), mask=_absolute(mark), label=label, ignore=ignore)
        if numbers := _four_numbers(mark):
            return _with_box(_absolute(image), numbers, text)
        raise InputError(f"--ref {text!r}: {mark!r} is neither a mask file nor a box x1,y1,x2,y2 in pixels.")
    raise InputError(f"--ref {text!r}: there is no such image. Expected IMG, IMG@MASK or IMG@x1,y1,x2,y2.")


def _cuts(text: str) -> Iterator[int]:
    """Where the image's name may end, from the right: at the end of the text, then at every "@"."""
    yield len(text)
    yield from (index for index in range(len(text) - 1, 0, -1) if text[index] == "@")


def _four_numbers(mark: str) -> BoxXYXY | None:
    """Numbers as Python writes them, `1e3` included; whether they make up a box is for `Reference` to say."""
    try:
        x1, y1, x2, y2 = map(float, mark.split(","))
    except ValueError:
        return None
    return x1, y1, x2, y2


def _with_box(image: Path, box: BoxXYXY, text: str) -> Reference:
    try:
        return Reference(image, box=box)
    except SampleError as error:
        raise InputError(f"--ref {text!r}: {error}") from error


def _expand(argument: str) -> list[Path]:
    path = Path(argument)
    if path.is_dir():
        inside = (found for found in path.rglob("*") if not _is_hidden(found.relative_to(path)))
        return sorted(_absolute(found) for found in inside if _is_picture(found))
    if path.is_file():
        return [_absolute(path)]
    if not glob.has_magic(argument):
        raise InputError(f"There is no file or folder {argument!r}.")
    return sorted(_absolute(found) for found in glob.glob(argument, recursive=True) if _is_picture(Path(found)))


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()


def _absolute(path: str | Path) -> Path:
    """The path made absolute, with the last component kept even if it is a link."""
    path = Path(path)
    return path.parent.resolve() / path.name
