"""The page's parts and what joins them, without a server; needs Gradio, whose import takes a while."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec

import pytest

from conceptseg.interfaces.app.examples import write_examples

pytestmark = pytest.mark.slow
needs_gradio = pytest.mark.skipif(find_spec("gradio") is None, reason="Gradio is not installed")


@pytest.fixture(scope="module")
def examples(tmp_path_factory):
    return write_examples(tmp_path_factory.mktemp("examples"))


def test_there_are_examples_of_every_level_with_pictures(examples):
    assert {one.level for one in examples} == {"CI", "CD", "CR"} and len(examples) == 10
    for one in examples:
        assert one.image.is_file() and all(image.is_file() for image, _ in one.references)
    assert all(mask is not None for one in examples if one.level == "CR" for _, mask in one.references)


@needs_gradio
def test_nothing_of_the_page_is_a_public_endpoint_and_nothing_comes_from_elsewhere(segmenter, uploads, examples):
    from conceptseg.interfaces.app.page import build_page, page_theme

    page = build_page(segmenter, uploads, examples, model="tiny")
    assert page.get_api_info()["named_endpoints"] == {} and page.analytics_enabled is False
    theme = page_theme()
    assert theme._stylesheets == [] and "@font-face" not in theme._get_theme_css()


@needs_gradio
def test_handlers_of_the_model_take_turns(segmenter, uploads, examples):
    from conceptseg.interfaces.app.page import build_page

    page = build_page(segmenter, uploads, examples)
    shared = [fn for fn in page.fns.values() if fn.concurrency_id == "model"]
    assert len(shared) == 4 and {fn.concurrency_limit for fn in shared} == {1}


@needs_gradio
def test_errors_are_told_on_the_page_and_in_the_answers_place(segmenter, uploads, examples):
    import gradio as gr

    from conceptseg.interfaces.app.page import build_page

    page = build_page(segmenter, uploads, examples)
    find = next(fn for fn in page.fns.values() if fn.concurrency_id == "model")
    told = []
    with pytest.raises(gr.Error, match="There is no picture to look at"):
        for update in find.fn("square <b>", [], [], "auto", False):
            told.append(update)
    assert any("There is no picture" in str(value) for update in told for value in update.values())


def test_without_gradio_the_command_line_is_light():
    code = "import sys; from conceptseg.interfaces.cli import app; print({'gradio', 'torch'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
