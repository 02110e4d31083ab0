"""The way of an export: picture after picture into a folder that appears whole or not at all."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

from PIL import Image

from conceptseg.decoding import is_stored_turned, upright_size_hw
from conceptseg.errors import ImageError, InputError
from conceptseg.interfaces.exports.coco import CocoExporter
from conceptseg.interfaces.exports.exporter import Exporter, ExportOptions
from conceptseg.interfaces.exports.image_folder import ImageFolderExporter
from conceptseg.interfaces.exports.label_studio import LabelStudioExporter
from conceptseg.interfaces.exports.labelme import LabelMeExporter
from conceptseg.interfaces.exports.results import Picture, Results
from conceptseg.interfaces.exports.yolo import YoloExporter

__all__ = ["FORMATS", "ExportReport", "export_results"]

FORMATS: MappingProxyType[str, type[Exporter]] = MappingProxyType(
    {
        "coco": CocoExporter,
        "yolo": YoloExporter,
        "labelme": LabelMeExporter,
        "image-folder": ImageFolderExporter,
        "label-studio": LabelStudioExporter,
    }
)
"""What an export may be asked for → what writes it."""


@dataclass(frozen=True)
class ExportReport:
    """How an export went."""

    folder: Path
    exported: int
    empty: int
    """Of those, pictures whose masks are all empty: they do not show the concept."""
    failures: Mapping[str, str]
    """Pictures that were left out → why."""
    notes: tuple[str, ...]


def export_results(
    results: Results,
    to: str,
    out: Path,
    options: ExportOptions | None = None,
    progress: Callable[[], object] = lambda: None,
) -> ExportReport:
    """Write results in another format.

    Args:
        results: what `read_results` gives.
        to: one of `FORMATS`.
        out: a folder that does not exist yet, or is empty: what people may have changed there is never overwritten.
        options: see there.
        progress: told of every picture.

    Returns:
        How it went. Pictures whose mask or file cannot be used are in `failures`, and in no exported file.

    Raises:
        InputError: an unknown format, a folder that is in use, or nothing that could be exported.
    """
    if to not in FORMATS:
        raise InputError(f"Unknown format {to!r}. Formats: {', '.join(FORMATS)}.")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out} is not empty: name a new folder with --out. Nothing in it is overwritten.")
    place = out.resolve()
    fresh = place.with_name(f".{place.name}.part")
    shutil.rmtree(fresh, ignore_errors=True)  # what a killed process left
    fresh.mkdir(parents=True)
    try:
        report = _write(FORMATS[to](fresh, results, options or ExportOptions()), progress)
        if not report.exported:
            raise InputError(f"There is nothing to export: {_first(report.failures)}.")
        if place.exists():
            place.rmdir()
        fresh.rename(place)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return replace(report, folder=out)


def _write(exporter: Exporter, progress: Callable[[], object]) -> ExportReport:
    failures = dict(exporter.results.failures)
    counts: Counter[str] = Counter()
    for picture in exporter.results.pictures:
        try:
            masks = [answer.mask() for answer in picture.answers]
            counts.update(_seen(picture, exporter.has_pictures))
            exporter.add(picture, masks)
        except ImageError as error:
            failures[str(picture.source)] = str(error)
        else:
            counts["exported"] += 1
            counts["empty"] += not any(mask.any() for mask in masks)
        progress()
    told = list(exporter.results.notes)
    if counts["turned"]:
        told.append(f"{counts['turned']} pictures are stored turned (EXIF): their masks fit them upright.")
    if counts["gone"]:
        told.append(f"{counts['gone']} pictures are no longer where they were segmented; they are named all the same.")
    told += exporter.finish() if counts["exported"] else ()
    return ExportReport(exporter.folder, counts["exported"], counts["empty"], failures, tuple(told))


def _seen(picture: Picture, is_needed: bool) -> list[str]:
    """What is to be told of a picture's file; its size in the file's header must be the masks'.

    Raises:
        ImageError: the file is not there although it is needed, cannot be read, or is another picture by now.
    """
    if not picture.source.is_file():
        if is_needed:
            raise ImageError("the picture is no longer there, and this format needs it")
        return ["gone"]
    try:
        with Image.open(picture.source) as image:
            height, width = upright_size_hw(image)
            turned = ["turned"] if is_stored_turned(image) else []
    except Exception as error:  # decoders raise nearly anything on broken files
        raise ImageError(f"the picture can no longer be read: {error}") from error
    if picture.size_hw == (height, width):
        return turned
    raise ImageError(f"the picture is another by now: {width}×{height}, its mask {picture.size_hw[::-1]}")


def _first(failures: Mapping[str, str]) -> str:
    return next((f"{source}: {why}" for source, why in failures.items()), "the folder holds no results")
