"""The page as people use it: the command in a process of its own, a headless Chromium in front of it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from conceptseg.interfaces import demo

PICTURES = Path(demo.__file__).parents[2] / "assets" / "demo" / "images"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PATIENCE_MS = 600_000
"""A busy machine is no failure."""


@contextmanager
def served(*words: str) -> Iterator[str]:
    """The page's address, while it is served; it must end well when it is told to."""
    with socket.create_server(("127.0.0.1", 0)) as door:
        port = door.getsockname()[1]
    command = [sys.executable, "-m", "conceptseg.interfaces.cli", "app", "--port", str(port), *words]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(os.environ))
    try:
        told = server.stdout.readline()
        assert f"http://127.0.0.1:{port}" in told, server.stderr.read()
        yield f"http://127.0.0.1:{port}/"
    finally:
        server.terminate()
        server.communicate(timeout=60)


class Visit:
    """One browser window on the page, with what went wrong in it.

    Args:
        browser: of Playwright.
        address: of the page.
        options: of the window: its size, dark or light, a phone's.
    """

    def __init__(self, browser: Any, address: str, **options: Any) -> None:
        self.problems: list[str] = []
        self.hosts: set[str] = set()
        self.page = browser.new_context(**options).new_page()
        self.page.set_default_timeout(PATIENCE_MS)
        self.page.on("console", lambda m: self.problems.append(m.text) if m.type == "error" else None)
        self.page.on("requestfailed", lambda request: self._failed(request.url, request.failure or ""))
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("request", lambda request: self.hosts.add(request.url.partition("//")[2].partition("/")[0]))
        self.page.goto(address)
        self.page.wait_for_selector("#references .cs-drop")

    def _failed(self, url: str, why: str) -> None:
        if "ERR_ABORTED" not in why:  # what the page itself gave up, or a download
            self.problems.append(f"{url}: {why}")

    def close(self) -> None:
        """Leave."""
        self.page.context.close()

    def add_references(self, *files: str | Path) -> None:
        """Upload references, and wait until they are shown."""
        self.page.set_input_files("#references input[type=file]", [str(file) for file in files])
        shown = f"document.querySelectorAll('#references .cs-thumb img').length >= {len(files)}"
        self.page.wait_for_function(shown)

    def draw(self, number: int, tool: str, *strokes: Sequence[float], size: float = 3) -> None:
        """Draw on a reference.

        Args:
            number: of the reference, from 0.
            tool: Box, Brush or Erase.
            strokes: x1, y1, x2, y2 in fractions of the picture.
            size: of the brush, 1…12.
        """
        self.page.click(f"#references .cs-thumb >> nth={number}")
        self.page.click(f"#references .cs-tools >> text={tool}")
        if tool != "Box":
            self.page.fill("#references input[type=range]", str(size))
        for x1, y1, x2, y2 in strokes:
            self.page.locator("#references .cs-canvas").scroll_into_view_if_needed()
            place = self.page.locator("#references .cs-canvas").bounding_box()
            at = [(place["x"] + x * place["width"], place["y"] + y * place["height"]) for x, y in ((x1, y1), (x2, y2))]
            self.page.mouse.move(*at[0])
            self.page.mouse.down()
            self.page.mouse.move(*at[1], steps=8)
            self.page.mouse.up()

    def look_at(self, file: str | Path) -> None:
        """Upload the picture to look at."""
        self.page.set_input_files("#target input[type=file]", str(file))
        self.page.wait_for_selector("#target .cs-canvas", state="visible")

    def find(self, concept: str | None = None) -> None:
        """Ask, and wait for the answer."""
        if concept is not None:
            self.page.fill("#concept textarea", concept)
        self.page.click("#run")
        self.page.wait_for_selector("#verdict .cs-verdict")
        self.page.wait_for_selector("text=Mask (PNG) >> visible=true")

    def save(self, button: str, path: Path) -> Path:
        """Press a button that downloads, and keep the file."""
        with self.page.expect_download() as download:
            self.page.click(f"text={button} >> visible=true")
        download.value.save_as(path)
        return path

    def open_tab(self, name: str) -> None:
        """Go to one of the tabs."""
        self.page.click(f"role=tab[name='{name}']")

    def shoot(self, path: Path, *, whole: bool = True) -> Path:
        """A screenshot, once everything has settled."""
        self.page.mouse.move(0, 0)
        self.page.wait_for_timeout(700)
        self.page.screenshot(path=path, full_page=whole)
        return path
