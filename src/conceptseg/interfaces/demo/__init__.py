"""The demo: bundled photographs and ConceptWorld scenes through every level, with what came out, good or bad."""

from __future__ import annotations

from conceptseg.interfaces.demo.episodes import Episode, arrange, demo_samples, run_episode
from conceptseg.interfaces.demo.page import write_page
from conceptseg.interfaces.demo.sheet import draw_sheet

__all__ = ["Episode", "arrange", "demo_samples", "draw_sheet", "run_episode", "write_page"]
