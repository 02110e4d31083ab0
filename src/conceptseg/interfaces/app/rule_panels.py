"""A rule, and what it said of many pictures, as HTML."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from conceptseg.inference import Rule, SegmentationResult
from conceptseg.interfaces.app.panels import progress_line
from conceptseg.interfaces.app.uploads import shown_small, to_url
from conceptseg.interfaces.rule_page import rule_figures, rule_lines

__all__ = ["batch_panel", "learning_panel", "rule_panel"]

_CARD_PX = 360


def learning_panel(done: int, planned: int) -> str:
    """How far learning is."""
    told = f"Learning: {done} of about {planned} pictures answered" if planned else "Reading the references"
    return progress_line(told, done / planned if planned else None)


def rule_panel(rule: Rule) -> str:
    """What a rule says, and what it is worth."""
    facts = "".join(f"<li>{escape(line)}</li>" for line in rule_lines(rule)[2:] if line != rule.describe())
    text = escape(rule.text or "SAM 3 alone verifies as well as reasoning does.")
    return (
        f"<div class='cs-rule'><span class='cs-concept'>{escape(rule.concept)}</span><blockquote>{text}</blockquote>"
        f"<p><b>{escape(rule.describe())}</b></p>{rule_figures(rule)}"
        f"<details><summary>All that is known of it</summary><ul>{facts}</ul></details></div>"
    )


def batch_panel(results: Sequence[SegmentationResult], count: int) -> str:
    """Pictures as cards, in their order; above, how far it is and how many failed."""
    failed = sum(result.error is not None for result in results)
    found = sum(bool(result.found) for result in results)
    told = f"{len(results)} of {count} pictures" if len(results) < count else _summary(count, found, failed)
    head = progress_line(told, len(results) / count) if len(results) < count else f"<p class='cs-stage'>{told}</p>"
    return f"{head}<div class='cs-cards'>{''.join(_card(result) for result in results)}</div>"


def _summary(count: int, found: int, failed: int) -> str:
    words = [f"{count} pictures", f"found in {found}", f"not in {count - found - failed}"]
    return ", ".join(words + ([f"{failed} could not be read"] if failed else [])) + "."


def _card(result: SegmentationResult) -> str:
    name = escape(result.source)
    if result.error is not None:
        return (
            f"<figure class='cs-card cs-failed'><p>{escape(result.error)}</p><figcaption>{name}</figcaption></figure>"
        )
    url = to_url(shown_small(result.overlay(), _CARD_PX), "JPEG")
    sure = "" if result.confidence is None else f", IoU to expect {result.confidence:.2f}"
    told = f"<b class='cs-{'yes' if result.found else 'no'}'>{'Found' if result.found else 'Not here'}</b>{sure}"
    return (
        f"<figure class='cs-card'><img src='{url}' alt='{name} with its mask'>"
        f"<figcaption>{name}<br>{told}</figcaption></figure>"
    )
