"""The page's own style and script."""

from __future__ import annotations

from pathlib import Path

import pytest

import conceptseg

STATIC = Path(conceptseg.__file__).parent / "interfaces" / "app" / "static"


@pytest.mark.parametrize("name", ["board.js", "narrow.css", "page.css"])
def test_nothing_is_fetched_from_elsewhere(name):
    text = (STATIC / name).read_text(encoding="utf-8")
    assert not any(word in text for word in ("http:", "https:", "@import", "url(", "fetch(", "eval("))


def test_rules_that_depend_on_the_window_are_where_gradio_leaves_them_alone():
    assert "@media" not in (STATIC / "page.css").read_text(encoding="utf-8")
