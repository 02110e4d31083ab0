"""A sheet of episodes with altered parts, as nano's reasoner learns from them.

python -m nano.tools.show_alterations --out docs/figures/alterations.jpg
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from conceptseg.data.world.sheet import sample_sheet
from nano.alterations import Alterations


def main() -> None:
    """Draw and write."""
    parser = argparse.ArgumentParser(
        prog="python -m nano.tools.show_alterations",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--count", type=int, default=8, help="episodes")
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument("--side", type=int, default=168, help="of a picture, px")
    parser.add_argument("--out", type=Path, default=Path("docs/figures/alterations.jpg"))
    options = parser.parse_args()
    source = Alterations(options.side)
    samples = [source.sample(np.random.default_rng([options.seed, index])) for index in range(options.count)]
    options.out.parent.mkdir(parents=True, exist_ok=True)
    sample_sheet(samples, options.side).save(options.out, quality=72)


if __name__ == "__main__":
    main()
