"""What folders of results hold, picture by picture: every mask that can be relied on, and why others cannot.

Several folders may hold the answers of several concepts to the same pictures. A picture is exported when every concept
was answered for it: one whose answer is missing must not look like one that does not show the concept.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool

from conceptseg.errors import ImageError, InputError
from conceptseg.images import load_mask
from conceptseg.ledger import read_rows
from conceptseg.naming import distinct_stem, is_plain_stem, name_key
from conceptseg.shapes import decode_run_lengths

__all__ = ["Answer", "Picture", "Results", "read_results"]

_RESULTS_FILE = "results.jsonl"


@dataclass(frozen=True)
class Answer:
    """One concept's mask of one picture."""

    concept: str
    mask_path: Path
    size_hw: tuple[int, int]
    record: Mapping[str, Any]
    """The line of results.jsonl: route, rule, answer, presence, …"""

    def mask(self) -> Bool[np.ndarray, "h w"]:
        """The mask, read now.

        Raises:
            ImageError: it cannot be read, or is not of the size that its line says.
        """
        return load_mask(self.mask_path, self.size_hw)

    def objects(self) -> list[tuple[Bool[np.ndarray, "h w"], float]]:
        """The single objects that stand in its line, with their scores.

        Raises:
            ImageError: the line has none, or one that is no mask of this picture.
        """
        listed = self.record.get("instances")
        if not isinstance(listed, list):
            raise ImageError("it was segmented without --instances, so that its single objects are not known")
        try:
            return [(decode_run_lengths(one["rle"]["counts"], self.size_hw), float(one["score"])) for one in listed]
        except (KeyError, TypeError, ValueError) as error:
            raise ImageError(f"its line lists objects that are none: {error!r}") from error

    @property
    def score(self) -> float | None:
        """How far to trust the mask, in [0, 1]: the confidence, where there is none the check's IoU, else presence."""
        values = (self.record.get(key) for key in ("confidence", "check_iou", "presence"))
        return next((float(value) for value in values if isinstance(value, (int, float))), None)


@dataclass(frozen=True)
class Picture:
    """A picture with the masks of all concepts."""

    source: Path
    name: str
    """What its files are called, without ending: unique on every file system."""
    file_name: str
    """The path from the folder that all pictures have in common, with "/"."""
    answers: tuple[Answer, ...]
    """In the order of `Results.concepts`."""

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width in pixels, upright."""
        return self.answers[0].size_hw


@dataclass(frozen=True)
class Results:
    """All that folders of results hold."""

    folder: Path
    """What the pictures' paths have in common."""
    concepts: tuple[str, ...]
    pictures: tuple[Picture, ...]
    """Sorted by path."""
    failures: Mapping[str, str]
    """Pictures without a usable answer → why."""
    notes: tuple[str, ...]
    """What else the reader should know."""


def read_results(folders: Sequence[Path]) -> Results:
    """Read folders that `conceptseg segment` has written.

    Raises:
        InputError: a folder holds no results, or two hold answers about one concept and picture.
    """
    answers: dict[str, dict[str, Answer | str]] = {}
    concepts: dict[str, None] = {}
    notes = []
    for folder in dict.fromkeys(folder.resolve() for folder in folders):
        rows, unusable = _rows_of(folder)
        if unusable:
            notes.append(f"{unusable} lines of {folder / _RESULTS_FILE} are no results, and were passed over.")
        for source, row in rows.items():
            concept = str(row.get("concept"))
            concepts[concept] = None
            if concept in answers.setdefault(source, {}):
                raise InputError(f"Two folders hold answers about {concept!r} in {source}: export one of them.")
            answers[source][concept] = _answer_of(folder, row, concept)
    failures = {source: why for source, given in answers.items() if (why := _why_unusable(given, concepts))}
    good = {
        source: [answer for concept in concepts if isinstance(answer := given[concept], Answer)]
        for source, given in sorted(answers.items())
        if source not in failures
    }
    common = _common_folder(list(good))
    pictures = tuple(_pictures_of(good, common))
    return Results(common, tuple(concepts), pictures, failures, tuple(notes))


def _rows_of(folder: Path) -> tuple[dict[str, dict[str, Any]], int]:
    """The last row of each picture, and how many lines are none."""
    path = folder / _RESULTS_FILE
    if not path.is_file():
        raise InputError(f"{folder} has no {_RESULTS_FILE}: name a folder that `conceptseg segment` has written.")
    contents = read_rows(path, _is_answer)
    return {row["source"]: row for row in contents.rows}, contents.unusable + contents.is_torn


def _is_answer(row: Mapping[str, Any]) -> bool:
    return isinstance(row.get("source"), str) and is_plain_stem(row.get("stem"))


def _answer_of(folder: Path, row: Mapping[str, Any], concept: str) -> Answer | str:
    """A row's answer, or why there is none."""
    if row.get("error") is not None:
        return str(row["error"])
    size = row.get("size_hw")
    if not (isinstance(size, list) and len(size) == 2 and all(type(side) is int and side > 0 for side in size)):
        return f"its line says no size of the mask, but {size!r}"
    path = folder / f"{row['stem']}.mask.png"
    return Answer(concept, path, (size[0], size[1]), row) if path.is_file() else f"there is no mask {path}"


def _why_unusable(given: Mapping[str, Answer | str], concepts: Mapping[str, None]) -> str | None:
    reasons = [answer for answer in given.values() if isinstance(answer, str)]
    reasons += [f"it was not asked for {concept!r}" for concept in concepts if concept not in given]
    sizes = {answer.size_hw for answer in given.values() if isinstance(answer, Answer)}
    if len(sizes) > 1:
        reasons.append(f"its masks have several sizes (height, width): {sorted(sizes)}")
    return "; ".join(dict.fromkeys(reasons)) or None


def _common_folder(sources: Sequence[str]) -> Path:
    try:
        return Path(os.path.commonpath([str(Path(source).parent) for source in sources]))
    except ValueError:  # none, or on several drives
        return Path(Path(sources[0]).anchor) if sources else Path()


def _pictures_of(good: Mapping[str, Sequence[Answer]], common: Path) -> Iterator[Picture]:
    taken: set[str] = set()
    for source, answers in good.items():
        stem = str(answers[0].record["stem"])
        name = distinct_stem(stem, os.fsencode(source), lambda candidate: name_key(candidate) not in taken)
        taken.add(name_key(name))
        path = Path(source)
        file_name = path.relative_to(common).as_posix() if path.is_relative_to(common) else path.as_posix()
        yield Picture(path, name, file_name, tuple(answers))
