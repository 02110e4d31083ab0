"""Give every reader inputs that nobody foresaw, 10⁵ in all: `python benchmarks/fuzz.py`, or `make fuzz`.

What each target is, and what must hold, stands in `tests/fuzz`. A target that raises something else than an error of
ours, or breaks a promise, is a finding: the smallest such input is shown, the other targets go on, and the exit status
is 1. The same seed gives the same inputs. What a target gave is kept at once: the same command goes on from there, and
does findings again.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from conceptseg.files import replacing
from tests.fuzz.targets import TARGETS, Tally, run

RECORD = Path(__file__).resolve().parent.parent / "docs" / "figures" / "fuzz.json"


def main() -> None:
    """Run all targets."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scale", type=float, default=1.0, help="times the usual number of inputs")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--record", type=Path, default=RECORD, help="what is kept, and gone on from")
    parser.add_argument("--anew", action="store_true", help="forget what is kept")
    args = parser.parse_args()
    kept = {} if args.anew else _kept(args.record, args.seed)
    jobs = [(place, max(1, round(args.scale * target.count)), args.seed) for place, target in enumerate(TARGETS)]
    jobs = [job for job in jobs if kept.get(TARGETS[job[0]].name, {}).get("inputs", 0) < job[1]]
    with multiprocessing.get_context("fork").Pool(args.processes) as pool:
        for row in pool.imap_unordered(_one, jobs, chunksize=1):
            kept[row["target"]] = row
            _write(args.record, args.seed, kept)
            told = f"{row['target']}: {row['inputs']} inputs, {row['usable']} of them usable"
            print(f"{told}; {row['finding'] or 'no finding'}", flush=True)
    findings = [name for name, row in kept.items() if row["finding"]]
    print(f"{sum(row['inputs'] for row in kept.values())} inputs; findings: {', '.join(findings) or 'none'}")
    raise SystemExit(bool(findings))


def _kept(path: Path, seed: int) -> dict[str, dict[str, Any]]:
    record = json.loads(path.read_text()) if path.exists() else {"seed": seed, "targets": []}
    return {row["target"]: row for row in record["targets"]} if record["seed"] == seed else {}


def _write(path: Path, seed: int, rows: dict[str, dict[str, Any]]) -> None:
    told = [rows[target.name] for target in TARGETS if target.name in rows]
    total = {name: round(sum(row[name] for row in told), 1) for name in ("inputs", "usable", "seconds")}
    with replacing(path) as fresh:
        fresh.write_text(json.dumps({"seed": seed, **total, "targets": told}, indent=1) + "\n")


def _one(job: tuple[int, int, int]) -> dict[str, Any]:
    place, count, seed = job
    target = TARGETS[place]
    started, tally, finding = time.process_time(), Tally(), None
    with tempfile.TemporaryDirectory() as folder:
        try:
            tally = run(target, count, seed, Path(folder).resolve())
        except Exception as error:  # whatever it is, it is what is looked for
            traceback.print_exc()
            finding = f"{type(error).__name__}: {error}"[:500]
    return {
        "target": target.name,
        "inputs": tally.given,
        "usable": tally.usable,
        "seconds": round(time.process_time() - started, 1),
        "finding": finding,
    }


if __name__ == "__main__":
    main()
