"""COCO instance files: one's own, or an annotation tool's; one question a category and picture.

Data set: any.
Source: one's own; the format is that of https://cocodataset.org/#format-data
Licence: the data set's own.
Layout: ROOT is the JSON file, or a folder with annotations.json; pictures in the folder `images=`, by default images/
beside the file, else the file's own folder. `segmentation` may be polygons, run lengths, or compressed run lengths.
Protocol: the category's name is asked of every picture that shows it; all its annotations in the picture are one mask,
groups marked `iscrowd` included, unless `crowd=ignore` leaves them out of the score; references of the same category
from other pictures of the file.
"""

from __future__ import annotations

import logging
import os
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from jaxtyping import UInt8

from conceptseg.data.benchmarks._common import Benchmark, BenchmarkInfo, Item, Scan
from conceptseg.data.benchmarks._files import inside, read_json
from conceptseg.data.benchmarks._regions import decode_regions
from conceptseg.errors import SampleError
from conceptseg.images import IGNORE_VALUE, MAX_PIXELS, LazyImage
from conceptseg.shapes import count_target
from conceptseg.taxonomy import level_of

__all__ = ["Coco"]

_log = logging.getLogger(__name__)
_FILE = "annotations.json"
_SHOWN = 5


@dataclass(frozen=True)
class Coco(Benchmark):
    """Pictures and masks as a COCO instance file has them."""

    images: str | None = None
    """The folder of the pictures: as seen from here, or from the file."""
    category: tuple[str, ...] | str | int | None = None
    """Names of the categories to ask for; None for all."""
    concept: str | None = None
    """The question, instead of the category's name."""
    task: str = "other_ci"
    crowd: Literal["target", "ignore"] = "target"
    """Whether groups marked `iscrowd` belong to the target, or do not count."""
    missing: Literal["refuse", "skip"] = "refuse"
    """Whether pictures that are not there are an error, or are left out with a warning that counts them."""

    pool_split: ClassVar[str | None] = None
    info: ClassVar[BenchmarkInfo] = BenchmarkInfo(
        name="coco",
        title="COCO instance file",
        source="one's own; format of https://cocodataset.org/#format-data",
        licence="the data set's own",
        layout="the JSON file, or a folder with annotations.json; pictures in images=FOLDER, by default images/",
        protocol="the category's name, its annotations in a picture as one mask; references from other pictures",
        fetch="name the JSON file, and the folder of its pictures with the option images=FOLDER",
        splits=("all",),
    )

    def __post_init__(self) -> None:
        level_of(self.task)

    def scan(self, root: Path, split: str) -> Scan:
        """One item a category and picture."""
        path = root / _FILE if os.path.isdir(root) else root
        try:
            content = _Content.of(read_json(path))
        except SampleError as error:
            return Scan([], [str(error)])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            return Scan([], [f"{path} is not a COCO instance file: {type(error).__name__}: {error}"])
        problems = [f"{path}: {problem}" for problem in content.problems]
        for told in content.told:
            _log.warning("%s: %s.", path, told)
        wanted = self._wanted(content, problems, path)
        items = [
            item
            for name in wanted
            for picture in content.regions[name]
            if (item := self._item(path, content, name, picture, problems)) is not None
        ]
        return self._without_missing(Scan(items, list(dict.fromkeys(problems))), path)

    def _wanted(self, content: _Content, problems: list[str], path: Path) -> list[str]:
        """The names of the categories that are asked for, in their order in the file."""
        named = self.category if isinstance(self.category, tuple) or self.category is None else (str(self.category),)
        for name in named or ():
            if name not in content.regions:
                known = ", ".join(sorted(content.regions)) or "none"
                problems.append(f"{path} has no annotations of category {name!r}; its categories: {known}")
        return [name for name in content.regions if named is None or name in named]

    def _item(self, path: Path, content: _Content, name: str, picture: Any, problems: list[str]) -> Item | None:
        file_name, size_hw = content.pictures[picture]
        folder = self._folder(path)
        try:
            image = inside(folder, file_name, anchors=(folder.name,))
        except SampleError as error:
            problems.append(f"{path}: {error}")
            return None
        regions = content.regions[name][picture]
        draw = partial(_levels, regions, size_hw, self.crowd == "ignore")
        return Item(
            id=f"{name.replace(' ', '_')}/{file_name}",
            task=self.task,
            concept=self.concept or name,
            image=image,
            mask=LazyImage(draw, f"{path.name}: {name} in {file_name}"),
            group=name,
            answer=name,
        )

    def _folder(self, path: Path) -> Path:
        beside = path.parent
        if self.images is None:
            return beside / "images" if os.path.isdir(beside / "images") else beside
        return Path(self.images) if os.path.isdir(self.images) else beside / self.images

    def _without_missing(self, scan: Scan, path: Path) -> Scan:
        """Pictures that are not there: counted, and an error unless they may be left out."""
        pictures = {item.image: str(item.image) for item in scan.items}
        lost = {image for image in pictures if not os.path.isfile(pictures[image])}
        if not lost:
            return scan
        told = _listed([pictures[image] for image in pictures if image in lost])
        sentence = f"{len(lost)} of {len(pictures)} pictures of {path.name} are not there: {told}"
        if self.missing == "refuse":
            return Scan(scan.items, [*scan.problems, f"{sentence}. The option missing=skip goes on without them"])
        _log.warning("%s. They are left out.", sentence)
        return Scan([item for item in scan.items if item.image not in lost], scan.problems)


@dataclass(frozen=True)
class _Content:
    """What a file says, checked and sorted."""

    pictures: Mapping[Any, tuple[str, tuple[int, int]]]
    """Id → file name and (height, width)."""
    regions: Mapping[str, Mapping[Any, Sequence[tuple[Any, bool]]]]
    """Category → picture → (segmentation, whether it is a crowd)."""
    problems: Sequence[str] = field(default_factory=tuple)
    told: Sequence[str] = field(default_factory=tuple)
    """What was left out, or taken for one."""

    @classmethod
    def of(cls, content: Any) -> _Content:
        sizes = {row["id"]: _size_of(row) for row in content["images"]}
        pictures = {row["id"]: (row["file_name"], sizes[row["id"]] or (1, 1)) for row in content["images"]}
        names = {row["id"]: str(row["name"]) for row in content["categories"]}
        regions: dict[str, defaultdict[Any, list[tuple[Any, bool]]]] = {}
        faults: defaultdict[str, list[str]] = defaultdict(list)
        nothing: list[str] = []
        for number, row in enumerate(content["annotations"]):
            fault = _fault(row, pictures, names)
            if fault:
                faults[fault].append(str(row.get("id", f"number {number}")))
                continue
            if not _covers_something(row["segmentation"]):
                nothing.append(str(row.get("id", f"number {number}")))
                continue
            of_name = regions.setdefault(names[row["category_id"]], defaultdict(list))
            of_name[row["image_id"]].append((row["segmentation"], bool(row.get("iscrowd"))))
        problems = [f"{len(ids)} annotations {fault}: {_listed(ids)}" for fault, ids in faults.items()]
        without = [str(row["file_name"]) for row in content["images"] if sizes[row["id"]] is None]
        if without:
            problems.append(f"{len(without)} pictures have no height and width in pixels: {_listed(without)}")
        for what, named in (
            ("file names stand for several pictures", [row["file_name"] for row in content["images"]]),
            ("ids stand for several pictures", [row["id"] for row in content["images"]]),
            ("ids stand for several categories", [row["id"] for row in content["categories"]]),
        ):
            twice = [str(name) for name, count in Counter(named).items() if count > 1]
            if twice:
                problems.append(f"{len(twice)} {what}: {_listed(twice)}")
        shared = [name for name, count in Counter(names.values()).items() if count > 1]
        told = [f"{len(shared)} names stand for several categories, taken for one: {_listed(shared)}"] if shared else []
        told += [f"{len(nothing)} annotations without area are left out: {_listed(nothing)}"] if nothing else []
        return cls(pictures, regions, problems, told)


def _size_of(row: Mapping[str, Any]) -> tuple[int, int] | None:
    """(height, width) of a picture's entry; None where these are no sides of a picture that could be read."""
    sides = [row["height"], row["width"]]
    if not all(type(side) in (int, float) and 1 <= side <= MAX_PIXELS and side == int(side) for side in sides):
        return None
    height, width = map(int, sides)
    return (height, width) if height * width <= MAX_PIXELS else None


def _fault(
    row: Mapping[str, Any], pictures: Mapping[Any, tuple[str, tuple[int, int]]], names: Mapping[Any, str]
) -> str:
    """What is wrong with an annotation; empty for a good one."""
    if row["image_id"] not in pictures:
        return "belong to no picture of the file"
    if row["category_id"] not in names:
        return "have no category of the file"
    region = row.get("segmentation")
    if not region:
        return "have no segmentation, a box at best; `conceptseg segment` makes masks"
    if isinstance(region, Mapping):
        fits = list(region.get("size", ())) == list(pictures[row["image_id"]][1])
        fits = fits and isinstance(region.get("counts"), (str, list))
        return "" if fits else "have run lengths of another size than their picture's"
    good = all(isinstance(polygon, list) and len(polygon) >= 6 and len(polygon) % 2 == 0 for polygon in region)
    good = good and all(isinstance(value, (int, float)) for polygon in region for value in polygon)
    return "" if good else "have polygons that are no lists of x, y, x, y, x, y, …"


def _covers_something(region: Any) -> bool:
    """False where a region surely has no pixel: runs without a target, polygons without width or height."""
    if isinstance(region, Mapping):
        return count_target(region["counts"]) > 0
    return any(max(p[::2]) > min(p[::2]) and max(p[1::2]) > min(p[1::2]) for p in region)


def _levels(regions: Sequence[tuple[Any, bool]], size_hw: tuple[int, int], ignores: bool) -> UInt8[np.ndarray, "h w"]:
    """255 on the target, 128 on crowds that do not count, 0 elsewhere."""
    target = decode_regions([region for region, is_crowd in regions if not (is_crowd and ignores)], size_hw)
    levels = target.astype(np.uint8) * np.uint8(255)
    if ignores:
        crowd = decode_regions([region for region, is_crowd in regions if is_crowd], size_hw)
        levels[crowd & ~target] = IGNORE_VALUE
    return levels


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
