"""One engine against two on a local Ray: pictures a second once all engines work, and processor time a picture.

    python benchmarks/cluster.py [--pictures 96] [--workers 1 2] [--route direct]

Runs `conceptseg segment --engine ray` on copies of the bundled pictures. The pace is taken from when the parts
appeared: after every engine has written one, up to the last; starting Ray and loading the model are not in it. Where
other programs take the processors, the processor time of a picture tells what the engines would do alone: as long as
it stays the same, N engines on N free processors are N times as fast.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pyarrow.parquet

import conceptseg

BUNDLED = Path(conceptseg.__file__).parent / "assets" / "demo" / "images"
_TIMES = re.compile(r"an engine ([\d.]+) s, a processor ([\d.]+) s")


def pace_of(out: Path, workers: int) -> float:
    """Pictures a second, while all engines worked."""
    parts = sorted((path.stat().st_mtime, pyarrow.parquet.read_metadata(path).num_rows) for path in out.glob("parts/*"))
    began = parts[workers - 1][0]
    return sum(rows for at, rows in parts if at > began) / (parts[-1][0] - began)


def run(folder: Path, workers: int, route: str) -> tuple[float, float, float]:
    """Pace, an engine's seconds and a processor's seconds a picture."""
    out = folder.with_name(f"out-{workers}")
    command = [sys.executable, "-m", "conceptseg.interfaces.cli", "segment", str(folder), "--concept", "object"]
    command += ["--engine", "ray", "--workers", str(workers), "--route", route, "--out", str(out), "--batch-size", "4"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    times = _TIMES.search(done.stdout)
    assert times is not None, done.stdout
    return pace_of(out, workers), float(times[1]), float(times[2])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=96)
    parser.add_argument("--workers", type=int, nargs=2, default=[1, 2])
    parser.add_argument("--route", default="direct")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "pictures"
        folder.mkdir()
        bundled = sorted(BUNDLED.iterdir())
        for number in range(args.pictures):
            source = bundled[number % len(bundled)]
            shutil.copy(source, folder / f"{number:04}{source.suffix}")
        found = {workers: run(folder, workers, args.route) for workers in args.workers}
    for workers, (pace, engine, processor) in found.items():
        print(
            f"{workers} engines: {pace:.2f} pictures/s; a picture: engine {engine:.3f} s, processor {processor:.3f} s"
        )
    few, many = args.workers
    print(f"measured: {found[many][0] / found[few][0]:.2f} times as fast")
    print(
        f"by processor time, on {many} free processors: {many / few * found[few][2] / found[many][2]:.2f} times as fast"
    )


if __name__ == "__main__":
    main()
