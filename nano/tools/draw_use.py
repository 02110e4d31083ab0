"""The README's picture: marked references, a photograph, its mask, and the rule, as `conceptseg segment` found them.

A=src/conceptseg/assets/demo
conceptseg segment $A/images/coins.jpg --concept "common object" --route reason --out coins \\
  $(for n in 1 2 3 4; do echo --ref $A/images/coins_$n.jpg@$A/masks/coins_$n.png; done)
python -m nano.tools.draw_use coins --out docs/use.jpg
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from conceptseg.images import load_image, load_mask
from conceptseg.inference import SegmentationResult

DEMO = Path(__file__).resolve().parents[2] / "src" / "conceptseg" / "assets" / "demo"
_INK, _DIM, _PAPER = (28, 36, 48), (100, 112, 132), (245, 246, 249)
_WH = (1000, 450)
_TOP_PX, _SIDE_PX, _HIGH_PX = 58, 146, 306


def main() -> None:
    """Read the results and draw."""
    parser = argparse.ArgumentParser(
        prog="python -m nano.tools.draw_use", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("results", type=Path, help="the folder that `conceptseg segment` has written")
    parser.add_argument("--out", type=Path, default=Path("docs/use.jpg"))
    options = parser.parse_args()
    (line,) = (options.results / "results.jsonl").read_text(encoding="utf-8").splitlines()
    draw(json.loads(line), options.results).save(options.out, quality=90)


def draw(row: dict, results: Path) -> Image.Image:
    """One row from left to right: four references, the photograph, its mask; the words below."""
    sheet = Image.new("RGB", _WH, _PAPER)
    pen = ImageDraw.Draw(sheet)
    x = 40
    _head(pen, x, "1  Mark the thing in a few pictures", "four references; the first one's mark is kept back to check")
    for number in range(4):
        picture = _marked(number + 1)
        place = (x + (number % 2) * (_SIDE_PX + 14), _TOP_PX + (number // 2) * (_SIDE_PX + 14))
        sheet.paste(picture.resize((_SIDE_PX, _SIDE_PX), Image.Resampling.LANCZOS), place)
    photograph = load_image(DEMO / "images" / "coins.jpg")
    mask = load_mask(results / f"{row['stem']}.mask.png", (photograph.height, photograph.width))
    wide = round(photograph.width * _HIGH_PX / photograph.height)
    _head(pen, 430, f"2  Ask: “{row['concept']}”", "a photograph that nobody has marked")
    sheet.paste(photograph.resize((wide, _HIGH_PX), Image.Resampling.LANCZOS), (430, _TOP_PX))
    _head(pen, 700, "3  Get the mask, and why", f"confidence {row['confidence']:.2f}, check {row['check_iou']:.2f}")
    tinted = SegmentationResult("", image=photograph, mask=mask).overlay()
    sheet.paste(tinted.resize((wide, _HIGH_PX), Image.Resampling.LANCZOS), (700, _TOP_PX))
    for line, (name, text) in enumerate((("rule", row["rule"]), ("answer", row["answer"]))):
        y = _TOP_PX + _HIGH_PX + 34 + 30 * line
        pen.text((40, y), name, fill=_DIM, font=ImageFont.load_default(19))
        pen.text((120, y), text, fill=_INK, font=ImageFont.load_default(21))
    return sheet


def _marked(number: int) -> Image.Image:
    """A reference with its mask tinted."""
    image = load_image(DEMO / "images" / f"coins_{number}.jpg")
    mask = load_mask(DEMO / "masks" / f"coins_{number}.png", (image.height, image.width))
    return SegmentationResult("", image=image, mask=np.asarray(mask)).overlay()


def _head(pen: ImageDraw.ImageDraw, x: int, title: str, told: str) -> None:
    pen.text((x, 10), title, fill=_INK, font=ImageFont.load_default(20))
    pen.text((x, 35), told, fill=_DIM, font=ImageFont.load_default(14))


if __name__ == "__main__":
    main()
