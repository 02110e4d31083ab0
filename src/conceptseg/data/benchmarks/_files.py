"""Finding pictures and their masks in folders, forgiving the odd names that published data sets have."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from conceptseg.data.pictures import find_pictures
from conceptseg.errors import SampleError
from conceptseg.files import path_below
from conceptseg.json_text import parse_json

__all__ = ["Pairing", "first_folder", "images_in", "inside", "means_a_loss", "pair_up", "read_json", "read_lines"]

Pairing = tuple[list[tuple[Path, Path]], list[str]]
"""(picture, mask) pairs in the order of the picture's name, and what was wrong."""


def first_folder(root: Path, *names: str) -> Path:
    """The first of several spellings that exists as a folder below the root; the first spelling when none does."""
    return next((root / name for name in names if (root / name).is_dir()), root / names[0])


def images_in(folder: Path) -> list[Path]:
    """The pictures directly in a folder, by name; none when there is no folder. Hidden files are not pictures."""
    if not folder.is_dir():
        return []
    return [folder / picture.inside for picture in find_pictures(folder, deep=False, masks=True).found]


def pair_up(
    image_folder: Path,
    mask_folder: Path,
    *,
    is_image: Callable[[Path], bool] = lambda path: True,
    is_mask: Callable[[Path], bool] = lambda path: True,
    mask_stem: Callable[[str], str] = lambda stem: stem,
) -> Pairing:
    """Pictures and masks of the same name, up to their endings.

    Args:
        image_folder: Holds the pictures.
        mask_folder: Holds the masks; may be the same folder.
        is_image: Which files of the picture folder are pictures that take part.
        is_mask: Which files of the mask folder are masks.
        mask_stem: From a picture's name without ending to its mask's.
    """
    missing = [f"there is no folder {folder}" for folder in (image_folder, mask_folder) if not folder.is_dir()]
    if missing:
        return [], sorted(set(missing))
    shared = image_folder == mask_folder
    candidates = [path for path in images_in(mask_folder) if is_mask(path) and not (shared and is_image(path))]
    # a PNG goes before a JPEG of the same name: the latter comes first and is replaced
    masks = {path.stem: path for path in sorted(candidates, key=lambda path: path.suffix.lower() == ".png")}
    images = [path for path in images_in(image_folder) if is_image(path)]
    problems = [
        f"{folder}: {line}" for folder in dict.fromkeys((image_folder, mask_folder)) for line in _lost_in(folder)
    ]
    pairs = [(path, masks[mask_stem(path.stem)]) for path in images if mask_stem(path.stem) in masks]
    without = [path for path in images if mask_stem(path.stem) not in masks]
    problems += [f"{path} has no mask {mask_folder / mask_stem(path.stem)}.*" for path in without]
    if not shared:
        wanted = {mask_stem(path.stem) for path in images_in(image_folder)}
        problems += [f"{path} has no picture in {image_folder}" for stem, path in masks.items() if stem not in wanted]
    return pairs, problems


def _lost_in(folder: Path) -> list[str]:
    """Pictures that are meant but cannot be had: links that lead nowhere, formats that need another package."""
    return [line for line in find_pictures(folder, deep=False, masks=True).left_out.lines() if means_a_loss(line)]


def means_a_loss(line: str) -> bool:
    """Whether a line of `LeftOut.lines` tells of pictures that are meant but cannot be had."""
    return "lead nowhere" in line or "pip install" in line


def read_json(path: Path, encodings: Sequence[str] = ("utf-8",)) -> Any:
    """A JSON file's content.

    Args:
        path: The file.
        encodings: Tried in turn: some data sets were written on machines of another kind.

    Raises:
        SampleError: it is missing, or is not JSON in any of the encodings.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SampleError(f"{path} cannot be read: {error.strerror}") from error
    for encoding in encodings:
        try:
            return parse_json(content.decode(encoding))
        except (UnicodeDecodeError, ValueError, RecursionError) as error:
            reason = error
    raise SampleError(f"{path} is not JSON, or is cut off: {reason}")


def read_lines(path: Path) -> list[str]:
    """The lines of a text file that are not blank.

    Raises:
        SampleError: it cannot be read, or is not UTF-8.
    """
    try:
        return [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise SampleError(f"{path} cannot be read: {error}") from error


def inside(root: Path, name: object, anchors: Iterable[str] = ()) -> Path:
    """A path that a data set's own file names, below the root.

    Args:
        root: The folder it must stay in.
        name: The path as written.
        anchors: Leading folders that some releases write and others unpack without; dropped where the path does not
            exist with them.

    Raises:
        SampleError: it is no text, or leaves the root as it is written; a link on the way may lead elsewhere.
    """
    if not isinstance(name, str) or not name or "\0" in name:
        raise SampleError(f"a path must be text, got {name!r}")
    relative = name.replace("\\", "/").removeprefix("./")
    for anchor in anchors:
        shorter = relative.removeprefix(f"{anchor}/")
        if not os.path.exists(root / relative) and shorter != relative:
            relative = shorter
    below = path_below(relative)
    if below is None:
        raise SampleError(f"the path {name!r} leaves the folder {root}")
    return root / below
