"""The page driven as people drive it: upload, draw, find, learn, save, apply; a phone, the dark, and bad input.

`screenshots.py` beside this makes the pictures of the documentation in the same way.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

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


@pytest.fixture
def visit(browser, address) -> Iterator[Callable[..., Visit]]:
    """Opens windows, which are closed again."""
    opened: list[Visit] = []

    def visit(**options: object) -> Visit:
        opened.append(Visit(browser, address, **options))
        return opened[-1]

    yield visit
    for one in opened:
        one.close()


def test_draw_on_two_references_find_learn_save_and_apply(visit, address, tmp_path):
    window = visit(**DESKTOP, color_scheme="light")
    window.add_references(PICTURES / "coins_1.jpg", PICTURES / "coins_2.jpg")
    window.draw(0, "Box", (0.2, 0.28, 0.68, 0.66))
    window.draw(1, "Brush", (0.55, 0.35, 0.75, 0.35), (0.55, 0.45, 0.75, 0.45), size=12)
    window.look_at(PICTURES / "coins.jpg")
    window.page.click("text=Options")
    window.page.click("text=Always reason")
    window.find("coin")
    reasons = window.page.inner_text("#reasons")
    assert "Reasoned" in reasons and "IoU" in reasons and "TIME" in reasons.upper()
    assert "withheld from it" in window.page.inner_text("#mosaic")
    mask = np.asarray(Image.open(window.save("Mask (PNG)", tmp_path / "mask.png"))) > 0
    with Image.open(PICTURES / "coins.jpg") as picture:
        assert mask.shape == (picture.height, picture.width)
    coco = json.loads(window.save("COCO (JSON)", tmp_path / "coco.json").read_text())
    assert coco["images"][0]["file_name"] == "coins.jpg" and coco["categories"][0]["name"] == "coin"

    window.open_tab("Learn a rule")
    window.page.click("#learn")
    window.page.wait_for_selector("#rule .cs-rule")
    rule = Rule.load(window.save("Save the rule", tmp_path / "coin.rule"))
    assert rule.concept == "coin" and [one.name for one in rule.pictures] == ["coins_1.jpg", "coins_2.jpg"]

    window.open_tab("Many pictures")
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    window.page.set_input_files("#given-rule input[type=file]", str(tmp_path / "coin.rule"))
    files = [PICTURES / "coins.jpg", PICTURES / "coins_4.jpg", tmp_path / "broken.jpg"]
    window.page.set_input_files("#batch input[type=file]", [str(file) for file in files])
    window.page.wait_for_selector("#batch >> text=broken")
    window.page.click("#apply")
    window.page.wait_for_selector("text=Everything (ZIP) >> visible=true")
    assert "3 pictures" in window.page.inner_text("#applied") and "1 could not be read" in window.page.inner_text(
        "#applied"
    )
    assert window.problems == [] and window.hosts == {address.split("/")[2]}


def test_a_portrait_of_4000_pixels_on_a_phone(visit, tmp_path):
    exif = Image.Exif()
    exif[274] = 6  # the camera was held upright
    with Image.open(PICTURES / "astronaut.jpg") as photo:
        upright = photo.convert("RGB").resize((3000, 4000))
    upright.rotate(90, expand=True).save(tmp_path / "portrait.jpg", exif=exif)
    window = visit(**PHONE, color_scheme="light")
    window.add_references(tmp_path / "portrait.jpg")
    window.draw(0, "Box", (0.3, 0.1, 0.6, 0.45))
    marks = window.page.evaluate("JSON.stringify(document.querySelector('#references .cs-canvas').height > "
                                "document.querySelector('#references .cs-canvas').width)")  # fmt: skip
    assert marks == "true", "it stands upright"
    window.look_at(tmp_path / "portrait.jpg")
    assert "3000 × 4000" in window.page.inner_text("#target .cs-hint")
    window.find("face")
    mask = Image.open(window.save("Mask (PNG)", tmp_path / "mask.png"))
    assert mask.size == (3000, 4000)
    assert window.page.evaluate("document.documentElement.scrollWidth") <= 390, "nothing runs out of the screen"
    assert window.problems == []


def test_an_example_in_the_dark_by_keyboard(visit):
    window = visit(**DESKTOP, color_scheme="dark")
    assert window.page.evaluate("document.body.classList.contains('dark')")
    window.page.focus("[data-example='5']")
    window.page.keyboard.press("Enter")
    window.page.wait_for_function("document.querySelectorAll('#references .cs-thumb img').length >= 2")
    window.page.focus("#references .cs-canvas")
    for key in ("ArrowRight", "Enter", "Shift+ArrowRight", "Shift+ArrowDown", "Enter"):
        window.page.keyboard.press(key)
    window.page.wait_for_selector("#references .cs-tools button:has-text('Undo'):not([disabled])")
    window.page.keyboard.press("Delete")
    window.page.wait_for_selector("#references .cs-tools button:has-text('Undo')[disabled]")
    window.page.focus("#concept textarea")
    window.page.keyboard.press("Enter")
    window.page.wait_for_selector("#verdict .cs-verdict")
    window.page.uncheck(".cs-switch-mask")
    assert not window.page.is_visible(".cs-layer-mask")
    assert window.problems == []


def test_bad_input_is_a_line_and_the_page_stays(visit):
    window = visit(**DESKTOP)
    window.page.click("#run")
    window.page.wait_for_selector("text=The concept is empty: say in words what to segment.")
    bad = {"name": "no <b>picture</b>.jpg", "mimeType": "image/jpeg", "buffer": b"hello"}
    window.page.set_input_files("#target input[type=file]", bad)
    window.page.wait_for_selector("#target .cs-problem", state="visible")
    told = window.page.inner_text("#target .cs-problem")
    assert told.startswith("no <b>picture</b>.jpg: <5 bytes> is not an image")
    window.look_at(PICTURES / "cat.jpg")
    window.find("cat")
    assert window.problems == []
