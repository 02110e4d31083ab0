"""How long it takes to go on with a large folder: `python benchmarks/resume_speed.py [--done 20000] [--new 50000]`.

Files are empty and the ledger is made up: what is measured is looking around, not segmenting.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from conceptseg.digests import file_digest, file_stamp
from conceptseg.interfaces.cli.inputs import find_images
from conceptseg.interfaces.cli.ledger import Ledger
from conceptseg.ledger import rewrite, write_object

_REQUEST = {"concept": "cat"}


def _files(folder: Path, count: int) -> list[Path]:
    folder.mkdir()
    paths = [folder / f"{number:06}.jpg" for number in range(count)]
    for path in paths:
        path.touch()
    return paths


def _finished(out: Path, paths: list[Path]) -> None:
    """As if every picture had been segmented."""
    out.mkdir()
    for path in paths:
        (out / f"{path.stem}.mask.png").touch()
    write_object(out / "request.json", _REQUEST)
    empty = file_digest(paths[0])
    answer = {"error": None, "response": "x" * 600, "route": "direct", "presence": 0.5}
    rows = (
        {"source": str(p), "stem": p.stem, "file": {"stamp": file_stamp(p), "digest": empty}, **answer} for p in paths
    )
    rewrite(out / "results.jsonl", rows)


def _look_around(folder: Path, out: Path) -> tuple[float, int]:
    """Seconds until the first picture could be read, and how many are left to do."""
    started = time.perf_counter()
    images = find_images([str(folder)], exclude=out)
    with Ledger(out, _REQUEST) as ledger:
        pending = ledger.pending(images.paths)
        ledger.begin(pending)
    return time.perf_counter() - started, len(pending)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--done", type=int, default=20_000, help="rows that are there")
    parser.add_argument("--new", type=int, default=50_000, help="pictures that are new")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        top = Path(name).resolve()
        _finished(top / "out", _files(top / "done", args.done))
        seconds, left = _look_around(top / "done", top / "out")
        print(f"{args.done} rows are resumed in {seconds:.2f} s; {left} left to do")
        _files(top / "new", args.new)
        seconds, left = _look_around(top / "new", top / "fresh")
        print(f"{args.new} new pictures are listed and named in {seconds:.2f} s; {left} left to do")


if __name__ == "__main__":
    main()
