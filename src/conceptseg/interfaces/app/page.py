"""The page: its parts, and which button does what."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from functools import wraps
from html import escape
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import gradio as gr
from gradio.themes.utils.fonts import Font
from PIL import Image

from conceptseg.errors import InputError
from conceptseg.inference import ConceptSegmenter, Rule, SegmentationResult
from conceptseg.interfaces.app.asking import Ask, ask
from conceptseg.interfaces.app.examples import Example
from conceptseg.interfaces.app.files import write_answers, write_rule
from conceptseg.interfaces.app.panels import (
    mosaic_panel,
    overlay_panel,
    problem_line,
    progress_line,
    reasons_panel,
    response_panel,
    verdict_panel,
)
from conceptseg.interfaces.app.rule_panels import batch_panel, learning_panel, rule_panel
from conceptseg.interfaces.app.rules import apply_rule, learn_rule, load_rule
from conceptseg.interfaces.app.uploads import FAILURES, Uploads, one_line, shown_small, to_url

__all__ = ["CSS_FILE", "build_page", "page_head", "page_theme"]

_LOG = logging.getLogger(__name__)
_STATIC = Path(__file__).with_name("static")
CSS_FILE = _STATIC / "page.css"
_KEPT_S = (3600, 12 * 3600)
"""How often uploads are looked through, and from which age on they are deleted."""
_EXAMPLE_PX = 168
_LEVELS = {
    "CI": "Known by its looks",
    "CD": "Known by its surroundings",
    "CR": "Known by what the references say",
}
_HEAD = """<div class="cs-head"><h1>conceptseg</h1><p>Show a few pictures of something, say its name, and get it
marked in a new one, with the reasons why.</p><button type="button" data-theme>Light or dark</button></div>"""
_THEME_JS = """element.querySelector("[data-theme]").addEventListener(
"click", () => document.body.classList.toggle("dark"));"""
_EXAMPLES_JS = """element.addEventListener("click", (event) => {
const button = event.target.closest("[data-example]");
if (button) trigger("pick", {number: Number(button.dataset.example)}); });"""
_BUG = "Something went wrong that should not; the terminal that runs the page says what. Please report it."

_QUIET = {"api_visibility": "private", "show_progress": "hidden"}
"""Of events: they are the page's own, which tells itself how far they are."""

_Update = dict[Any, Any]


def page_head() -> str:
    """What goes into the document's head: styles that depend on the window."""
    return f"<style>{(_STATIC / 'narrow.css').read_text(encoding='utf-8')}</style>"


def page_theme() -> gr.themes.Base:
    """Quiet greys, one accent, the system's own fonts: nothing is loaded from elsewhere."""
    sans, mono = Font("system-ui"), Font("ui-monospace")
    return gr.themes.Base(
        primary_hue=gr.themes.colors.indigo,
        neutral_hue=gr.themes.colors.gray,
        radius_size=gr.themes.sizes.radius_lg,
        font=[sans, Font("sans-serif")],
        font_mono=[mono, Font("monospace")],
    ).set(
        block_border_width="0px",
        block_shadow="none",
        block_background_fill="transparent",
        block_padding="0",
        body_text_color_subdued="*neutral_500",
        body_text_color_subdued_dark="*neutral_400",
        input_background_fill="*background_fill_primary",
        input_border_width="1px",
        input_border_color="*neutral_300",
        input_border_color_dark="*neutral_700",
        border_color_primary="*neutral_300",
        border_color_primary_dark="*neutral_700",
        background_fill_secondary="*neutral_100",
        background_fill_secondary_dark="*neutral_900",
        button_large_radius="*radius_lg",
        button_secondary_background_fill="transparent",
        button_border_width="1px",
        button_secondary_border_color="*border_color_primary",
        input_placeholder_color="*neutral_500",
        input_placeholder_color_dark="*neutral_400",
    )


def build_page(
    segmenter: ConceptSegmenter,
    uploads: Uploads,
    examples: Sequence[Example] = (),
    *,
    model: str = "",
    add_tools: Callable[[], None] | None = None,
) -> gr.Blocks:
    """The page, ready to be launched.

    Args:
        segmenter: answers, one question at a time.
        uploads: which files the page may name, and its limits.
        examples: questions to begin with.
        model: the checkpoint's name.
        add_tools: adds what is offered to programs; None for nothing.
    """
    with gr.Blocks(title="conceptseg", analytics_enabled=False, fill_width=True, delete_cache=_KEPT_S) as page:
        _Page(segmenter, uploads, examples, model).wire()
        if add_tools is not None:
            add_tools()
    page.queue(max_size=uploads.options.places, default_concurrency_limit=1)
    return page


class _Page:
    """The parts of the page by name, and the handlers that fill them."""

    def __init__(self, segmenter: ConceptSegmenter, uploads: Uploads, examples: Sequence[Example], model: str) -> None:
        self.segmenter, self.uploads, self.examples = segmenter, uploads, examples
        gr.HTML(_HEAD, js_on_load=_THEME_JS, apply_default_css=False, elem_classes="cs-plain")
        self.gallery = gr.HTML(
            _examples_html(examples), js_on_load=_EXAMPLES_JS, apply_default_css=False, elem_classes="cs-plain"
        )
        with gr.Row(elem_id="cs-page"):
            with gr.Column(scale=5, min_width=320):
                self._question()
            with gr.Column(scale=7, min_width=320), gr.Tabs():
                with gr.Tab("One picture"):
                    self._asking()
                with gr.Tab("Learn a rule"):
                    self._learning()
                with gr.Tab("Many pictures"):
                    self._applying()
        gr.HTML(
            f"<p class='cs-hint'>Answered by {escape(model or 'this machine')}. Pictures stay on the machine that "
            "runs this page and are deleted when it stops.</p>",
            apply_default_css=False,
        )

    def _question(self) -> None:
        _step("1", "Say what it is", "A name, or a description in words.")
        self.concept = gr.Textbox(
            label="Concept",
            show_label=False,
            placeholder="surface defect",
            max_lines=3,
            container=False,
            elem_id="concept",
        )
        _step(
            "2", "Show it", "Pictures of it, with a box around it or painted over. Two or more let the rule be checked."
        )
        self.references = _board(self.uploads, is_single=False, elem_id="references")
        self.mosaic = _html("mosaic")

    def _asking(self) -> None:
        _step("3", "Picture to look at")
        self.target = _board(self.uploads, is_single=True, elem_id="target")
        with gr.Row():
            self.run = gr.Button("Find it", variant="primary", elem_id="run", scale=3)
            self.stop = gr.Button("Stop", scale=1, min_width=90, interactive=False)
        with gr.Accordion("Options", open=False):
            self.route = gr.Radio(
                [("As needed", "auto"), ("SAM 3 alone", "direct"), ("Always reason", "reason")],
                value="auto",
                label="Route",
            )
            self.always = gr.Checkbox(label="Keep the mask even if the concept seems not to be there")
        self.progress, self.verdict, self.overlay = (_html(), _html("verdict"), _html("overlay"))
        with gr.Row():
            self.mask_file, self.coco_file, self.overlay_file = map(
                _download, ("Mask (PNG)", "COCO (JSON)", "Overlay (JPG)")
            )
        self.response, self.reasons = (_html("response"), _html("reasons"))

    def _learning(self) -> None:
        _step(
            "3",
            "Learn a rule",
            "From the references on this page. It is checked on those it was not shown, and can be saved.",
        )
        self.absent = _files("Pictures without it, if you have some: they teach when to mark nothing.", "absent")
        with gr.Row():
            self.learn = gr.Button("Learn", variant="primary", elem_id="learn", scale=3)
            self.stop_learning = gr.Button("Stop", scale=1, min_width=90, interactive=False)
        self.learned = _html("rule")
        self.rule_file = _download("Save the rule (.rule)")
        self.rule = gr.State(None)

    def _applying(self) -> None:
        _step("3", "Apply a rule", "The one just learned, or one that was saved.")
        self.given_rule = _files("A saved rule; leave empty for the one just learned.", "given-rule", kinds=[".rule"])
        self.batch = _files("Pictures to apply it to.", "batch")
        with gr.Row():
            self.apply = gr.Button("Apply", variant="primary", elem_id="apply", scale=3)
            self.stop_applying = gr.Button("Stop", scale=1, min_width=90, interactive=False)
        self.applied = _html("applied")
        with gr.Row():
            self.archive, self.batch_coco = map(_download, ("Everything (ZIP)", "COCO (JSON)"))

    def wire(self) -> None:
        """Join buttons and handlers."""
        self.gallery.pick(self.pick, None, [self.concept, self.references, self.target], api_visibility="private")
        asked = [self.concept, self.target, self.references, self.route, self.always]
        answered = [self.progress, self.stop, self.verdict, self.overlay, self.response, self.reasons, self.mosaic]
        self._join([self.run.click, self.concept.submit], self.ask, asked, [*answered, *self._answer_files])
        given = [self.concept, self.references, self.absent]
        learned = [self.learned, self.stop_learning, self.rule_file, self.rule]
        self._join([self.learn.click], self.learn_rule, given, learned)
        told = [self.rule, self.given_rule, self.batch, self.always]
        applied = [self.applied, self.stop_applying, self.archive, self.batch_coco]
        self._join([self.apply.click], self.apply_rule, told, applied)

    @staticmethod
    def _join(
        triggers: Sequence[Any], handler: Callable[..., Iterator[_Update]], inputs: list[Any], outputs: list[Any]
    ) -> None:
        """Let triggers start a handler that uses the model, one at a time over all of them.

        Of `outputs` the first tells how far it is, the second is the button that stops it.
        """
        progress, stop = outputs[:2]
        running = []
        for trigger in triggers:
            trigger(lambda: progress_line("Waiting for its turn"), None, progress, queue=False, **_QUIET)
            work = _telling(handler, progress, stop)
            running.append(trigger(work, inputs, outputs, concurrency_id="model", concurrency_limit=1, **_QUIET))
        stop.click(_stopped, None, [progress, stop], cancels=running, queue=False, **_QUIET)

    def pick(self, event: gr.EventData) -> tuple[Any, ...]:
        """Fill the form with an example."""
        number = getattr(event, "number", None)
        if not isinstance(number, int) or not 0 <= number < len(self.examples):
            raise gr.Error("There is no such example.", print_exception=False)
        example = self.examples[number]
        return example.concept, example.board, example.target

    def ask(self, concept: Any, target: Any, references: Any, route: Any, always: bool) -> Iterator[_Update]:
        """The answer as it comes about."""
        panels = (self.verdict, self.overlay, self.response, self.reasons, self.mosaic)
        yield dict.fromkeys(panels, "") | dict.fromkeys(self._answer_files, _nothing())
        for moment in ask(self.segmenter, self.uploads, Ask(concept, target, references, route, always)):
            told: _Update = {self.progress: progress_line(moment.stage)}
            if moment.response is not None:
                told[self.response] = response_panel(moment.response, is_live=True)
            if moment.mosaic is not None:
                told[self.mosaic] = mosaic_panel(moment.mosaic, moment.result)
            if moment.result is None:
                yield told
                continue
            with TemporaryDirectory() as folder:
                yield told | self._answer(moment.result, moment.mosaic, Path(folder))

    @property
    def _answer_files(self) -> tuple[Any, ...]:
        return self.mask_file, self.coco_file, self.overlay_file

    def _answer(self, result: SegmentationResult, mosaic: Any, folder: Path) -> _Update:
        files = write_answers([result], folder)
        paths = (files.masks[0], files.coco, files.overlays[0])
        return {
            self.progress: "",
            self.verdict: verdict_panel(result),
            self.overlay: overlay_panel(result),
            self.response: response_panel(result.response.text if result.response else None),
            self.reasons: reasons_panel(result, mosaic),
            **{part: _file(path) for part, path in zip(self._answer_files, paths, strict=True)},
        }

    def learn_rule(self, concept: Any, references: Any, absent: Sequence[str] | None) -> Iterator[_Update]:
        """A rule as it is learned."""
        yield {self.learned: learning_panel(0, 0), self.rule_file: _nothing()}
        for step in learn_rule(self.segmenter, self.uploads, concept, references, absent or []):
            if step.rule is None:
                yield {self.learned: learning_panel(step.done, step.planned)}
                continue
            with TemporaryDirectory() as folder:
                path = write_rule(step.rule, Path(folder))
                yield {self.learned: rule_panel(step.rule), self.rule_file: _file(path), self.rule: step.rule}

    def apply_rule(
        self, learned: Rule | None, file: str | None, pictures: Sequence[str] | None, always: bool
    ) -> Iterator[_Update]:
        """Results of many pictures, as they come."""
        yield {self.applied: progress_line("Reading the rule"), self.archive: _nothing(), self.batch_coco: _nothing()}
        rule = load_rule(self.uploads, file) if file else learned
        if rule is None:
            raise InputError("There is no rule: learn one, or choose a .rule file.")
        results: Sequence[SegmentationResult] = ()
        for step in apply_rule(self.segmenter, self.uploads, rule, pictures or [], always=always):
            results = step.results
            yield {self.applied: batch_panel(results, step.count)}
        with TemporaryDirectory() as folder:
            files = write_answers(results, Path(folder))
            yield {self.archive: _file(files.archive), self.batch_coco: _file(files.coco)}


def _telling(handler: Callable[..., Iterator[_Update]], progress: Any, stop: Any) -> Callable[..., Iterator[_Update]]:
    """The handler with its errors told on the page, each in a line; the page stays as usable as it was."""

    @wraps(handler)
    def told(*inputs: Any) -> Iterator[_Update]:
        yield {stop: gr.Button(interactive=True)}
        try:
            yield from handler(*inputs)
        except FAILURES as error:
            yield {progress: problem_line(one_line(error)), stop: _resting()}
            raise gr.Error(escape(one_line(error)), print_exception=False) from error
        except Exception as error:  # the last line of defence: the log says what, the page that
            _LOG.exception("The page failed")
            yield {progress: problem_line(_BUG), stop: _resting()}
            raise gr.Error(_BUG, print_exception=False) from error
        yield {stop: _resting()}

    return told


def _stopped() -> tuple[str, Any]:
    return "<p class='cs-stage'>Stopped.</p>", _resting()


def _resting() -> Any:
    """The button that stops while there is nothing to stop."""
    return gr.Button(interactive=False)


def _board(uploads: Uploads, *, is_single: bool, elem_id: str) -> gr.HTML:
    """Where pictures are dropped and drawn on; its value is a list of entries (`marks.Entry`)."""

    def preview(told: Any) -> dict[str, Any]:
        return uploads.preview(told)

    return gr.HTML(
        [],
        html_template="<div class='cs-board'></div>",
        js_on_load=(_STATIC / "board.js").read_text(encoding="utf-8"),
        apply_default_css=False,
        server_functions=[preview],
        elem_id=elem_id,
        single=is_single,
        most=uploads.options.max_learned_references,
        max_bytes=uploads.options.max_body_bytes,
    )


def _examples_html(examples: Sequence[Example]) -> str:
    sections = []
    for level, words in _LEVELS.items():
        buttons = "".join(_example_button(number, one) for number, one in enumerate(examples) if one.level == level)
        if buttons:
            sections.append(
                f"<section><h3><abbr title='{words}'>{level}</abbr>{words}</h3><div>{buttons}</div></section>"
            )
    return f"<div class='cs-examples' role='group' aria-label='Examples'>{''.join(sections)}</div>" if sections else ""


def _example_button(number: int, example: Example) -> str:
    with Image.open(example.image) as image:
        url = to_url(shown_small(image.convert("RGB"), _EXAMPLE_PX), "JPEG")
    words = escape(example.concept)
    return f"<button type='button' data-example='{number}'><img src='{url}' alt=''>{words}</button>"


def _step(number: str, title: str, told: str = "") -> None:
    gr.HTML(
        f"<div class='cs-step'><i>{number}</i><div><h2>{title}</h2>{f'<p>{told}</p>' if told else ''}</div></div>",
        apply_default_css=False,
    )


def _files(told: str, elem_id: str, kinds: Sequence[str] = ("image",)) -> gr.File:
    """A place for files: one where they are of a kind of ours, many where they are pictures."""
    gr.HTML(f"<p class='cs-hint'>{told}</p>", apply_default_css=False)
    count: Any = "multiple" if "image" in kinds else "single"
    return gr.File(
        label=told,
        show_label=False,
        file_count=count,
        file_types=list(kinds),
        height=120,
        elem_id=elem_id,
        elem_classes="cs-file",
    )


def _html(elem_id: str | None = None) -> gr.HTML:
    return gr.HTML("", apply_default_css=False, elem_id=elem_id)


def _download(label: str) -> gr.DownloadButton:
    return gr.DownloadButton(label, visible=False, size="sm", min_width=120)


def _nothing() -> Any:
    return gr.DownloadButton(value=None, visible=False)


def _file(path: Path | None) -> Any:
    return _nothing() if path is None else gr.DownloadButton(value=str(path), visible=True)
