"""What `--data` may name, as samples with their references.

    world:TASK:SPLIT:COUNT:SEED        ConceptWorld; TASK is `all`, a leaf task, or several with commas
    NAME[/SPLIT]=ROOT[?key=value&…]    a registered benchmark in the folder ROOT, with options of its reader
    FOLDER[#SPLIT]                     a folder with samples.jsonl, or a folder of such folders

A folder's default are its rows of other splits than `train`, whose rows serve as references; where it has no other
split, all of them.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, overload
from urllib.parse import parse_qsl

from conceptseg.data.benchmarks import benchmark_names, get_benchmark
from conceptseg.data.reading import SAMPLES_FILE, read_samples
from conceptseg.data.references import ReferenceDrawer
from conceptseg.data.samples import ConceptSample
from conceptseg.data.world import ConceptWorld
from conceptseg.errors import InputError
from conceptseg.evaluation.settings import DEFAULT_REFERENCES
from conceptseg.images import select_label
from conceptseg.masks import Label
from conceptseg.taxonomy import Level

__all__ = ["DataSource", "open_sources", "parse_option", "published_sets"]

_WORLD = re.compile(r"world:(?P<tasks>[\w,]+):(?P<split>\w+):(?P<count>\d+):(?P<seed>\d+)")
_BENCHMARK = re.compile(r"(?P<name>\w+)(?:/(?P<split>\w+))?=(?P<root>[^?]+)(?:\?(?P<options>.*))?")


@dataclass(frozen=True, eq=False)
class DataSource:
    """A set of questions under the name that its rows carry."""

    name: str
    samples: Sequence[ConceptSample]
    """In a fixed order; those of ConceptWorld are made when asked for."""
    ids: tuple[str, ...]
    """The samples' ids, known without making the samples."""
    pictures: tuple[str, ...]
    """What tells each sample's picture from others: its file, or the sample's id where it has none."""
    is_made: bool = False
    """Whether the name alone says what the samples are, as of ConceptWorld; others may change on disk."""


def open_sources(
    specs: Iterable[str],
    *,
    references: int | None = None,
    seed: int = 0,
    label: Label | None = None,
    ignore: Label | None = None,
) -> list[DataSource]:
    """The sets that the words after `--data` stand for.

    Args:
        specs: see the module's description.
        references: at most so many a question; None leaves it to the set. Samples of level CR keep their own.
        seed: which references; 0 keeps those that a folder's rows name. Another seed changes nothing else. Samples of
            level CR keep their own, except that ConceptWorld draws its references anew, of the same rule.
        label: the value of all masks, those of references included, that is the target, as for
            `conceptseg.images.read_mask`.
        ignore: the value of all masks that is not judged.

    Raises:
        InputError: a word means nothing, a set is named twice, samples have no mask to compare with or no id of
            their own, or a label is given for ConceptWorld, whose masks have none.
        SampleError: a folder or benchmark is not complete.
    """
    sources = [_with_labels(source, label, ignore) for spec in specs for source in _open(spec, references, seed)]
    names = [source.name for source in sources]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"--data names a set twice: {', '.join(twice)}. Its images would count twice.")
    return sources


def published_sets(specs: Sequence[str]) -> frozenset[str]:
    """The names of those sets behind `--data` that the paper measured on: its benchmarks, or their released selection.

    ConceptWorld, folders and the general layouts (`folders=`, `coco=`) are one's own data, whatever is in them.

    Args:
        specs: as of `open_sources`; nothing is opened.
    """
    names = set()
    for spec in specs:
        matched = _BENCHMARK.fullmatch(spec)
        if matched and matched["name"] in benchmark_names() and not spec.startswith("world:"):
            info = get_benchmark(matched["name"]).info
            if info.expected or info.name == "released":
                names.add(f"{info.name}/{matched['split'] or info.splits[-1]}")
    return frozenset(names)


def parse_option(text: str) -> tuple[str, str | int | float | None]:
    """A setting from `KEY=VALUE`; the value becomes a number where it reads like one, and `none` None.

    Raises:
        InputError: there is no key, or no "=".
    """
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise InputError(f"--option {text!r}: expected KEY=VALUE.")
    return key, _typed(value)


def _with_labels(source: DataSource, label: Label | None, ignore: Label | None) -> DataSource:
    """The set with its masks read by a label; as it is, when nothing is selected."""
    if label is None and ignore is None:
        return source
    if isinstance(source.samples, _WorldSamples):
        raise InputError(f"--label and --ignore are for label maps; {source.name} makes exact masks. Leave them away.")
    return replace(source, samples=[_select(sample, label, ignore) for sample in source.samples])


def _select(sample: ConceptSample, label: Label | None, ignore: Label | None) -> ConceptSample:
    mask = None if sample.mask is None else select_label(sample.mask, label, ignore)
    shown = tuple(replace(reference, label=label, ignore=ignore) for reference in sample.references)
    return replace(sample, mask=mask, references=shown)


def _open(spec: str, references: int | None, seed: int) -> list[DataSource]:
    if not spec.strip():
        raise InputError("--data is blank: name a folder, a benchmark or world:TASK:SPLIT:COUNT:SEED.")
    if spec.startswith("world:"):
        return [_open_world(spec, references, seed)]
    matched = _BENCHMARK.fullmatch(spec)
    if matched and not os.path.exists(spec):
        return [_open_benchmark(matched, references, seed)]
    folder, _, split = (spec, "", "") if os.path.isdir(spec) else spec.partition("#")
    parts = _folders_in(Path(folder))
    if not parts:
        raise InputError(
            f"--data {spec!r} is neither a folder with {SAMPLES_FILE} nor world:TASK:SPLIT:COUNT:SEED nor "
            f"NAME[/SPLIT]=ROOT. Benchmarks: {', '.join(benchmark_names())}."
        )
    return [_open_folder(part, split or None, references, seed) for part in parts]


def _open_benchmark(matched: re.Match[str], references: int | None, seed: int) -> DataSource:
    options: dict[str, Any] = dict(parse_qsl(matched["options"] or "", keep_blank_values=True))
    benchmark = get_benchmark(matched["name"], **{key: _typed(value) for key, value in options.items()})
    split = matched["split"] or benchmark.info.splits[-1]
    samples = benchmark.read(matched["root"], split, references=references, seed=seed)
    return _checked(f"{matched['name']}/{split}", samples)


def _typed(text: str) -> str | int | float | None:
    """An option's value: a number where it reads like one, `none` as None, otherwise words."""
    if text.lower() == "none":
        return None
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _folders_in(top: Path) -> list[Path]:
    if os.path.isfile(top / SAMPLES_FILE):
        return [top]
    return sorted(index.parent for index in top.glob(f"*/{SAMPLES_FILE}")) if os.path.isdir(top) else []


def _open_folder(folder: Path, split: str | None, references: int | None, seed: int) -> DataSource:
    everything = read_samples(folder)
    chosen = [sample for sample in everything if sample.split == split] if split else _held_out(everything)
    if not chosen:
        if not everything:
            raise InputError(f"{folder / SAMPLES_FILE} is empty: there is nothing to measure on.")
        known = sorted({str(sample.split) for sample in everything})
        raise InputError(f"{folder} has no samples of split {split!r}. Its splits: {', '.join(known)}.")
    pool = [sample for sample in everything if sample.split == "train"] or everything
    drawer = ReferenceDrawer(pool, seed, count=DEFAULT_REFERENCES if references is None else references)
    samples = [replace(sample, references=_references_of(sample, drawer, pool, seed)) for sample in chosen]
    name = folder.resolve().name
    return _checked(f"{name}#{split}" if split else name, samples)


def _held_out(samples: Sequence[ConceptSample]) -> Sequence[ConceptSample]:
    return [sample for sample in samples if sample.split != "train"] or samples


def _references_of(
    sample: ConceptSample, drawer: ReferenceDrawer, pool: Sequence[ConceptSample], seed: int
) -> tuple[Any, ...]:
    """The row's own references, or with another seed than 0 others, where there are any and they may be changed."""
    if seed and sample.level is not Level.CR:
        others = drawer.references_of(replace(sample, references=()))
        if others:
            return others
    return drawer.references_of(sample)


def _checked(name: str, samples: Sequence[ConceptSample]) -> DataSource:
    without = [sample.id for sample in samples if sample.mask is None]
    if without:
        raise InputError(
            f"{len(without)} of {len(samples)} samples of {name} have no mask to compare with, e.g. {without[0]!r}. "
            "Where the data set gives boxes, `conceptseg data build` makes masks of them."
        )
    ids = tuple(sample.id for sample in samples)
    twice = [sample_id for sample_id, count in Counter(ids).items() if count > 1]
    if twice:
        raise InputError(
            f"{len(twice)} ids of {name} occur more than once, e.g. {twice[0]!r}; rows are told apart by id."
        )
    return DataSource(name, samples, ids, tuple(map(_picture_of, samples)))


def _picture_of(sample: ConceptSample) -> str:
    return str(sample.image) if isinstance(sample.image, (str, Path)) else sample.id


class _WorldSamples(Sequence[ConceptSample]):
    """The first samples of every task of a world, task after task, made when asked for.

    Questions of level CR are shown with four references, whatever is asked for, unless that is none. Four are always
    made, so that no target depends on how many are shown.
    """

    def __init__(
        self, tasks: str | list[str], split: str, seed: int, count: int, references: int | None, reference_seed: int
    ) -> None:
        self._count = count
        self._shown = DEFAULT_REFERENCES if references is None else references
        made = max(self._shown, DEFAULT_REFERENCES)
        self._world = ConceptWorld(tasks, split, seed, references=made, reference_seed=reference_seed)

    @property
    def ids(self) -> tuple[str, ...]:
        """The samples' ids, without making them."""
        world = self._world
        return tuple(f"world/{world.split}/{task}/{i:06d}" for task in world.tasks for i in range(self._count))

    def __len__(self) -> int:
        return self._count * len(self._world.tasks)

    @overload
    def __getitem__(self, index: int) -> ConceptSample: ...

    @overload
    def __getitem__(self, index: slice) -> list[ConceptSample]: ...

    def __getitem__(self, index: int | slice) -> ConceptSample | list[ConceptSample]:
        """A sample, or a list of some."""
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        number, place = divmod(range(len(self))[index], self._count)
        task = self._world.tasks[number]
        sample = self._world.sample(task, place)
        belong = sample.level is Level.CR and self._shown
        return replace(sample, references=sample.references[: DEFAULT_REFERENCES if belong else self._shown])


def _open_world(spec: str, references: int | None, seed: int) -> DataSource:
    matched = _WORLD.fullmatch(spec)
    if matched is None:
        raise InputError(f"--data {spec!r}: expected world:TASK:SPLIT:COUNT:SEED, e.g. world:all:seen_test:100:0.")
    named = matched["tasks"].split(",")
    if int(matched["count"]) == 0 or len(set(named)) < len(named):
        raise InputError(f"--data {spec!r}: expected at least one sample a task, and every task once.")
    tasks = "all" if named == ["all"] else named
    samples = _WorldSamples(tasks, matched["split"], int(matched["seed"]), int(matched["count"]), references, seed)
    return DataSource(spec, samples, samples.ids, samples.ids, is_made=True)
