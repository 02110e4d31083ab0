"""The pictures of docs/app.md, made by driving the page: `python -m tests.interfaces.app.screenshots [ADDRESS]`.

Needs Gradio, Playwright and a Chromium, as `test_in_browser.py` does.
"""

from __future__ import annotations

import sys
from contextlib import nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image
from playwright.sync_api import sync_playwright

from tests.interfaces.app.driving import CHROMIUM, PICTURES, Visit, served

DOCS = Path(__file__).parents[3] / "docs"
PHONE_WH, DESKTOP_WH = (390, 844), (1200, 900)
GAP_PX = 32


def ask_about_coins(visit: Visit) -> None:
    """Two references painted, a third one's box, and the answer."""
    visit.add_references(PICTURES / "coins_4.jpg", PICTURES / "coins_2.jpg", PICTURES / "coins_1.jpg")
    visit.draw(0, "Brush", (0.3, 0.08, 0.62, 0.06), (0.36, 0.18, 0.6, 0.18), (0.22, 0.72, 0.44, 0.72), size=12)
    visit.draw(1, "Brush", (0.2, 0.42, 0.36, 0.42), (0.6, 0.36, 0.84, 0.36), (0.62, 0.52, 0.8, 0.52), size=12)
    visit.draw(2, "Box", (0.2, 0.28, 0.68, 0.66))
    visit.page.click("#references .cs-thumb >> nth=0")
    visit.look_at(PICTURES / "coins.jpg")
    visit.find("common object")


def main() -> None:
    """Write `docs/app.jpg`; of a page that is served already, where its address is given."""
    page = nullcontext(sys.argv[1]) if len(sys.argv) > 1 else served()
    with page as address, sync_playwright() as driver, TemporaryDirectory() as folder:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        desktop = Visit(browser, address, viewport={"width": DESKTOP_WH[0], "height": DESKTOP_WH[1]})
        ask_about_coins(desktop)
        wide = Image.open(desktop.shoot(Path(folder) / "desktop.png")).convert("RGB")
        phone = Visit(browser, address, viewport={"width": PHONE_WH[0], "height": PHONE_WH[1]}, color_scheme="dark")
        ask_about_coins(phone)
        phone.page.locator("#verdict").scroll_into_view_if_needed()
        narrow = Image.open(phone.shoot(Path(folder) / "phone.png")).convert("RGB")
        browser.close()
    _side_by_side(wide, narrow).save(DOCS / "app.jpg", quality=86)


def _side_by_side(wide: Image.Image, narrow: Image.Image) -> Image.Image:
    """The desktop's page and the phone's, of which two screens stand beside it, at one height."""
    height = wide.height
    parts = [
        wide,
        narrow.crop((0, 0, narrow.width, height)),
        narrow.crop((0, narrow.height - height, narrow.width, narrow.height)),
    ]
    width = sum(part.width for part in parts) + GAP_PX * (len(parts) - 1)
    sheet, left = Image.new("RGB", (width, height), (210, 212, 216)), 0
    for part in parts:
        sheet.paste(part, (left, 0))
        left += part.width + GAP_PX
    return sheet


if __name__ == "__main__":
    main()
