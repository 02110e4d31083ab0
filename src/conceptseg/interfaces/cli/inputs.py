"""What the arguments IMAGE|FOLDER|GLOB, --ref and --unlike mean."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from conceptseg.data.pictures import LeftOut, describe_nothing, find_pictures
from conceptseg.data.samples import Reference
from conceptseg.errors import InputError, SampleError
from conceptseg.geometry import BoxXYXY
from conceptseg.masks import Label

__all__ = ["Images", "find_images", "parse_reference", "parse_references"]


@dataclass(frozen=True)
class Images:
    """What the arguments of `segment` stand for."""

    paths: list[Path]
    """Absolute, each once."""
    left_out: LeftOut


def find_images(arguments: Sequence[str], *, exclude: Path) -> Images:
    """The pictures that files, folders and patterns stand for, as absolute paths, each once.

    Order is that of the arguments; what a folder or a pattern yields is sorted. What a folder stands for is told in
    `conceptseg.data.pictures`; a file that is named outright is taken whatever it is called.

    Args:
        arguments: files, folders or glob patterns (`**` reaches any depth).
        exclude: a folder whose content is never an input, even inside another one: the results.

    Raises:
        InputError: an argument is blank or stands for no picture at all, or only for such as lie among the results.
    """
    found: dict[Path, None] = {}
    left_out = LeftOut()
    for argument in arguments:
        if not argument.strip():
            raise InputError(f"The argument {argument!r} is blank: name a picture, a folder or a pattern.")
        images = _expand(argument, exclude)
        if not images.paths:
            among = _absolute(argument).resolve().is_relative_to(exclude.resolve())
            raise InputError(
                f"{argument!r} lies inside the results folder {str(exclude)!r}: choose another --out."
                if among
                else describe_nothing(repr(argument), images.left_out)
            )
        found.update(dict.fromkeys(images.paths))
        left_out.update(images.left_out)
    return Images(list(found), left_out)


def parse_references(
    like: Sequence[str], unlike: Sequence[str] = (), label: Label | None = None, ignore: Label | None = None
) -> list[Reference]:
    """References of what the concept is (`--ref`), then of what it is not (`--unlike`); errors as below.

    Raises:
        InputError: also where there are only such as the concept is not, or one of them has no mark.
    """
    if unlike and not like:
        raise InputError("--unlike marks what the concept is not: give at least one --ref that shows what it is.")
    read = [parse_reference(text, label, ignore) for text in like]
    others = [parse_reference(text, label, ignore, flag="--unlike") for text in unlike]
    for text, one in zip(unlike, others, strict=True):
        if one.mask is None and one.box is None:
            raise InputError(f"--unlike {text!r}: mark what is not the concept, IMG@MASK or IMG@x1,y1,x2,y2.")
    return [*read, *(replace(one, unlike=True) for one in others)]


def parse_reference(
    text: str, label: Label | None = None, ignore: Label | None = None, *, flag: str = "--ref"
) -> Reference:
    """A reference from `IMG`, `IMG@MASK` or `IMG@x1,y1,x2,y2`.

    File names may hold "@": of all ways to split the text, the one with the longest existing image wins.

    Args:
        text: as above.
        label: the value of a mask that is the target, where it is a label map.
        ignore: the value of a mask that is not judged.
        flag: what the text was given with.

    Raises:
        InputError: no such image, no such mask, a box that is none, or a label that selects nothing.
    """
    for cut in _cuts(text):
        image, mark = text[:cut], text[cut + 1 :]
        if not os.path.isfile(image):
            continue
        if not mark:
            return Reference(_absolute(image))
        if os.path.isfile(mark):
            return Reference(_absolute(image), mask=_absolute(mark), label=label, ignore=ignore)
        if numbers := _four_numbers(mark):
            return _with_box(_absolute(image), numbers, f"{flag} {text!r}")
        raise InputError(f"{flag} {text!r}: {mark!r} is neither a mask file nor a box x1,y1,x2,y2 in pixels.")
    raise InputError(f"{flag} {text!r}: there is no such image. Expected IMG, IMG@MASK or IMG@x1,y1,x2,y2.")


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
        raise InputError(f"{text}: {error}") from error


def _expand(argument: str, exclude: Path) -> Images:
    path = Path(argument)
    if os.path.isdir(path):
        pictures = find_pictures(path, exclude=exclude)
        return Images([picture.path for picture in pictures.found], pictures.left_out)
    if os.path.lexists(path):
        return _one_file(path, exclude)
    if not glob.has_magic(argument):
        raise InputError(f"There is no file or folder {argument!r}.")
    return _matching(argument, exclude)


def _one_file(path: Path, exclude: Path) -> Images:
    """A file that was named outright: the user knows best what is in it."""
    if not os.path.exists(path):
        raise InputError(f"{str(path)!r} is a link that leads nowhere.")
    if not os.path.isfile(path):
        raise InputError(f"{str(path)!r} is no file but a pipe or device, which would be waited for: save it first.")
    inside = _absolute(path).is_relative_to(exclude.resolve())
    return Images([] if inside else [_absolute(path)], LeftOut())


def _matching(pattern: str, exclude: Path) -> Images:
    """What a pattern matches: pictures, and folders as if they were named; `**` matches what is in those by itself."""
    names: dict[str, set[str]] = {}
    folders: list[Path] = []
    for match in glob.glob(pattern, recursive=True):
        if not os.path.isdir(match):
            names.setdefault(os.path.dirname(match), set()).add(os.path.basename(match))
        elif "**" not in pattern:
            folders.append(Path(match))
    if not names and not folders:
        raise InputError(f"Nothing matches {pattern!r}.")
    parts = [find_pictures(Path(folder), exclude=exclude, only=names[folder]) for folder in sorted(names)]
    parts += [find_pictures(folder, exclude=exclude) for folder in sorted(folders)]
    left_out = LeftOut()
    for part in parts:
        left_out.update(part.left_out)
    return Images(sorted({picture.path for part in parts for picture in part.found}), left_out)


def _absolute(path: str | Path) -> Path:
    """The path made absolute, with the last component kept even if it is a link."""
    path = Path(path)
    return path.parent.resolve() / path.name
