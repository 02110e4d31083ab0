"""The report as one page to open from disk: which run is better, answers to look at, then the tables."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from conceptseg.evaluation.report.scoreboard import Score, Standing, headline, scoreboard
from conceptseg.evaluation.tables import Table

__all__ = ["render_page"]

_STYLE = """
:root { --ink: #1c2430; --dim: #647084; --line: #e3e7ee; --card: #fff; --paper: #f5f6f9; --mark: #2f6fde;
  --good: #137a4b; --bad: #b3261e }
* { box-sizing: border-box }
body { font: 15px/1.5 system-ui, -apple-system, "Segoe UI", sans-serif; margin: 0; background: var(--paper);
  color: var(--ink) }
main { max-width: 1180px; margin: 0 auto; padding: 1.6rem 1.2rem 4rem }
h1 { font-size: 1.42rem; line-height: 1.3; margin: .2rem 0 1rem; font-weight: 650; max-width: 72rem }
h2 { font-size: 1.05rem; margin: 1.6rem 0 .6rem } h3 { font-size: 1rem; margin: 0 0 .6rem }
small, figcaption, .dim { color: var(--dim); font-weight: 400 } .kicker { color: var(--mark); font-weight: 600;
  font-size: .8rem; letter-spacing: .06em; text-transform: uppercase; margin: 0 }
section, article, details { background: var(--card); border: 1px solid var(--line); border-radius: 10px;
  padding: 1rem 1.2rem; margin: 0 0 .9rem; overflow-x: auto }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { padding: .42rem .8rem .42rem 0; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap }
thead th { color: var(--dim);
  font-weight: 500; font-size: .82rem } th:first-child, td:first-child { text-align: left } .scores { width: 100% }
.scores .number { font-size: 1.1rem; font-weight: 600 } tr:last-child > * { border-bottom: 0 }
.better { color: var(--good); font-weight: 600 } .worse { color: var(--bad); font-weight: 600 }
svg { vertical-align: middle } .row { display: flex; flex-wrap: wrap; gap: .9rem } figure { margin: 0 }
figcaption { font-size: .78rem; margin-top: .2rem }
img { height: 170px; width: auto; border-radius: 6px; display: block }
article p, section p { margin: .35rem 0; font-size: .88rem } .wrong { color: var(--bad) }
.filter { display: inline-block; margin: 0 .35rem .8rem 0; padding: .28rem .85rem; border: 1px solid var(--line);
  border-radius: 99px; background: var(--card); cursor: pointer; font-size: .85rem }
input.filter-state { position: absolute; opacity: 0 } summary { cursor: pointer; font-weight: 600 }
.section td { font-weight: 600; text-align: left } ol { font-size: .82rem; color: var(--dim); padding-left: 1.2rem }
"""
_NAMES = {"worst": "worst", "best": "best", "uncertain": "least certain", "differing": "runs differ most",
          "random": "by chance"}  # fmt: skip


def render_page(
    standing: Sequence[Standing], gallery: tuple[str, Sequence[str]] | None, tables: Sequence[Table]
) -> str:
    """The whole page, pictures and all in one file.

    Args:
        standing: of `standings`.
        gallery: of `draw_questions`; None leaves it out.
        tables: what else was measured, folded away below.
    """
    board = scoreboard(standing)
    remarks = "".join(f'<p class="dim">{escape(remark)}</p>' for remark in board.remarks)
    notes = "".join(f"<li><b>{escape(one.run.label)}</b> – {escape(one.run.note)}</li>" for one in standing)
    folded = "".join(f"<details><summary>{escape(t.title)}</summary>{t.to_html()}</details>" for t in tables)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(headline(standing))}</title><style>{_STYLE}</style></head><body><main>"
        f'<p class="kicker">Evaluation</p><h1>{escape(headline(standing))}</h1>'
        f"<section>{_scores(standing)}{remarks}</section>{_gallery(gallery)}"
        f"{'<h2>Tables</h2>' if folded else ''}{folded}"
        f"<details><summary>What was measured</summary><ul>{notes}</ul></details></main></body></html>\n"
    )


def _scores(standing: Sequence[Standing]) -> str:
    """Runs × sets, the scores as numbers and whiskers, and the difference to the first run."""
    sets = list(dict.fromkeys(name for one in standing for name in one.scores))
    heads = [f'<th>{escape(name)}<br><span class="dim">mIoU ± s.e.</span></th>' for name in sets]
    rival = len(standing) > 1
    told = f"<th>against {escape(standing[0].run.label)}</th><th></th>" if rival else ""
    lines = []
    for one in standing:
        cells = "".join(_score_cell(one.scores.get(name)) for name in sets)
        change = _difference(one, standing[0]) if rival else ""
        bar = _whisker(list(one.scores.values())[-1])  # of all sets, where there are several
        lines.append(f"<tr><th>{escape(one.run.label)}</th><td>{bar}</td>{cells}{change}</tr>")
    return (
        f'<table class="scores"><thead><tr><th>run</th><th></th>{"".join(heads)}{told}</tr></thead>'
        f"{''.join(lines)}</table>"
    )


def _score_cell(score: Score | None) -> str:
    if score is None:
        return "<td>–</td>"
    error = "" if score.standard_error is None else f" ± {score.standard_error:.1f}"
    return f'<td><span class="number">{score.miou:.1f}</span>{error} <span class="dim">n {score.questions}</span></td>'


def _difference(one: Standing, first: Standing) -> str:
    if one.to_first is None:
        return f'<td>–</td><td class="dim">{"the first run" if one is first else "not compared"}</td>'
    found = one.to_first
    style = one.words if one.words in ("better", "worse") else "dim"
    return (
        f'<td><span class="number">{100 * found.difference:+.1f}</span> ± {100 * found.standard_error:.1f} '
        f'<span class="dim">n {found.questions}</span></td><td class="{style}">{escape(one.words)}</td>'
    )


def _whisker(score: Score) -> str:
    """A bar from 0 to 100 with two standard errors on either side of its end."""
    width, end = 220.0, 2.2 * score.miou
    error = 2.2 * 2 * (score.standard_error or 0.0)
    low, high = max(0.0, end - error), min(width, end + error)
    return (
        f'<svg width="{width:.0f}" height="18" role="img" aria-label="mIoU {score.miou:.1f} of 100">'
        f'<rect width="{width:.0f}" height="8" y="5" rx="4" fill="#e3e7ee"/>'
        f'<rect width="{end:.1f}" height="8" y="5" rx="4" fill="#2f6fde"/>'
        f'<path d="M{low:.1f} 9H{high:.1f}M{low:.1f} 4v10M{high:.1f} 4v10" stroke="#1c2430" stroke-width="1.4"/></svg>'
    )


def _gallery(gallery: tuple[str, Sequence[str]] | None) -> str:
    """The answers behind a row of filters that needs no script."""
    if gallery is None or not gallery[1]:
        return ""
    articles, kinds = gallery
    inputs = "".join(
        f'<input class="filter-state" type="radio" name="kind" id="show-{kind}"{" checked" if place == 0 else ""}>'
        for place, kind in enumerate(kinds)
    )
    labels = "".join(f'<label class="filter" for="show-{kind}">{_NAMES[kind]}</label>' for kind in kinds)
    rules = "".join(
        f"#show-{kind}:checked~article:not(.{kind}){{display:none}}"
        f"#show-{kind}:checked~nav label[for=show-{kind}]{{background:#2f6fde;color:#fff}}"
        for kind in kinds
    )
    return f"<h2>Answers</h2><style>{rules}</style><div>{inputs}<nav>{labels}</nav>{articles}</div>"
