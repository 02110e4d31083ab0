"""`conceptseg review`: the results of `conceptseg segment`, least certain first, as a page and as a list."""

from __future__ import annotations

import argparse
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

from conceptseg.interfaces.cli.entry import ExitStatus

__all__ = ["add_parser", "run"]

PAGE_FILE, LIST_FILE = "review.html", "review.txt"

_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 1180px; padding: 0 1rem; color: #222 }
.row { display: flex; flex-wrap: wrap; gap: 1rem } figure { margin: 0; width: 270px }
img { width: 270px; border-radius: 4px } figcaption { color: #555; font-size: 13px; overflow-wrap: anywhere }
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command's arguments."""
    parser = subparsers.add_parser("review", description=__doc__)
    parser.add_argument("results", type=Path, metavar="RESULTS", help="a folder of `conceptseg segment`")
    parser.add_argument("--count", type=int, default=100, metavar="N", help="pictures to show (default: 100)")


def run(args: argparse.Namespace) -> int:
    """Write `review.html` and `review.txt` (one path a line) into the folder.

    Raises:
        InputError: there are no results.
    """
    from conceptseg.errors import InputError
    from conceptseg.interfaces.cli.ledger import RESULTS_FILE, read_records

    records = list(read_records(args.results / RESULTS_FILE).values())
    if not records or args.count < 1:
        raise InputError(f"{args.results} holds no results to review: `conceptseg segment --out {args.results}` first.")
    ordered = sorted(records, key=_certainty)
    chosen = ordered[: args.count]
    _write(args.results / LIST_FILE, "".join(f"{record['source']}\n" for record in chosen))
    uncalibrated = sum(not record.get("calibrated") for record in chosen)
    figures = "".join(map(_figure, chosen))
    told = "" if not uncalibrated else " Confidence is not calibrated for this checkpoint: it orders, but is no IoU."
    _write(
        args.results / PAGE_FILE,
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>conceptseg review</title>'
        f"<style>{_STYLE}</style></head><body><h1>Least certain first</h1><p>{len(chosen)} of {len(records)} pictures."
        f"{told}</p><div class='row'>{figures}</div></body></html>\n",
    )
    print(f"{len(chosen)} of {len(records)} pictures, least certain first → {args.results / PAGE_FILE}, {LIST_FILE}")
    if told:
        print(told.strip())
    return ExitStatus.DONE


def _certainty(record: dict[str, Any]) -> tuple[int, float, str]:
    """What failed comes first, then what is of unknown confidence, then by confidence."""
    if record.get("error") is not None:
        return 0, 0.0, record["source"]
    confidence = record.get("confidence")
    if isinstance(confidence, (int, float)):
        return 2, float(confidence), record["source"]
    return 1, 0.0, record["source"]


def _figure(record: dict[str, Any]) -> str:
    name = escape(Path(record["source"]).name)
    if record.get("error") is not None:
        return f"<figure><figcaption>{name}: failed: {escape(str(record['error']))}</figcaption></figure>"
    confidence, found = record.get("confidence"), record.get("found")
    told = "confidence unknown" if confidence is None else f"confidence {confidence:.2f}"
    told += ", not found" if found is False else ""
    overlay = quote(f"{Path(record['stem']).name}.overlay.jpg")
    return (
        f"<figure><a href='{overlay}'><img src='{overlay}' alt='{name}' loading='lazy'></a>"
        f"<figcaption>{name}: {told}</figcaption></figure>"
    )


def _write(path: Path, text: str) -> None:
    from conceptseg.files import replacing

    with replacing(path) as fresh:
        fresh.write_bytes(text.encode("utf-8", "surrogateescape"))
