"""Command line of the nano recipe: train, resuming what is there; the last two stages leave a checkpoint each.

Exit status: 0 when all stages asked for are done, 1 when time ran out or SIGTERM came first (call again to go on),
2 after an error, 130 when interrupted.
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

import torch

from conceptseg.errors import ConceptSegError
from nano.recipe import STAGES, NanoRecipe
from nano.stages import train_nano

_log = logging.getLogger(__name__)


def main() -> None:
    """Parse the arguments, train, save."""
    parser = argparse.ArgumentParser(prog="python -m nano", description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="a recipe, e.g. nano/recipes/cpu.yaml")
    parser.add_argument("--out", type=Path, default=Path("runs/nano"), help="state, logs and the final checkpoint")
    parser.add_argument("--stages", nargs="+", default=list(STAGES), choices=STAGES)
    parser.add_argument("--minutes", type=float, help="stop (resumably) after this long")
    parser.add_argument("--device", default="auto")
    parser.add_argument(
        "--photographs", type=Path, help="folder of sets with samples.jsonl to show beside ConceptWorld"
    )
    parser.add_argument("--threads", type=int, help="CPU threads for torch")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    if options.threads:
        torch.set_num_threads(options.threads)
    try:
        done = train_nano(NanoRecipe.read(options.config), options.out, stages=options.stages, minutes=options.minutes,
                          device=options.device, photographs=options.photographs)  # fmt: skip
    except ConceptSegError as error:
        parser.exit(2, f"{error}\n")
    except KeyboardInterrupt:
        parser.exit(130, "Interrupted. What was saved, two minutes ago at most, is gone on from by the same command.\n")
    if not done:
        _log.info("Stopped before all was done: run the same command again to go on.")
        sys.exit(1)


if __name__ == "__main__":
    main()
