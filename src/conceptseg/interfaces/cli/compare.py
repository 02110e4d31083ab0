"""`conceptseg compare`: which of two runs is better, by how much, and whether that is more than chance."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from conceptseg.interfaces.cli.entry import ExitStatus

if TYPE_CHECKING:
    from conceptseg.evaluation.comparison import Comparison

__all__ = ["add_parser", "run"]


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command's arguments."""
    parser = subparsers.add_parser("compare", description=__doc__)
    parser.add_argument(
        "runs", nargs="+", metavar="RUN", help="folders of `conceptseg evaluate`; all against the first"
    )
    parser.add_argument("--measure", default="miou", metavar="NAME", help="a number of their rows (default: miou)")
    parser.add_argument("--task", action="append", metavar="T", help="only this task; may be repeated")


def run(args: argparse.Namespace) -> int:
    """Print every other run against the first one, question by question.

    Raises:
        InputError: there is one run only, a folder is no run, or they have too few questions in common.
    """
    from conceptseg.errors import InputError
    from conceptseg.evaluation.comparison import compare_runs
    from conceptseg.evaluation.runs import load_run
    from conceptseg.interfaces.cli.console import format_table

    if len(args.runs) < 2:
        raise InputError("Name two runs or more: the others are compared with the first.")
    first, *others = map(load_run, args.runs)
    rows = []
    for other in others:
        one = compare_runs(other, first, args.measure, args.task)
        difference = f"{one.difference:+.4f} ± {one.standard_error:.4f}"
        shared = f"{one.differing} of {one.questions}"
        rows.append([other.folder.name, f"{one.first:.4f}", f"{one.second:.4f}", difference, shared, _words(one)])
    print(format_table(["run", args.measure, first.folder.name, "better by", "differing", "better?"], rows))
    print("Means over tasks; ± is one standard error of the paired difference; two decide.")
    return ExitStatus.DONE


def _words(one: Comparison) -> str:
    from conceptseg.evaluation.comparison import Verdict

    told = {
        Verdict.HOLDS: "yes",
        Verdict.FAILS: "no, worse",
        Verdict.OPEN: "not decided",
        Verdict.SAME: "same answers",
    }
    return told[one.verdict()]
