"""`conceptseg world make` writes ConceptWorld samples to a folder, `conceptseg world show` draws a contact sheet."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from conceptseg.interfaces.cli.console import at_least, named_path
from conceptseg.interfaces.cli.entry import ExitStatus

if TYPE_CHECKING:
    from conceptseg.data.world import ConceptWorld

__all__ = ["add_parser", "run"]


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command's arguments."""
    parser = subparsers.add_parser("world", description=__doc__)
    actions = parser.add_subparsers(metavar="make|show", required=True, dest="action")
    make = actions.add_parser("make", description="Write samples as a folder that `read_samples` reads.")
    _add_world_arguments(make, count=100)
    make.add_argument("--overwrite", action="store_true", help="discard the rows that FOLDER holds, else they stay")
    make.add_argument(
        "--out", type=named_path, required=True, metavar="FOLDER", help="where samples.jsonl and pictures go"
    )
    show = actions.add_parser("show", description="Draw samples side by side: references, picture, mask, rule.")
    _add_world_arguments(show, count=2)
    show.add_argument("--out", type=named_path, default=Path("world.png"), metavar="FILE", help="default: world.png")


def run(args: argparse.Namespace) -> int:
    """Make or show samples.

    Raises:
        InputError: an unknown task or split, a negative number, or a sheet that is no picture by its name.
    """
    from conceptseg.errors import InputError

    if args.count < 1:
        raise InputError(f"--count must be at least 1, got {args.count}.")
    return _make(_world(args), args) if args.action == "make" else _show(_world(args), args)


def _add_world_arguments(parser: argparse.ArgumentParser, *, count: int) -> None:
    parser.add_argument("--task", default="all", metavar="T", help="leaf tasks, separated by commas; default: all")
    parser.add_argument("--split", default="train", metavar="S", help="train (default), seen_test or unseen_test")
    parser.add_argument("--count", type=int, default=count, metavar="N", help=f"samples a task (default: {count})")
    parser.add_argument(
        "--seed", type=at_least(0), default=0, metavar="N", help="another seed, another world (default: 0)"
    )
    parser.add_argument("--size", type=int, default=168, metavar="PX", help="side of the pictures (default: 168)")
    parser.add_argument("--references", type=int, default=4, metavar="N", help="references a sample (default: 4)")


def _world(args: argparse.Namespace) -> ConceptWorld:
    from conceptseg.data.world import ConceptWorld

    tasks = "all" if args.task == "all" else [task.strip() for task in args.task.split(",")]
    return ConceptWorld(tasks, args.split, args.seed, args.size, args.references)


def _make(world: ConceptWorld, args: argparse.Namespace) -> int:
    from conceptseg.data.world import write_world

    write_world(world, args.out, args.count, overwrite=args.overwrite)
    print(f"{args.count * len(world.tasks)} samples of {len(world.tasks)} tasks → {args.out}")
    return ExitStatus.DONE


def _show(world: ConceptWorld, args: argparse.Namespace) -> int:
    from conceptseg.data.world import contact_sheet
    from conceptseg.errors import InputError
    from conceptseg.formats import writable_suffixes

    if args.out.suffix.lower() not in writable_suffixes():
        raise InputError(f"--out {args.out}: a sheet is a picture ({', '.join(sorted(writable_suffixes()))}).")
    args.out.parent.mkdir(parents=True, exist_ok=True)
    contact_sheet(world, args.count).save(args.out)
    print(f"{args.count} samples of each of {len(world.tasks)} tasks → {args.out}")
    return ExitStatus.DONE
