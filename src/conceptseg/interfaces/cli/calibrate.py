"""`conceptseg calibrate`: measure what a checkpoint's answers are worth, and store it beside the checkpoint.

Afterwards `confidence` is an expected IoU, masks of concepts that are not found are empty, and `--route calibrated`
knows when SAM 3 alone is good enough.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from conceptseg.interfaces.cli.console import add_model_arguments, at_least, load_segmenter
from conceptseg.interfaces.cli.entry import ExitStatus

__all__ = ["add_parser", "run"]


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command's arguments."""
    parser = subparsers.add_parser("calibrate", description=__doc__)
    parser.add_argument("--data", nargs="+", required=True, metavar="DATA", help="as for `conceptseg evaluate`")
    parser.add_argument("--references", type=at_least(0), metavar="N", help="at most N a question")
    parser.add_argument(
        "--out", type=Path, metavar="FOLDER", help="where to write it (default: the checkpoint's folder)"
    )
    parser.add_argument(
        "--batch-size", type=at_least(1), default=8, metavar="N", help="questions at a time (default: 8)"
    )
    add_model_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Ask, fit, and write `calibration.json` and `router.json`.

    Raises:
        InputError: too few questions, or nowhere to write to.
        CheckpointError: the model cannot be loaded.
    """
    from tqdm import tqdm

    from conceptseg.evaluation.calibrating import calibrate
    from conceptseg.evaluation.sources import open_sources

    folder = _folder(args)
    sources = open_sources(args.data, references=args.references, seed=args.seed)
    segmenter = load_segmenter(args)
    with tqdm(unit="question", disable=None) as bar:
        found, router = calibrate(
            segmenter, sources, batch_size=args.batch_size, progress=lambda more: bar.update(more)
        )
    paths = found.write(folder), router.write(folder)
    print(
        f"{found.questions} questions about what is there, {found.absent} about what is not: from a presence of "
        f"{found.presence_threshold:.3f} on, {found.lost:.1%} of the former are lost and {found.false:.1%} of the "
        f"latter drawn\n{router.describe()}\n→ {paths[0]}, {paths[1]}"
    )
    return ExitStatus.DONE


def _folder(args: argparse.Namespace) -> Path:
    from conceptseg.errors import InputError
    from conceptseg.models.checkpoints import BUNDLED, bundled_folder

    folder = args.out or (bundled_folder() if args.model == BUNDLED else Path(args.model).expanduser())
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder to write a calibration to: name one with --out.")
    return folder
