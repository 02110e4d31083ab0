"""From a folder of pictures and one of masks to a fine-tuned checkpoint.

python examples/own_data_fine_tuned.py --out runs/own_data
Words behind `--` go to `conceptseg train`, e.g. `-- max_steps=20`.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from conceptseg.data.world import ConceptWorld
from conceptseg.images import load_image
from conceptseg.interfaces.cli import main as conceptseg

CONCEPT = "surface defect"


def main() -> None:
    """Make the folders, pair them, train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--count", type=int, default=20, help="pictures")
    parser.add_argument("--out", type=Path, default=Path("runs/own_data"))
    parser.add_argument("overrides", nargs="*", metavar="key.sub=value")
    options = parser.parse_args()
    photos, masks, samples = options.out / "photos", options.out / "masks", options.out / "samples"

    write_pictures(photos, masks, options.count)  # you have these already
    words = ["--concept", CONCEPT, "--val", "0.2", "--out", str(samples)]
    status = conceptseg(["data", "from-folders", str(photos), str(masks), *words])
    if status == 0:
        settings = [f"data.folders={samples}", f"model.checkpoint={options.model}", f"out={options.out / 'run'}"]
        status = conceptseg(["train", "warmup", "--config", "own_data", *settings, *options.overrides])
    sys.exit(status)


def write_pictures(photos: Path, masks: Path, count: int) -> None:
    """Pictures and their masks under the same names, as a camera and an annotation tool leave them."""
    photos.mkdir(parents=True, exist_ok=True)
    masks.mkdir(parents=True, exist_ok=True)
    world = ConceptWorld("industrial_anomaly", "train", references=0)
    for index in range(count):
        sample = world.sample("industrial_anomaly", index)
        load_image(sample.image).save(photos / f"{index:03d}.png")
        Image.fromarray(np.asarray(sample.mask).astype(np.uint8) * 255).save(masks / f"{index:03d}.png")


if __name__ == "__main__":
    main()
