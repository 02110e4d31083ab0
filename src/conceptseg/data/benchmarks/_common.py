"""What the readers of all benchmarks share: items found on disk, references drawn, samples made, counts checked.

A reader knows one data set as its authors ship it. It implements `scan`, which lists the items of a split and
whatever is wrong; everything else follows here.
"""

from __future__ import annotations

import os
import random
from abc import ABC, abstractmethod
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from conceptseg.data.samples import ConceptSample, Reference
from conceptseg.errors import ImageError, SampleError
from conceptseg.images import ImageSource, load_image, load_mask

__all__ = [
    "MALFORMED",
    "Benchmark",
    "BenchmarkInfo",
    "CheckReport",
    "CountRow",
    "Item",
    "Scan",
    "draw_references",
    "missing_files",
]

MALFORMED = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError)
"""What reading an annotation raises that is not built as its data set says."""

_SHOWN = 20


@dataclass(frozen=True)
class BenchmarkInfo:
    """What is known of a data set before it is opened."""

    name: str
    """The name it is registered and asked for by."""
    title: str
    source: str
    """Where its authors publish it."""
    licence: str
    """The terms as its publishers state them."""
    layout: str
    """The folders and files below the root, as shipped."""
    protocol: str
    """What is asked of which images, and how it is scored."""
    fetch: str
    """What to do to have it: printed whenever a file is missing."""
    splits: tuple[str, ...]
    """The splits it has; the last one is read by default."""
    expected: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """(split, task) → how many the paper's Table 5 or 6 counts."""


@dataclass(frozen=True, eq=False)
class Item:
    """One annotated picture of a split, before references are drawn for it."""

    id: str
    """Unique within the benchmark."""
    task: str
    concept: str
    """The question the benchmark is run with."""
    image: ImageSource
    mask: ImageSource | None
    group: str
    """References come from the items of the same group."""
    references: tuple[Reference, ...] | None = None
    """References that belong to the question itself; None to draw some."""
    answer: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Scan:
    """What was found of a split."""

    items: Sequence[Item]
    problems: Sequence[str] = ()
    """Missing or unreadable files and rows, one sentence each."""


@dataclass(frozen=True)
class CountRow:
    """How many were found of one task of one split, beside the paper's count."""

    split: str
    task: str
    found: int
    expected: int | None


@dataclass(frozen=True)
class CheckReport:
    """Whether a copy of a benchmark is complete."""

    name: str
    root: Path
    counts: tuple[CountRow, ...]
    problems: tuple[str, ...]
    fetch: str

    @property
    def ok(self) -> bool:
        """Nothing is missing, and every count that the paper states is met."""
        return not self.problems and all(row.expected in (None, row.found) for row in self.counts)

    def text(self) -> str:
        """The report in lines for people."""
        lines = [f"{self.name} in {self.root}: {'complete' if self.ok else 'not complete'}"]
        for row in self.counts:
            known = "" if row.expected is None else f" of {row.expected} in the paper"
            lines.append(f"  {row.split:6} {row.task:28} {row.found}{known}")
        lines += [f"  {problem}" for problem in _shortened(self.problems)]
        return "\n".join(lines if self.ok else [*lines, f"  How to get it: {self.fetch}"])


class Benchmark(ABC):
    """A data set that can be turned into samples."""

    info: ClassVar[BenchmarkInfo]
    pool_split: ClassVar[str | None] = "train"
    """The split references are drawn from; None for the split that is read."""
    default_references: ClassVar[int] = 4
    """How many references are drawn when nothing is said."""
    checked_splits: ClassVar[tuple[str, ...] | None] = None
    """The splits that a whole copy has; None for all of them."""

    @abstractmethod
    def scan(self, root: Path, split: str) -> Scan:
        """List the items of a split without opening pictures; missing things become problems, not exceptions."""

    def read(
        self, root: str | Path, split: str | None = None, *, references: int | None = None, seed: int = 0
    ) -> list[ConceptSample]:
        """The samples of a split, in a fixed order; pictures are not opened.

        References are drawn from the items of the same group in the train split (in the split itself where there is
        no other), by (seed, sample id) alone and never the target's own picture; one, where the group has two
        pictures, as in the released code. That one draws with replacement, this one does not.

        Args:
            root: The folder the data set was unpacked into.
            split: One of `info.splits`; the last of them by default.
            references: How many to draw at most, 0 for none; by default 4, and 0 where the benchmark is run without.
                Questions that come with references keep theirs.
            seed: Changes which references are drawn, and nothing else.

        Raises:
            SampleError: the split is unknown, or something is missing or unreadable: up to twenty things are named,
                with the way to get the data set.
        """
        chosen = self._checked_split(split)
        count = self.default_references if references is None else references
        items = self.kept(Path(root), self.complete_items(root, chosen))
        draws = count > 0 and any(item.references is None for item in items)
        pool_split = self.pool_split or chosen
        pool = items if pool_split == chosen or not draws else self.complete_items(root, pool_split)
        groups = group_items(pool) if draws else {}
        return [self._sample(item, chosen, groups.get(item.group, ()), count, seed) for item in items]

    def check(self, root: str | Path, *, decode: bool = False) -> CheckReport:
        """Count what is there, compare with the paper, and name what is missing.

        Args:
            root: The folder the data set was unpacked into.
            decode: Also open every picture and mask, references that belong to questions included, and name those that
                are damaged.
        """
        counts, problems = [], []
        for split in self.checked_splits or self.info.splits:
            scan = self._scanned(Path(root), split)
            found = self.count(self.kept(Path(root), scan.items))
            tasks = [*found, *(task for known, task in self.info.expected if known == split and task not in found)]
            counts += [CountRow(split, task, found[task], self.info.expected.get((split, task))) for task in tasks]
            problems += [*scan.problems, *(_damages(scan.items) if decode else ())]
        return CheckReport(self.info.name, Path(root), tuple(counts), tuple(dict.fromkeys(problems)), self.info.fetch)

    def count(self, items: Sequence[Item]) -> Counter[str]:
        """How many items there are of every task, in the unit of the paper's tables."""
        return Counter(item.task for item in items)

    def complete_items(self, root: str | Path, split: str | None = None) -> Sequence[Item]:
        """All items of a split, those that take no part included; arguments and errors as for `read`."""
        split = self._checked_split(split)
        scan = self._scanned(Path(root), split)
        if scan.problems or not scan.items:
            problems = scan.problems or [f"there is nothing of split {split!r}"]
            listed = "\n".join(f"- {problem}" for problem in _shortened(problems))
            raise SampleError(
                f"Benchmark {self.info.name!r}, split {split!r}, is not complete in {root}:\n{listed}\n"
                f"How to get it: {self.info.fetch}\nExpected layout: {self.info.layout}"
            )
        return scan.items

    def kept(self, root: Path, items: Sequence[Item]) -> Sequence[Item]:
        """The items that take part; a data set whose masks have been built leaves out those that got none."""
        return items

    def _scanned(self, root: Path, split: str) -> Scan:
        """What a reader lists, or that the copy is not built as it should be: a reader need not foresee everything."""
        try:
            return self.scan(root, split)
        except MALFORMED as error:
            return Scan([], [f"{root}, split {split!r}, is not built as {self.info.title} is: {error!r}"])

    def _checked_split(self, split: str | None) -> str:
        if split is not None and split not in self.info.splits:
            known = ", ".join(self.info.splits)
            raise SampleError(f"Benchmark {self.info.name!r} has no split {split!r}. Its splits: {known}.")
        return split or self.info.splits[-1]

    def _sample(self, item: Item, split: str, pool: Sequence[Item], references: int, seed: int) -> ConceptSample:
        drawn = draw_references(item, pool, references, seed) if item.references is None else item.references
        return ConceptSample(
            id=f"{self.info.name}/{item.id}",
            task=item.task,
            concept=item.concept,
            image=item.image,
            mask=item.mask,
            references=drawn,
            answer=item.answer,
            group=item.group,
            split=split,
            extra=item.extra,
        )


def group_items(items: Iterable[Item]) -> dict[str, list[Item]]:
    """Items by their group."""
    groups: defaultdict[str, list[Item]] = defaultdict(list)
    for item in items:
        groups[item.group].append(item)
    return groups


def draw_references(target: Item, pool: Sequence[Item], count: int, seed: int) -> tuple[Reference, ...]:
    """Up to `count` different items of the pool as references, decided by (seed, target id) alone."""
    others = [item for item in pool if item.id != target.id and item.image != target.image]
    drawn = random.Random(f"{seed}/{target.id}").sample(others, min(count, len(others)))
    return tuple(Reference(item.image, mask=item.mask) for item in drawn)


def missing_files(items: Iterable[Item]) -> list[str]:
    """The pictures and masks that items name and that are not there, one sentence each."""
    sources = (
        source
        for item in items
        for source in (item.image, item.mask, *(reference.image for reference in item.references or ()))
    )
    paths = sorted({source for source in sources if isinstance(source, Path)})
    return [f"there is no file {path}" for path in paths if not os.path.isfile(path)]


def _damages(items: Iterable[Item]) -> list[str]:
    problems = []
    for item in items:
        try:
            image = load_image(item.image)
            if item.mask is not None:
                load_mask(item.mask, (image.height, image.width))
            for reference in item.references or ():
                load_image(reference.image)
        except ImageError as error:
            problems.append(f"{item.id}: {error}")
    return problems


def _shortened(problems: Sequence[str]) -> list[str]:
    shown = list(problems[:_SHOWN])
    return shown if len(problems) <= _SHOWN else [*shown, f"… and {len(problems) - _SHOWN} more"]
