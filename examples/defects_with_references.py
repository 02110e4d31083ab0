"""Find surface defects by a few marked references, and see how sure the answers are.

python examples/defects_with_references.py --out runs/defects
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from conceptseg import ConceptSegmenter
from conceptseg.data.world import ConceptWorld
from conceptseg.metrics import score


def main() -> None:
    """Segment, save, score."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--count", type=int, default=6, help="pictures")
    parser.add_argument("--out", type=Path, default=Path("runs/defects"))
    options = parser.parse_args()

    segmenter = ConceptSegmenter.from_pretrained(options.model)
    world = ConceptWorld(
        "industrial_anomaly", "seen_test"
    )  # your own: paths of pictures, and Reference("a.jpg", mask="a.png")
    for index in range(options.count):
        sample = world.sample("industrial_anomaly", index)
        result = segmenter(sample.image, sample.concept, references=sample.references)
        result.save(options.out, stem=f"plate_{index}")
        iou = score(result.mask, np.asarray(sample.mask), protocol="native")["iou"]
        check = "none" if result.check_iou is None else f"{result.check_iou:.2f}"
        print(f"plate_{index}: {result.route}, IoU {iou:.2f}, check {check}, rule: {result.rule or 'none'}")
    print(f"→ {options.out}")


if __name__ == "__main__":
    main()
