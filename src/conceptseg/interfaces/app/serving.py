"""Running the page: on this machine, with nothing sent or fetched elsewhere, until a signal comes."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any

from conceptseg.inference import ConceptSegmenter
from conceptseg.interfaces.app.uploads import FAILURES, Uploads, one_line
from conceptseg.interfaces.server.options import ServerOptions

__all__ = ["AppOptions", "serve_page"]

_SESSIONS = 200
"""Visitors whose learned rules are remembered, those seen last."""


@dataclass(frozen=True)
class AppOptions:
    """How the page is served."""

    host: str = "127.0.0.1"
    port: int = 7860
    auth: Sequence[tuple[str, str]] = ()
    """Users with passwords; none lets everyone in."""
    mcp: bool = False
    """Whether programs may use it: MCP tools, and the same over Gradio's API."""
    opens_browser: bool = False


def serve_page(
    segmenter: ConceptSegmenter,
    options: AppOptions,
    limits: ServerOptions,
    *,
    model: str,
    on_ready: Callable[[], None] = lambda: None,
) -> None:
    """Serve the page until Ctrl-C or SIGTERM; uploads lie in a folder of its own, which goes with it.

    Raises:
        OSError: the port is taken.
    """
    with tempfile.TemporaryDirectory(prefix="conceptseg-app-") as folder:
        _keep_to_ourselves(Path(folder) / "uploads")
        from conceptseg.interfaces.app.examples import write_examples
        from conceptseg.interfaces.app.page import CSS_FILE, build_page, page_head, page_theme

        places = [Path(folder) / name for name in ("uploads", "examples")]
        for place in places:
            place.mkdir(exist_ok=True)
        uploads = Uploads(places, limits)
        page = build_page(
            segmenter,
            uploads,
            write_examples(places[1]),
            model=model,
            add_tools=_adding_tools(segmenter, uploads) if options.mcp else None,
        )
        page.launch(
            server_name=options.host,
            server_port=options.port,
            auth=list(options.auth) or None,
            max_file_size=limits.max_body_bytes,
            mcp_server=options.mcp,
            inbrowser=options.opens_browser,
            theme=page_theme(),
            css_paths=[CSS_FILE],
            head=page_head(),
            share=False,
            show_error=True,
            quiet=True,
            ssr_mode=False,
            pwa=False,
            run_history=False,
            state_session_capacity=_SESSIONS,
            enable_monitoring=False,
            footer_links=[],
            prevent_thread_lock=True,
        )
        on_ready()
        page.block_thread()


def _keep_to_ourselves(uploads: Path) -> None:
    """Told to Gradio by its environment before it is imported: no analytics, uploads in our folder."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    os.environ["GRADIO_TEMP_DIR"] = str(uploads)


def _adding_tools(segmenter: ConceptSegmenter, uploads: Uploads) -> Callable[[], None]:
    def add() -> None:
        import gradio as gr

        from conceptseg.interfaces.app.tools import Tools

        for tool in Tools(segmenter, uploads).all():
            gr.api(_telling(tool), api_name=tool.__name__, concurrency_id="model", concurrency_limit=1)

    return add


def _telling(tool: Callable[..., Any]) -> Callable[..., Any]:
    """A tool whose errors programs read in a line."""
    import gradio as gr

    @wraps(tool)
    def told(*values: Any, **named: Any) -> Any:
        try:
            return tool(*values, **named)
        except FAILURES as error:
            raise gr.Error(one_line(error), print_exception=False) from error

    return told
