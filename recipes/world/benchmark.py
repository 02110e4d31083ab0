"""How fast ConceptWorld draws: episodes a second on one core, by task (warm caches, CPU time of this process).

OMP_NUM_THREADS=1 python recipes/world/benchmark.py [--size 168] [--references 4] [--count 100]
"""

from __future__ import annotations

import argparse
import time

from conceptseg.data.world import ConceptWorld


def rate(world: ConceptWorld, task: str, count: int) -> float:
    """Samples of the task drawn per second of CPU time, after as many to fill the caches."""
    for index in range(count):
        world.sample(task, 1_000_000 + index)
    started = time.process_time()
    for index in range(count):
        world.sample(task, index)
    return count / (time.process_time() - started)


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=168)
    parser.add_argument("--references", type=int, default=4)
    parser.add_argument("--count", type=int, default=100)
    args = parser.parse_args()
    world = ConceptWorld(size_px=args.size, references=args.references)
    rates = {task: rate(world, task, args.count) for task in world.tasks}
    for task, value in rates.items():
        print(f"{task:28s} {value:7.1f} episodes/s")
    print(f"{'all in turn':28s} {len(rates) / sum(1 / value for value in rates.values()):7.1f} episodes/s")


if __name__ == "__main__":
    main()
