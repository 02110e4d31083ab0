"""The page driven as people drive it: upload, draw, find, learn, save, apply; a phone, the dark, and bad input.

`screenshots.py` beside this makes the pictures of the documentation in the same way.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image

from conceptseg.inference import Rule
from tests.interfaces.app.driving import CHROMIUM, PICTURES, Visit, served

pytest.importorskip("gradio")
playwright = pytest.importorskip("playwright.sync_api")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")]

DESKTOP = {"viewport": {"width": 1280, "height": 900}}
PHONE = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2, "is_mobile": True, "has_touch": True}


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with served() as address:
        yield address


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


def test_draw_on_two_references_find_learn_save_and_apply(browser, address, tmp_path):
    visit = Visit(browser, address, **DESKTOP, color_scheme="light")
    visit.add_references(PICTURES / "coins_1.jpg", PICTURES / "coins_2.jpg")
    visit.draw(0, "Box", (0.2, 0.28, 0.68, 0.66))
    visit.draw(1, "Brush", (0.55, 0.35, 0.75, 0.35), (0.55, 0.45, 0.75, 0.45), size=12)
    visit.look_at(PICTURES / "coins.jpg")
    visit.page.click("text=Options")
    visit.page.click("text=Always reason")
    visit.find("coin")
    reasons = visit.page.inner_text("#reasons")
    assert "Reasoned" in reasons and "IoU" in reasons and "TIME" in reasons.upper()
    assert "withheld from it" in visit.page.inner_text("#mosaic")
    mask = np.asarray(Image.open(visit.save("Mask (PNG)", tmp_path / "mask.png"))) > 0
    with Image.open(PICTURES / "coins.jpg") as picture:
        assert mask.shape == (picture.height, picture.width)
    coco = json.loads(visit.save("COCO (JSON)", tmp_path / "coco.json").read_text())
    assert coco["images"][0]["file_name"] == "coins.jpg" and coco["categories"][0]["name"] == "coin"

    visit.open_tab("Learn a rule")
    visit.page.click("#learn")
    visit.page.wait_for_selector("#rule .cs-rule")
    rule = Rule.load(visit.save("Save the rule", tmp_path / "coin.rule"))
    assert rule.concept == "coin" and [one.name for one in rule.pictures] == ["coins_1.jpg", "coins_2.jpg"]

    visit.open_tab("Many pictures")
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    visit.page.set_input_files("#given-rule input[type=file]", str(tmp_path / "coin.rule"))
    files = [PICTURES / "coins.jpg", PICTURES / "coins_4.jpg", tmp_path / "broken.jpg"]
    visit.page.set_input_files("#batch input[type=file]", [str(file) for file in files])
    visit.page.wait_for_selector("#batch >> text=broken")
    visit.page.click("#apply")
    visit.page.wait_for_selector("text=Everything (ZIP) >> visible=true")
    assert "3 pictures" in visit.page.inner_text("#applied") and "1 could not be read" in visit.page.inner_text(
        "#applied"
    )
    assert visit.problems == [] and visit.hosts == {address.split("/")[2]}


def test_a_portrait_of_4000_pixels_on_a_phone(browser, address, tmp_path):
    exif = Image.Exif()
    exif[274] = 6  # the camera was held upright
    with Image.open(PICTURES / "astronaut.jpg") as photo:
        upright = photo.convert("RGB").resize((3000, 4000))
    upright.rotate(90, expand=True).save(tmp_path / "portrait.jpg", exif=exif)
    visit = Visit(browser, address, **PHONE, color_scheme="light")
    visit.add_references(tmp_path / "portrait.jpg")
    visit.draw(0, "Box", (0.3, 0.1, 0.6, 0.45))
    marks = visit.page.evaluate("JSON.stringify(document.querySelector('#references .cs-canvas').height > "
                                "document.querySelector('#references .cs-canvas').width)")  # fmt: skip
    assert marks == "true", "it stands upright"
    visit.look_at(tmp_path / "portrait.jpg")
    assert "3000 × 4000" in visit.page.inner_text("#target .cs-hint")
    visit.find("face")
    mask = Image.open(visit.save("Mask (PNG)", tmp_path / "mask.png"))
    assert mask.size == (3000, 4000)
    assert visit.page.evaluate("document.documentElement.scrollWidth") <= 390, "nothing runs out of the screen"
    assert visit.problems == []


def test_an_example_in_the_dark_by_keyboard(browser, address):
    visit = Visit(browser, address, **DESKTOP, color_scheme="dark")
    assert visit.page.evaluate("document.body.classList.contains('dark')")
    visit.page.focus("[data-example='5']")
    visit.page.keyboard.press("Enter")
    visit.page.wait_for_function("document.querySelectorAll('#references .cs-thumb img').length >= 2")
    visit.page.focus("#references .cs-canvas")
    for key in ("ArrowRight", "Enter", "Shift+ArrowRight", "Shift+ArrowDown", "Enter"):
        visit.page.keyboard.press(key)
    visit.page.wait_for_selector("#references .cs-tools button:has-text('Undo'):not([disabled])")
    visit.page.keyboard.press("Delete")
    visit.page.wait_for_selector("#references .cs-tools button:has-text('Undo')[disabled]")
    visit.page.focus("#concept textarea")
    visit.page.keyboard.press("Enter")
    visit.page.wait_for_selector("#verdict .cs-verdict")
    visit.page.uncheck(".cs-switch-mask")
    assert not visit.page.is_visible(".cs-layer-mask")
    assert visit.problems == []


def test_bad_input_is_a_line_and_the_page_stays(browser, address):
    visit = Visit(browser, address, **DESKTOP)
    visit.page.click("#run")
    visit.page.wait_for_selector("text=The concept is empty: say in words what to segment.")
    bad = {"name": "no <b>picture</b>.jpg", "mimeType": "image/jpeg", "buffer": b"hello"}
    visit.page.set_input_files("#target input[type=file]", bad)
    visit.page.wait_for_selector("#target .cs-problem", state="visible")
    told = visit.page.inner_text("#target .cs-problem")
    assert told.startswith("no <b>picture</b>.jpg: <5 bytes> is not an image")
    visit.look_at(PICTURES / "cat.jpg")
    visit.find("cat")
    assert visit.problems == []
