"""Hugging Face image folders: pictures with a table of metadata.

Data set: any.
Source: https://huggingface.co/docs/datasets/image_dataset
Licence: the data set's own.
Layout: metadata.jsonl or metadata.csv in the root, or one in every split's folder (train/, test/), with `file_name` and
further columns; paths are relative to the table. A mask is a column such as `mask_file_name`, a concept one such as
`concept`, `text` or `label`.
Protocol: the concept column, else the concept given; references of the same concept from train, where there is one.
"""

from __future__ import annotations

import csv
import json
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from conceptseg.data.benchmarks._common import Benchmark, BenchmarkInfo, Item, Scan, missing_files
from conceptseg.data.benchmarks._files import inside
from conceptseg.errors import SampleError
from conceptseg.taxonomy import level_of

__all__ = ["ImageFolder"]

_TABLES = ("metadata.jsonl", "metadata.csv")
_MASK_COLUMNS = ("mask_file_name", "label_file_name", "annotation_file_name", "segmentation_file_name", "mask")
_CONCEPT_COLUMNS = ("concept", "text", "label", "class", "caption", "prompt")


@dataclass(frozen=True)
class ImageFolder(Benchmark):
    """A data set in the layout that `datasets.load_dataset("imagefolder")` reads."""

    concept: str | None = None
    """The question, for tables that have no column for it."""
    task: str = "other_ci"
    mask_column: str | None = None
    """The column with the mask's path; by default the first that is there of the usual names."""
    concept_column: str | None = None

    pool_split: ClassVar[str | None] = None
    checked_splits: ClassVar[tuple[str, ...] | None] = ("all",)
    info: ClassVar[BenchmarkInfo] = BenchmarkInfo(
        name="image_folder",
        title="Hugging Face image folder",
        source="https://huggingface.co/docs/datasets/image_dataset",
        licence="the data set's own",
        layout="metadata.jsonl or metadata.csv, in the root or in train/ and test/, with file_name and mask_file_name",
        protocol="the concept column or the concept given; references of the same concept from the same split",
        fetch="put metadata.jsonl beside the pictures, one row a picture: file_name, mask_file_name, concept",
        splits=("train", "validation", "test", "all"),
    )

    def __post_init__(self) -> None:
        level_of(self.task)

    def scan(self, root: Path, split: str) -> Scan:
        """One item a row, several a picture where it shows several concepts.

        `all` is the root's own table, or every split's one after the other.
        """
        folders = [root] if split == "all" and _table(root) else [root / name for name in self._parts(split)]
        tables = [(folder, table) for folder in folders if (table := _table(folder))]
        if not tables:
            return Scan([], [f"there is no {' or '.join(_TABLES)} in {' or '.join(map(str, folders))}"])
        items: list[Item] = []
        problems: list[str] = []
        for folder, table in tables:
            try:
                rows = _rows(table)
            except (OSError, ValueError) as error:
                problems.append(f"{table} cannot be read: {error}")
                continue
            for number, row in enumerate(rows, start=1):
                try:
                    items.append(self._item(root, folder, row))
                except SampleError as error:
                    problems.append(f"{table}, row {number}: {error}")
        rows_of = Counter(item.id for item in items)
        told_apart = [replace(item, id=f"{item.id}/{item.group}") if rows_of[item.id] > 1 else item for item in items]
        return Scan(told_apart, [*problems, *missing_files(items)])

    def _parts(self, split: str) -> tuple[str, ...]:
        return tuple(name for name in self.info.splits if name != "all") if split == "all" else (split,)

    def _item(self, root: Path, folder: Path, row: dict[str, Any]) -> Item:
        image = inside(folder, row.get("file_name"))
        mask = _first(row, (self.mask_column,) if self.mask_column else _MASK_COLUMNS)
        concept = _first(row, (self.concept_column,) if self.concept_column else _CONCEPT_COLUMNS) or self.concept
        if mask is None or concept is None:
            wanted = "mask, e.g. mask_file_name" if mask is None else "concept, nor was a concept given"
            raise SampleError(f"there is no column for the {wanted}; columns: {', '.join(row)}")
        return Item(
            id=image.relative_to(root).with_suffix("").as_posix(),
            task=self.task,
            concept=str(concept),
            image=image,
            mask=inside(folder, mask),
            group=str(concept),
        )


def _table(folder: Path) -> Path | None:
    return next((folder / name for name in _TABLES if (folder / name).is_file()), None)


def _rows(table: Path) -> list[dict[str, Any]]:
    text = table.read_text(encoding="utf-8-sig")
    if table.suffix == ".csv":
        return list(csv.DictReader(text.splitlines()))
    rows = [json.loads(line) for line in text.splitlines() if line.strip()]
    if not all(isinstance(row, dict) for row in rows):
        raise ValueError("every line must be a JSON object")
    return rows


def _first(row: dict[str, Any], columns: tuple[str, ...]) -> Any:
    return next((row[column] for column in columns if row.get(column) not in (None, "")), None)
