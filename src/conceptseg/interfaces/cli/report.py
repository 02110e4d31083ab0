"""`conceptseg report`: which run is better, by how much, is it real; answers to look at; the paper's tables."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from conceptseg.interfaces.cli.console import named_path
from conceptseg.interfaces.cli.entry import ExitStatus

if TYPE_CHECKING:
    from conceptseg.evaluation.runs import Run

__all__ = ["add_parser", "run"]

_OUT = Path("conceptseg-report")


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command's arguments."""
    parser = subparsers.add_parser("report", description=__doc__)
    parser.add_argument("runs", nargs="+", metavar="RUN | LABEL=RUN", help="folders that `conceptseg evaluate` made")
    parser.add_argument("--out", type=named_path, default=_OUT, metavar="DIR", help=f"default: {_OUT}")
    parser.add_argument("--no-gallery", action="store_true", help="no pictures; the data need not be there")


def run(args: argparse.Namespace) -> int:
    """Write the report.

    Raises:
        InputError: a folder is no run.
    """
    from conceptseg.evaluation.report import write_report

    report = write_report([_load(text) for text in args.runs], args.out, gallery=not args.no_gallery)
    for reason in report.left_out:
        print(f"left out: {reason}", file=sys.stderr)
    print(report.headline)
    print(f"→ {report.page}; report.md, csv/, latex/ and figures/ beside it")
    return ExitStatus.SOME_FAILED if report.left_out else ExitStatus.DONE


def _load(text: str) -> Run:
    from conceptseg.evaluation.runs import load_run

    label, equals, folder = text.partition("=")
    return load_run(folder, label) if equals and not Path(text).exists() else load_run(text)
