"""What a folder stands for: the pictures in it, at any depth, and an account of everything else.

One definition for `segment`, for folders that are evaluated, and for `data from-folders`. Links are followed, each
folder is entered once. Left out, counted and named are: hidden files, links that lead nowhere, what an earlier run of
ours has written, pictures that cannot be read here, and files that are no pictures.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from conceptseg.errors import InputError
from conceptseg.formats import advice_for, holds_picture, is_plain_suffix, readable_suffixes
from conceptseg.ledger import LOCK_FILE

__all__ = ["LeftOut", "Picture", "Pictures", "describe_nothing", "find_pictures", "is_picture"]

_SHOWN = 3
_MASK, _OVERLAY = ".mask.png", ".overlay.jpg"
_LEDGER = frozenset({"request.json", "results.jsonl"})
_RUNS: tuple[frozenset[str], ...] = (
    frozenset({"run.json", "rows-000.jsonl"}),  # evaluate
    frozenset({"trained_on.jsonl", "config.yaml"}),  # train
    frozenset({"training_state.json", "config.yaml"}),  # a checkpoint of it
    frozenset({"contact_sheet.png", "index.html"}),  # demo
    frozenset({"report.md", "csv", "gallery"}),  # report
)
"""Files that together tell a folder in which there is nothing but what a command has written."""

RESULTS = "results of earlier runs"
HIDDEN = "hidden"
DANGLING = "links that lead nowhere"
AGAIN = "links to folders that are searched already"
CLOSED = "folders that cannot be opened"
OTHER = "no pictures"


class Picture(NamedTuple):
    """A picture in a folder."""

    inside: str
    """Its path below the folder, with "/", by the names that lead there."""
    path: Path
    """Where it lies: the folder that holds it resolved, its own name kept even if that is a link."""


@dataclass
class LeftOut:
    """What was not taken for a picture, by reason: how many, and the first names."""

    counts: dict[str, int] = field(default_factory=dict)
    names: dict[str, list[str]] = field(default_factory=dict)

    def add(self, reason: str, name: str, count: int = 1) -> None:
        """Note something that is left out."""
        self.counts[reason] = self.counts.get(reason, 0) + count
        if len(self.names.setdefault(reason, [])) < _SHOWN:
            self.names[reason].append(name)

    def update(self, other: LeftOut) -> None:
        """Take another account in."""
        for reason, count in other.counts.items():
            for number, name in enumerate(other.names[reason]):
                self.add(reason, name, 1 if number else count - len(other.names[reason]) + 1)

    def lines(self) -> list[str]:
        """A line for every reason: "left out, 3 hidden: .a.jpg, .b.jpg, …"."""
        return [
            f"left out, {count} {reason}: {', '.join(self.names[reason])}"
            + (", …" if count > len(self.names[reason]) else "")
            for reason, count in self.counts.items()
        ]


@dataclass(frozen=True)
class Pictures:
    """What a folder holds."""

    found: list[Picture]
    """By path."""
    left_out: LeftOut


def is_picture(path: str | Path) -> bool:
    """Whether a file is a picture that can be read, by its suffix in any case, in doubt by its first bytes."""
    suffix = os.path.splitext(path)[1].lower()
    if is_plain_suffix(suffix):
        return True
    return (not suffix or suffix in readable_suffixes()) and holds_picture(path, suffix)


def find_pictures(
    folder: Path,
    *,
    exclude: Path | None = None,
    apart: Path | None = None,
    deep: bool = True,
    masks: bool = False,
    only: Collection[str] | None = None,
) -> Pictures:
    """The pictures in a folder.

    Args:
        folder: may itself be a link, or hidden.
        exclude: a folder that is going to hold results: what lies in it is no picture.
        apart: a folder inside this one that is looked at on its own: nothing is said of it.
        deep: whether to search sub-folders too.
        masks: whether masks of earlier runs are what is looked for; their overlays are not.
        only: names to look at, directly in the folder; of others nothing is said.

    Raises:
        InputError: there is no such folder.
    """
    if not os.path.isdir(folder):
        raise InputError(f"There is no folder {str(folder)!r}.")
    search = _Search(exclude, apart, masks, only)
    search.enter(str(folder.resolve()), "", deep and only is None)
    return Pictures(sorted(search.found), search.left_out)


class _Search:
    """One walk through a folder; real folders are searched before those that links lead to."""

    def __init__(self, exclude: Path | None, apart: Path | None, masks: bool, only: Collection[str] | None) -> None:
        self.found: list[Picture] = []
        self.left_out = LeftOut()
        self._exclude = None if exclude is None else os.path.realpath(exclude)
        self._apart = None if apart is None else os.path.realpath(apart)
        self._masks = masks
        self._only = only
        self._seen: set[str] = set()

    def enter(self, top: str, inside: str, deep: bool) -> None:
        pending = [(top, inside)]
        links: list[tuple[str, str]] = []
        while pending or links:
            real, inside = pending.pop() if pending else links.pop(0)
            if real in self._seen:
                self.left_out.add(AGAIN, inside)
                continue
            self._seen.add(real)
            for name, is_link in self._look_into(real, inside):
                below = f"{inside}{name}/"
                if deep and is_link:
                    links.append((os.path.realpath(os.path.join(real, name)), below))
                elif deep:
                    pending.append((os.path.join(real, name), below))

    def _look_into(self, real: str, inside: str) -> list[tuple[str, bool]]:
        """Note the pictures of one folder; gives its sub-folders, and whether each is a link."""
        if _lies_in(real, self._apart):
            return []
        if _lies_in(real, self._exclude):
            if count := _count_results(real):
                self.left_out.add(RESULTS, inside or real, count)
            return []
        try:
            with os.scandir(real) as entries:
                listed = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            self.left_out.add(CLOSED, f"{inside or real} ({error.strerror})")
            return []
        names = {entry.name for entry in listed}
        if any(run <= names for run in _RUNS):
            self.left_out.add(RESULTS, inside or real)
            return []
        place = _Place(real, inside, names, self._masks)
        if self._only is not None:
            listed = [entry for entry in listed if entry.name in self._only]
        return [folder for entry in listed for folder in self._sort(entry, place)]

    def _sort(self, entry: os.DirEntry[str], place: _Place) -> Iterator[tuple[str, bool]]:
        """Note a picture or why it is none; gives the entry if it is a folder to search."""
        name = entry.name
        if place.is_result(name):
            self.left_out.add(RESULTS, place.inside + name)
        elif name.startswith("."):
            self.left_out.add(HIDDEN, place.inside + name)
        elif entry.is_symlink() and not os.path.exists(entry.path):
            self.left_out.add(DANGLING, place.inside + name)
        elif entry.is_dir():
            yield name, entry.is_symlink()
        elif reason := _why_not(entry):
            self.left_out.add(reason, place.inside + name)
        else:
            self.found.append(Picture(place.inside + name, Path(entry.path)))


@dataclass(frozen=True)
class _Place:
    """A folder being looked into."""

    real: str
    inside: str
    names: set[str]
    masks: bool

    def is_result(self, name: str) -> bool:
        """Whether `segment` or `SegmentationResult.save` wrote this: its ledger lies here, or mask and overlay do."""
        has_ledger = self.names >= _LEDGER
        if name in _LEDGER or name == LOCK_FILE:
            return has_ledger
        if name.endswith(_MASK):
            return not self.masks and (has_ledger or name.removesuffix(_MASK) + _OVERLAY in self.names)
        if name.endswith(_OVERLAY):
            return has_ledger or name.removesuffix(_OVERLAY) + _MASK in self.names
        return False


def _lies_in(real: str, folder: str | None) -> bool:
    return folder is not None and (real + os.sep).startswith(folder + os.sep)


def _why_not(entry: os.DirEntry[str]) -> str | None:
    """Why a file is no picture, or None for one."""
    if not entry.is_file():
        return OTHER
    if is_picture(entry.path):
        return None
    suffix = os.path.splitext(entry.name)[1].lower()
    advice = advice_for(suffix)
    return f"{suffix} pictures, which are not read here ({advice})" if advice else OTHER


def _count_results(folder: str) -> int:
    try:
        with os.scandir(folder) as entries:
            return sum(entry.name.endswith((_MASK, _OVERLAY)) for entry in entries)
    except OSError:
        return 0


def describe_nothing(what: str, left_out: LeftOut) -> str:
    """The sentence about a folder or pattern that holds no pictures, with what it holds instead."""
    told = f" ({'; '.join(left_out.lines())})" if left_out.counts else ""
    return f"{what} holds no pictures{told}."
