"""`conceptseg segment --engine ray`: the same question asked of a bucket, on a cluster."""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from conceptseg.errors import InputError, MissingExtraError
from conceptseg.interfaces.cli.asking import UNCALIBRATED, check_numbers, describe_request, load_rule, stream_options
from conceptseg.interfaces.cli.console import add_model_arguments
from conceptseg.interfaces.cli.entry import ExitStatus

if TYPE_CHECKING:
    from conceptseg.data import Reference
    from conceptseg.interfaces.cluster.parts import Parts
    from conceptseg.interfaces.cluster.sources import Unit

__all__ = ["add_cluster_arguments", "refuse_cluster_arguments", "segment_on_cluster"]

_BLOCK = 64
"""Pictures in a part, at most: what a kill costs a worker."""

_BLOCKS_A_WORKER = 4
_SHOWN = 20
_NEEDED = ("ray", "pyarrow", "fsspec")


def add_cluster_arguments(parser: argparse.ArgumentParser) -> None:
    """`--engine` and what belongs to Ray."""
    group = parser.add_argument_group("clusters (docs/clusters.md)")
    group.add_argument(
        "--engine", choices=("local", "ray"), default="local", help="ray: buckets, shards, many machines"
    )
    group.add_argument("--workers", type=int, metavar="N", help="engines (one a GPU, else one a processor core)")
    group.add_argument("--address", metavar="A", help="of the Ray cluster (RAY_ADDRESS, else one on this machine)")
    group.add_argument("--column", metavar="NAME", help="of a Parquet file, which holds the pictures")


def refuse_cluster_arguments(args: argparse.Namespace) -> None:
    """Refuse what only `--engine ray` understands.

    Raises:
        InputError: something of it was given.
    """
    given = [f"--{name}" for name in ("workers", "address", "column") if getattr(args, name) is not None]
    given += [text for text in (*args.images, str(args.out)) if "://" in text]
    if given:
        raise InputError(f"{', '.join(given)} need --engine ray (docs/clusters.md).")


def segment_on_cluster(args: argparse.Namespace) -> int:
    """Segment all pictures that are not done yet, and say how it went.

    Raises:
        InputError: no pictures, a reference that cannot be used, or results of another request or run.
        MissingExtraError: the extra [ray] is not installed.
        CheckpointError: the model cannot be loaded.
    """
    from conceptseg.interfaces.cli.inputs import parse_references
    from conceptseg.interfaces.cluster.running import answer_units, cluster
    from conceptseg.interfaces.cluster.sources import find_units
    from conceptseg.words import check_words

    _check(args)
    rule = load_rule(args)
    args.concept = check_words(args.concept, "--concept") if rule is None else rule.concept
    references = parse_references(args.ref, args.unlike, args.label, args.ignore)
    request = describe_request(args, references)
    carried = tuple(_carried(reference) for reference in references)
    out = str(args.out)
    units, left_out = find_units(args.images, exclude=out, size=_BLOCK)
    with _lone(out) as parts, cluster(args.address, args.workers, wants_gpu=args.device != "cpu") as pool:
        from conceptseg.interfaces.cluster.reading import Done
        from conceptseg.interfaces.cluster.worker import Asked

        block = _block_size(units, pool.workers, args.batch_size)
        units = _parted(units, block)
        mark = parts.begin(request, overwrite=args.overwrite)
        names, damaged = parts.done()
        asked = Asked(
            _model_arguments(args),
            args.concept if rule is None else rule,
            carried,
            stream_options(args),
            args.score_threshold if args.instances else None,
            out,
            mark,
        )
        tally = _Tally(damaged=damaged, left_out=left_out.lines())
        _follow(answer_units(units, asked, Done.of(names), pool, column=args.column, block=block), tally)
        tally.rows = _count(parts)
    for line in tally.lines():
        print(line, file=sys.stderr)
    print(tally.summary(out))
    return ExitStatus.SOME_FAILED if tally.failures else ExitStatus.DONE


@dataclass
class _Tally:
    """How the run went."""

    damaged: int
    left_out: list[str]
    routes: Counter[str] = field(default_factory=Counter)
    failed: dict[str, str] = field(default_factory=dict)
    failures: int = 0
    notes: Counter[str] = field(default_factory=Counter)
    uncalibrated: int = 0
    kept: int = 0
    members: int = 0
    engine_s: float = 0.0
    processor_s: float = 0.0
    started: float = field(default_factory=time.perf_counter)
    rows: tuple[int, int] = (0, 0)

    def add(self, row: Mapping[str, Any]) -> None:
        """A row of `TALLY`."""
        self.kept += row["kept"]
        self.members += row["left_out"]
        self.engine_s += row["seconds"]
        self.processor_s += row["processor_s"]
        if row["error"] is not None:
            self.failures += 1
            if len(self.failed) < _SHOWN:
                self.failed[row["name"]] = row["error"]
        elif row["route"] is not None:
            self.routes[row["route"]] += 1
            self.notes.update(row["notes"])
            self.uncalibrated += not row["is_calibrated"]

    def lines(self) -> Iterator[str]:
        """What people should know besides."""
        total = self.routes.total() + self.failures + self.kept
        yield from self.left_out
        if self.members:
            yield f"left out, {self.members} members of shards that are no pictures"
        if self.kept:
            yield f"{self.kept} pictures were done before, told by their names: replaced ones are not noticed."
        if self.damaged:
            yield f"{self.damaged} parts were damaged and are removed: their pictures are done again."
        for note, count in self.notes.most_common(_SHOWN):
            yield f"note, {count} of {total} images: {note}"
        if self.uncalibrated:
            yield UNCALIBRATED
        for name, reason in self.failed.items():
            yield f"failed: {name}: {reason}"
        if self.failures > len(self.failed):
            yield f"failed: {self.failures - len(self.failed)} more, in failed/"
        if self.rows[0] != self.rows[1]:
            yield f"{self.rows[0] - self.rows[1]} pictures are in the parts more than once: a bug, please report it."

    def summary(self, out: str) -> str:
        """The last line."""
        done = self.routes.total()
        seconds = time.perf_counter() - self.started
        parts = [f"{done} masks ({self.routes['direct']} direct, {self.routes['reasoned']} reasoned)"]
        parts += [f"{self.failures} failed"] if self.failures else []
        parts += [f"{self.kept} done before"] if self.kept else []
        pace = ""
        if done:
            engine, processor = self.engine_s / done, self.processor_s / done
            pace = f", {seconds / done:.3f} s/image (an engine {engine:.3f} s, a processor {processor:.3f} s)"
        return f"{done + self.failures + self.kept} images: {', '.join(parts)}{pace} → {out}"


def _follow(rows: Iterator[dict[str, Any]], tally: _Tally) -> None:
    from tqdm import tqdm

    with tqdm(unit="image", disable=None) as bar:
        for row in rows:
            tally.add(row)
            bar.update(bool(row["name"]))


def _check(args: argparse.Namespace) -> None:
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingExtraError(f"--engine ray needs {', '.join(missing)}: pip install 'conceptseg[ray]'.")
    check_numbers(args)
    if args.two_pass:
        raise InputError("--two-pass is for one small machine; --engine ray does not take it.")
    if args.workers is not None and args.workers < 1:
        raise InputError(f"--workers must be at least 1, got {args.workers}.")


@contextmanager
def _lone(out: str) -> Iterator[Parts]:
    """The place of the results; a folder of this machine is locked, elsewhere the later of two runs goes on."""
    from conceptseg.interfaces.cluster.sources import open_place
    from conceptseg.ledger import lone_writer, refuse_other_kinds

    open_place(out)  # says what is not installed before anything else does
    from conceptseg.interfaces.cluster.parts import REQUEST_FILE, Parts

    parts = Parts(out)
    if parts.local is None:
        yield parts
        return
    folder = Path(parts.local)
    if folder.exists() and not folder.is_dir():
        raise InputError(f"--out {folder} is a file: name a folder, which need not exist yet.")
    refuse_other_kinds(folder, REQUEST_FILE)
    with lone_writer(folder):
        yield parts


def _block_size(units: Sequence[Unit], workers: int, batch: int) -> int:
    """Pictures in a part: fewer where there are few, so that all workers have something to do."""
    if len(units) > workers * _BLOCKS_A_WORKER or any(unit.kind != "pictures" for unit in units):
        return _BLOCK
    pictures = sum(len(unit.names) for unit in units)
    return max(1, min(_BLOCK, batch, pictures // workers))


def _parted(units: Sequence[Unit], block: int) -> list[Unit]:
    """Units of pictures as smaller ones."""
    return [
        replace(unit, names=unit.names[at : at + block]) for unit in units for at in range(0, len(unit.names), block)
    ]


def _carried(reference: Reference) -> Reference:
    """A reference whose files travel with it.

    Raises:
        ImageError: a file cannot be read as a picture or mask.
        SampleError: the box lies outside the picture.
    """
    from conceptseg.data import load_reference

    load_reference(reference)
    mask = None if reference.mask is None else Path(str(reference.mask)).read_bytes()
    return replace(reference, image=Path(str(reference.image)).read_bytes(), mask=mask)


def _model_arguments(args: argparse.Namespace) -> dict[str, Any]:
    """What `load_segmenter` reads; a folder by its whole path, which every worker must have."""
    parser = argparse.ArgumentParser(add_help=False)
    add_model_arguments(parser)
    told = {name: getattr(args, name) for name in vars(parser.parse_args([]))}
    if os.path.isdir(os.path.expanduser(told["model"])):
        told["model"] = os.path.abspath(os.path.expanduser(told["model"]))
    return told


def _count(parts: Parts) -> tuple[int, int]:
    """Rows of all parts, and different names in them."""
    names: Sequence[str] = parts.done()[0]
    return len(names), len(set(names))
