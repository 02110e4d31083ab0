"""Kill `segment`, `evaluate` and `train` by SIGKILL at random moments: `python benchmarks/kills.py --kills 100`.

Every run that was killed is given again until it gets through, and must end as one that nobody disturbed. The first
difference ends the script with its description. What was done is kept after every such round, so that the same command
goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # the models and data are those of the tests

from conceptseg.files import replacing
from tests.kills import CASES, Case, quiet_run, survive_round

RECORD = Path(__file__).resolve().parent.parent / "docs" / "figures" / "kills.json"


def main() -> None:
    """Kill as often as asked, in the order segment, evaluate, train."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100, help="in all, shared among the three commands")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--record", type=Path, default=RECORD, help="what is kept, and gone on from")
    args = parser.parse_args()
    shares = [args.kills // len(CASES) + (number < args.kills % len(CASES)) for number in range(len(CASES))]
    record = _read(args.record, args.seed)
    for build, share in zip(CASES, shares, strict=True):
        with tempfile.TemporaryDirectory() as name:
            _kill(build, Path(name).resolve(), share, record, args.record)


def _read(path: Path, seed: int) -> dict[str, Any]:
    record: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {"seed": seed, "commands": {}}
    if record["seed"] != seed:
        raise SystemExit(f"{path} is of seed {record['seed']}: name another --record.")
    return record


def _kill(build: Callable[[Path], Case], home: Path, share: int, record: dict[str, Any], path: Path) -> None:
    case = build(home)
    done = record["commands"].setdefault(case.name, {"kills": 0, "rounds": 0, "seconds": 0.0})
    if done["kills"] < share:
        expected, length_s = quiet_run(case, home)
        done["quiet_run_seconds"] = round(length_s, 1)
    while done["kills"] < share:
        started = time.monotonic()
        rng = random.Random(f"{record['seed']} {case.name} {done['rounds']}")
        out = home / f"{case.name}-{done['rounds']}"
        done["kills"] += survive_round(case, out, share - done["kills"], length_s, expected, rng)
        done["rounds"] += 1
        done["seconds"] = round(done["seconds"] + time.monotonic() - started, 1)
        with replacing(path) as fresh:
            fresh.write_text(json.dumps(record, indent=1) + "\n")
    print(f"{case.name}: {done['kills']} kills, every end as of a quiet run; {done['seconds']:.0f} s", flush=True)


if __name__ == "__main__":
    main()
