"""The reasoning protocol without the model: mosaic, prompt, response (paper §3.2, Appendix D). Loads no torch."""

from __future__ import annotations

from conceptseg.protocol.mosaic import Mosaic, build_mosaic
from conceptseg.protocol.response import (
    Problem,
    Response,
    expected_parts,
    format_box,
    format_response,
    parse_response,
    what_is_induced,
)
from conceptseg.protocol.template import SYSTEM_PROMPT, Template, read_template, render_prompt, template_names

__all__ = [
    "SYSTEM_PROMPT",
    "Mosaic",
    "Problem",
    "Response",
    "Template",
    "build_mosaic",
    "expected_parts",
    "format_box",
    "format_response",
    "parse_response",
    "read_template",
    "render_prompt",
    "template_names",
    "what_is_induced",
]
