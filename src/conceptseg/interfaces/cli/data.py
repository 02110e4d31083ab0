"""`conceptseg data from-folders`: images and masks in two folders become samples to train and evaluate on."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from conceptseg.interfaces.cli.entry import ExitStatus

__all__ = ["add_parser", "run"]


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command's arguments."""
    parser = subparsers.add_parser("data", description=__doc__)
    actions = parser.add_subparsers(metavar="from-folders", required=True, dest="action")
    make = actions.add_parser("from-folders", description="Pair images with the masks of their names.")
    make.add_argument("images", type=Path, metavar="IMAGES", help="a folder of pictures")
    make.add_argument("masks", type=Path, metavar="MASKS", help="masks of the same names (or NAME_mask, NAME_gt)")
    make.add_argument("--concept", required=True, metavar="TEXT", help="what the masks show, in words")
    make.add_argument("--answer", metavar="TEXT", help="the same as a noun phrase of one to three words")
    make.add_argument("--task", default="other_cd", metavar="T", help="task of the taxonomy (default: other_cd)")
    make.add_argument("--split", default="train", metavar="S", help="what to call this part (default: train)")
    make.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="where samples.jsonl and copies go")


def run(args: argparse.Namespace) -> int:
    """Write the folder of samples; unusable pairs are listed and left out.

    Raises:
        SampleError: the folders do not pair off, or the task is unknown.
    """
    from conceptseg.data import write_samples
    from conceptseg.data.folders import pair_folders
    from conceptseg.training.checking import why_unusable

    samples = pair_folders(
        args.images, args.masks, task=args.task, concept=args.concept, answer=args.answer, split=args.split
    )
    faults = {sample.id: why_unusable(sample) for sample in samples}
    good = [sample for sample in samples if faults[sample.id] is None]
    for name, reason in faults.items():
        if reason:
            print(f"left out: {name}: {reason}", file=sys.stderr)
    index = write_samples(good, args.out)
    print(f"{len(good)} samples in {index}; {len(samples) - len(good)} left out.")
    return ExitStatus.DONE if len(good) == len(samples) else ExitStatus.SOME_FAILED
