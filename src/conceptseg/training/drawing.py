"""What is trained on, in which order, with which references: all of it decided by (seed, sample id), never by order."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from filecmp import cmp
from itertools import islice
from pathlib import Path
from typing import TypeVar, overload

import numpy as np

from conceptseg.data.reading import read_samples
from conceptseg.data.samples import ConceptSample, ImageSource, Reference
from conceptseg.data.world import TRAINED_TASKS, ConceptWorld
from conceptseg.errors import SampleError
from conceptseg.taxonomy import Level
from conceptseg.training.config import DataSection, ReferenceSection, WorldSection

__all__ = ["ReferenceDrawer", "SampleOrder", "SampleSet", "collect_samples", "is_same_picture"]

T = TypeVar("T")


class SampleSet(Sequence[ConceptSample]):
    """Samples of folders and of ConceptWorld as one sequence; those of the world are made when asked for."""

    def __init__(self, stored: Sequence[ConceptSample], world: ConceptWorld | None, indices: Sequence[int]) -> None:
        self._stored = stored
        self._world = world
        self._indices = indices

    def __len__(self) -> int:
        return len(self._indices)

    @overload
    def __getitem__(self, index: int) -> ConceptSample: ...

    @overload
    def __getitem__(self, index: slice) -> SampleSet: ...

    def __getitem__(self, index: int | slice) -> ConceptSample | SampleSet:
        """A sample, or some of them as a set of their own."""
        if isinstance(index, slice):
            return SampleSet(self._stored, self._world, self._indices[index])
        place = self._indices[index]
        if place < len(self._stored):
            return self._stored[place]
        if self._world is None:
            raise IndexError(f"There are {len(self._stored)} samples, asked for {place}.")
        return self._world[place - len(self._stored)]

    def pick(self, indices: Sequence[int]) -> SampleSet:
        """Some of the samples, by their places in this set."""
        return SampleSet(self._stored, self._world, [self._indices[index] for index in indices])

    def stored(self) -> Iterator[tuple[int, ConceptSample]]:
        """The samples that come from folders, with their places; those of ConceptWorld are right by construction."""
        return ((place, self._stored[i]) for place, i in enumerate(self._indices) if i < len(self._stored))


class SampleOrder(Sequence[int]):
    """Which sample comes when: epoch after epoch, each in an order of its own.

    Position k of the run is sample `order[k]`; it depends on the seed and k alone, so that a resumed run goes on with
    the same samples, on any number of processes.
    """

    def __init__(self, samples: int, draws: int, seed: int) -> None:
        if samples < 1:
            raise SampleError("There are no samples to train on.")
        self._samples, self._draws, self._seed = samples, draws, seed
        self._epochs: dict[int, np.ndarray] = {}

    def __len__(self) -> int:
        return self._draws

    @overload
    def __getitem__(self, index: int) -> int: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[int]: ...

    def __getitem__(self, index: int | slice) -> int | Sequence[int]:
        """The place of the sample at a position of the run."""
        if isinstance(index, slice):
            return [self[k] for k in range(*index.indices(len(self)))]
        if not 0 <= index < self._draws:
            raise IndexError(f"The run has {self._draws} draws, asked for {index}.")
        epoch, place = divmod(index, self._samples)
        if epoch not in self._epochs:
            self._epochs = {epoch: np.random.default_rng([self._seed, epoch]).permutation(self._samples)}
        return int(self._epochs[epoch][place])


class ReferenceDrawer:
    """Chooses a sample's references; the same ones whenever it is asked for the same sample.

    A sample's own references are thinned to `count`, order kept; a sample of level CR keeps all of them, since there
    they are part of the question (Table 12, "Default"). A sample without any is given up to `count` other samples of
    the same task, concept and group, never a picture of itself.
    """

    def __init__(self, section: ReferenceSection, others: Sequence[ConceptSample], seed: int) -> None:
        self._section = section
        self._seed = seed if section.seed is None else section.seed
        self._kin: Mapping[tuple[str, str, str | None], list[ConceptSample]] = _by_kind(others)

    def references_of(self, sample: ConceptSample) -> tuple[Reference, ...]:
        """The references to show with a sample."""
        count = self._section.count
        if sample.references:
            own = sample.references
            return own if sample.level is Level.CR and count else _thinned(own, count, self._rng(sample))
        if not (self._section.from_others and count):
            return ()
        kin = self._kin.get(_kind(sample), [])
        shuffled = (kin[i] for i in self._rng(sample).permutation(len(kin)))
        chosen = islice((other for other in shuffled if _may_stand_for(other, sample)), count)
        return tuple(Reference(other.image, other.mask) for other in chosen)

    def _rng(self, sample: ConceptSample) -> np.random.Generator:
        digest = hashlib.blake2b(sample.id.encode(), digest_size=8).digest()
        return np.random.default_rng([self._seed, int.from_bytes(digest, "little")])


def collect_samples(data: DataSection, seed: int) -> tuple[SampleSet, SampleSet]:
    """The samples to train on, and those held out.

    Held out are the folders' samples of the split `data.validation`; where there are none, as many as `data.held_out`
    says, chosen by the seed.

    Args:
        data: sources, limit and number held out.
        seed: of the choice of both.

    Raises:
        SampleError: a folder is no folder of samples, an id occurs twice, or nothing is left to train on; the key to
            change is named.
        InputError: ConceptWorld has no such task or split.
    """
    stored, aside = _read_folders(data)
    world, indices = _world_of(data.world, data.references.count)
    everything = SampleSet(stored, world, [*range(len(stored)), *(len(stored) + index for index in indices)])
    count = 0 if aside else _held_out_count(data.held_out, len(everything))
    order = [int(i) for i in np.random.default_rng([seed, 0x5E7]).permutation(len(everything))]
    held_out, rest = order[:count], order[count:][: data.limit]
    if not rest:
        raise SampleError(
            f"Nothing is left to train on: {len(everything)} samples in all, data.held_out={data.held_out} sets "
            f"{count} of them aside. Lower it; a share such as data.held_out=0.2 works for any number."
        )
    chosen = SampleSet(aside, None, range(len(aside))) if aside else everything.pick(sorted(held_out))
    return everything.pick(sorted(rest)), chosen


def is_same_picture(a: ImageSource, b: ImageSource) -> bool:
    """Whether two sources are one picture: the same object, the same file, or files with the same bytes."""
    if a is b:
        return True
    paths = [source for source in (a, b) if isinstance(source, (str, Path))]
    if len(paths) < 2:
        return False
    first, second = (Path(path) for path in paths)
    return first.resolve() == second.resolve() or cmp(first, second, shallow=False)


def _world_of(section: WorldSection | None, references: int) -> tuple[ConceptWorld | None, range]:
    if section is None:
        return None, range(0)
    tasks = TRAINED_TASKS if section.tasks == "trained" else section.tasks
    world = ConceptWorld(tasks, section.split, section.seed, section.size_px, references)
    return world, range(section.first, section.first + section.count)


def _read_folders(data: DataSection) -> tuple[list[ConceptSample], list[ConceptSample]]:
    """The folders' samples to choose from, and those of the validation split."""
    try:
        rows = [sample for folder in data.folders for sample in read_samples(folder)]
    except SampleError as error:
        raise SampleError(f"data.folders: {error}") from error
    _check_unique(rows)
    aside = [] if data.validation is None else [sample for sample in rows if sample.split == data.validation]
    others = [sample for sample in rows if data.validation is None or sample.split != data.validation]
    chosen = [sample for sample in others if data.split is None or sample.split == data.split]
    if data.folders and not chosen:
        splits = Counter(sample.split or "without a split" for sample in rows)
        told = ", ".join(f"{count} {name}" for name, count in sorted(splits.items())) or "none"
        but = f"; {data.validation!r} is held out by data.validation" if aside else ""
        raise SampleError(
            f"data.folders has no sample to train on: data.split={data.split or 'null'} was asked for, there are "
            f"{told}{but}. Set data.split to one of these, or to null for all."
        )
    return chosen, aside


def _held_out_count(wanted: float, samples: int) -> int:
    """A number as it is; a share of the samples, rounded."""
    return round(wanted * samples) if isinstance(wanted, float) else wanted


def _check_unique(samples: Sequence[ConceptSample]) -> None:
    counts = Counter(sample.id for sample in samples)
    twice = [name for name, count in counts.items() if count > 1]
    if twice:
        raise SampleError(f"Several folders hold samples of the same id: {', '.join(twice[:5])}.")


def _kind(sample: ConceptSample) -> tuple[str, str, str | None]:
    return sample.task, sample.concept, sample.group


def _by_kind(samples: Sequence[ConceptSample]) -> dict[tuple[str, str, str | None], list[ConceptSample]]:
    kinds: dict[tuple[str, str, str | None], list[ConceptSample]] = defaultdict(list)
    for sample in samples:
        if sample.mask is not None:
            kinds[_kind(sample)].append(sample)
    return dict(kinds)


def _may_stand_for(other: ConceptSample, sample: ConceptSample) -> bool:
    return other.id != sample.id and not is_same_picture(other.image, sample.image)


def _thinned(items: tuple[T, ...], count: int, rng: np.random.Generator) -> tuple[T, ...]:
    """`count` of the items at random, in their order."""
    if count >= len(items):
        return items
    return tuple(items[i] for i in sorted(rng.permutation(len(items))[:count]))
