"""`conceptseg export`: results as COCO, YOLO, LabelMe, Label Studio or a Hugging Face image folder."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from conceptseg.errors import InputError
from conceptseg.interfaces.cli.console import named_path
from conceptseg.interfaces.cli.entry import ExitStatus
from conceptseg.interfaces.exports import FORMATS, ExportOptions, export_results, read_results

__all__ = ["add_parser", "run"]

_EPILOG = """\
Several folders give several classes: the answers of several concepts to the same pictures. A picture without an answer
to each is left out, listed, and makes the exit status 1; it never looks like one that does not show the concept.
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command's arguments."""
    parser = subparsers.add_parser("export", description=__doc__, epilog=_EPILOG)
    parser.add_argument(
        "results", nargs="+", type=named_path, metavar="RESULTS", help="a folder that `segment` has written"
    )
    parser.add_argument("--to", choices=tuple(FORMATS), required=True, metavar="FORMAT", help=", ".join(FORMATS))
    parser.add_argument("--out", type=named_path, metavar="FOLDER", help="new or empty; default: RESULTS-FORMAT")
    parser.add_argument("--polygons", action="store_true", help="coco: polygons, holes bridged, not run lengths")
    parser.add_argument(
        "--instances", action="store_true", help="coco: an annotation an object; needs results of `segment --instances`"
    )
    parser.add_argument("--link", action="store_true", help="yolo, labelme, image-folder: link pictures, do not copy")
    parser.add_argument(
        "--url-prefix", metavar="TEXT", help="label-studio: what stands before a picture's path (its local files)"
    )


def run(args: argparse.Namespace) -> int:
    """Export, and say how it went.

    Raises:
        InputError: no results, a folder that is in use, an option of another format, or nothing to export.
    """
    from tqdm import tqdm

    options = _options(args)
    results = read_results(args.results)
    out = args.out or _default_out(args.results[0], args.to)
    with tqdm(total=len(results.pictures), unit="picture", disable=None) as bar:
        report = export_results(results, args.to, out, options, bar.update)
    for note in report.notes:
        print(f"note: {note}", file=sys.stderr)
    for source, reason in report.failures.items():
        print(f"left out: {source}: {reason}", file=sys.stderr)
    parts = [f"{report.exported} exported"]
    parts += [f"{report.empty} of them without the concept"] if report.empty else []
    parts += [f"{len(report.failures)} left out"] if report.failures else []
    print(f"{report.exported + len(report.failures)} pictures: {', '.join(parts)} → {report.folder}")
    return ExitStatus.SOME_FAILED if report.failures else ExitStatus.DONE


def _options(args: argparse.Namespace) -> ExportOptions:
    wrong = {
        "--polygons": args.polygons and args.to != "coco",
        "--instances": args.instances and args.to != "coco",
        "--link": args.link and not FORMATS[args.to].has_pictures,
        "--url-prefix": args.url_prefix is not None and args.to != "label-studio",
    }
    if any(wrong.values()):
        named = ", ".join(flag for flag, is_wrong in wrong.items() if is_wrong)
        raise InputError(f"{named} means nothing for --to {args.to}: see `conceptseg export --help`.")
    chosen = {"polygons": args.polygons, "link": args.link, "instances": args.instances}
    return ExportOptions(**chosen, **({} if args.url_prefix is None else {"url_prefix": args.url_prefix}))


def _default_out(results: Path, to: str) -> Path:
    folder = results.resolve()
    return folder.with_name(f"{folder.name}-{to}")
