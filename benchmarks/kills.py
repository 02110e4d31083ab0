"""Kill `segment`, `evaluate` and `train` by SIGKILL at random moments: `python benchmarks/kills.py --kills 100`.

Every run that was killed is given again until it gets through, and must end as one that nobody disturbed. The first
difference ends the script with its description.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # the models and data are those of the tests

from tests.kills import CASES, survive


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100, help="in all, shared among the three commands")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    rng = random.Random(args.seed)
    shares = [args.kills // len(CASES) + (number < args.kills % len(CASES)) for number in range(len(CASES))]
    for build, share in zip(CASES, shares, strict=True):
        with tempfile.TemporaryDirectory() as name:
            home, started = Path(name).resolve(), time.monotonic()
            case = build(home)
            kills = survive(case, home, share, rng)
            print(
                f"{case.name}: {kills} kills, every end as of a quiet run; {time.monotonic() - started:.0f} s",
                flush=True,
            )


if __name__ == "__main__":
    main()
