"""`conceptseg data from-folders`: pairs that can be used become rows, everything else is listed."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from conceptseg.data import ConceptSample, load_sample
from conceptseg.data.checking import why_unusable
from conceptseg.data.folders import hold_out, pair_folders
from conceptseg.data.writing import Appended, append_samples, write_samples
from conceptseg.errors import InputError, SampleError
from conceptseg.interfaces.cli.entry import ExitStatus

__all__ = ["from_folders"]


def from_folders(args: argparse.Namespace) -> int:
    """Pair, check, divide and write; says how many of what, and what was guessed of masks.

    Raises:
        InputError: `--val` that is no share or not of split train, or a wrong label.
        SampleError: nothing pairs off, nothing is usable, or the folder holds other samples of the same ids.
    """
    if args.val is not None and args.split != "train":
        raise InputError(f"--val divides the train split; with --split {args.split} leave it away.")
    paired = pair_folders(
        args.images,
        args.masks,
        task=args.task,
        concept=args.concept,
        answer=args.answer,
        split=args.split,
        label=args.label,
        ignore=args.ignore,
        group_by_folder=args.group_by_folder,
    )
    faults = {sample.id: why_unusable(sample) for sample in paired.samples}
    good = [sample for sample in paired.samples if faults[sample.id] is None]
    rejected = [*paired.unpaired, *((name, reason) for name, reason in faults.items() if reason)]
    for name, reason in rejected:
        print(f"left out: {name}: {reason}", file=sys.stderr)
    if not good:
        raise SampleError("No pair of image and mask can be used; the reasons stand above.")
    _tell_notes(good)
    if args.val is not None:
        good = hold_out(good, args.val, args.seed)
    _tell_written(good, args.out, overwrite=args.overwrite, rejected=len(rejected))
    for line in paired.no_pictures.lines():
        print(line, file=sys.stderr)
    return ExitStatus.SOME_FAILED if rejected else ExitStatus.DONE


def _tell_notes(samples: Sequence[ConceptSample]) -> None:
    notes = Counter(note for sample in samples for note in load_sample(sample).notes)
    for note, count in notes.items():
        print(f"note, {count} of {len(samples)} samples: {note}", file=sys.stderr)


def _tell_written(samples: Sequence[ConceptSample], out: Path, *, overwrite: bool, rejected: int) -> None:
    done = Appended(write_samples(samples, out), len(samples), 0, 0, {}) if overwrite else append_samples(samples, out)
    for old, new in done.renamed.items():
        print(f"note: {old} is the name of a picture of another split: it became {new}", file=sys.stderr)
    splits = Counter(str(sample.split) for sample in samples)
    parts = [", ".join(f"{count} {split}" for split, count in sorted(splits.items()))]
    parts += [f"{done.unchanged} were there already"] if done.unchanged else []
    parts += [f"{done.kept} others kept"] if done.kept else []
    print(f"{len(samples)} samples in {done.index} ({'; '.join(parts)}); {rejected} left out.")
