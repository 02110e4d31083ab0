"""Command line of the nano recipe: train (resuming what is there), then write the checkpoint."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

import torch

from conceptseg.training.nano.recipe import STAGES, NanoRecipe, assemble, train_nano


def main() -> None:
    """Parse the arguments, train, save."""
    parser = argparse.ArgumentParser(prog="python -m conceptseg.training.nano", description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="a recipe, e.g. recipes/nano/cpu.yaml")
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
    recipe = NanoRecipe.read(options.config)
    done = train_nano(recipe, options.out, stages=options.stages, minutes=options.minutes, device=options.device,
                      photographs=options.photographs)  # fmt: skip
    if done and options.stages[-1] == STAGES[-1]:
        assemble(recipe, options.out).save_pretrained(options.out / "checkpoint", dtype=torch.float16)
        logging.info("Checkpoint written to %s.", options.out / "checkpoint")


if __name__ == "__main__":
    main()
