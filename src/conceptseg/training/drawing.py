"""What is trained on, and in which order: decided by the seed and the place in the run, whoever runs it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple, overload

import numpy as np

from conceptseg.data.reading import read_samples
from conceptseg.data.samples import ConceptSample
from conceptseg.data.world import TRAINED_TASKS, ConceptWorld
from conceptseg.errors import SampleError
from conceptseg.training.config import DataSection, WorldSection

__all__ = ["SampleOrder", "SampleSet", "Turn", "collect_samples"]


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


class Turn(NamedTuple):
    """One showing of a sample."""

    place: int
    """The sample's place in its set."""
    draw: int = 0
    """Which of the draws of its references it is shown with."""


class SampleOrder(Sequence[Turn]):
    """Which sample comes when: epoch after epoch, each in an order and with references of its own.

    Position k of the run is `order[k]`; it depends on the seed and k alone, so that a resumed run goes on with the
    same samples, on any number of processes.

    Args:
        samples: how many there are.
        length: of the run, in turns.
        seed: of the order.
        draws: different draws of a sample's references, epoch after epoch and then over again; None makes one an epoch.
    """

    def __init__(self, samples: int, length: int, seed: int, draws: int | None = None) -> None:
        if samples < 1:
            raise SampleError("There are no samples to train on.")
        self._samples, self._length, self._seed, self._draws = samples, length, seed, draws
        self._epochs: dict[int, np.ndarray] = {}

    def __len__(self) -> int:
        return self._length

    @overload
    def __getitem__(self, index: int) -> Turn: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Turn]: ...

    def __getitem__(self, index: int | slice) -> Turn | Sequence[Turn]:
        """What comes at a position of the run."""
        if isinstance(index, slice):
            return [self[k] for k in range(*index.indices(len(self)))]
        if not 0 <= index < self._length:
            raise IndexError(f"The run has {self._length} turns, asked for {index}.")
        epoch, place = divmod(index, self._samples)
        if epoch not in self._epochs:
            self._epochs = {epoch: np.random.default_rng([self._seed, epoch]).permutation(self._samples)}
        return Turn(int(self._epochs[epoch][place]), epoch if self._draws is None else epoch % self._draws)


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
